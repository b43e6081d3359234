"""The command from end to end: files, sidecars, parity."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from convert.comparison.compare import TOLERANCES
from convert.delegation.partitions import forecast, runtime_delegation
from convert.selftest import selftest
from mobileiqa.checkpoint import sha256
from mobileiqa.spec import from_json
from tests.convert.conversions import CAMERA, SPEC, Run, constants, convert


@pytest.fixture(scope="module")
def fp16(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return convert(tmp_path_factory.mktemp("fp16"), str(checkpoint), "--fp16")


def test_fp32_passes_every_edge(fp32: Run, checkpoint: Path):
    assert (fp32.code, fp32.result["passed"], fp32.result["precision"]) == (0, True, "fp32")
    assert {r["stage"] for r in fp32.result["parity"]} == {"features", "rewrite", "fp32"}
    assert 0 < fp32.max_abs("fp32") <= TOLERANCES["fp32"].max_abs
    assert all(r["n"] > 0 and r["worst_image"] for r in fp32.result["parity"])
    assert fp32.lines[-1].endswith("untrained: for latency and parity only") and fp32.result["untrained"]
    stages = [row["stage"] for row in fp32.result["stages"]]
    assert stages == ["loading the model", "rewrites", "export", "lowering", "flatbuffer", "images of parity",
                      "published module", "rewritten module", "fp32 file in litert", "other"]  # fmt: skip
    assert all(any(line.startswith(name) for line in fp32.lines) for name in stages)
    assert sorted(os.listdir(fp32.path.parent)) == ["out.tflite", "out.tflite.json"]


def test_the_sidecar_names_file_checkpoint_and_command(fp32: Run, checkpoint: Path):
    data = fp32.sidecar
    assert data["sha256"] == sha256(fp32.path) and data["size_bytes"] == fp32.path.stat().st_size
    assert data["checkpoint_sha256"] == sha256(checkpoint)
    assert data["command"] == f"python -m convert.tflite {checkpoint} --fp32 --out out.tflite"
    assert from_json(data["spec"]) == SPEC
    assert (data["precision"], data["via"], data["fp16_arithmetic_allowed"]) == ("fp32", "litert", False)
    assert {a["name"]: a["sites"] for a in data["rewrites"]["applied"]}["fold_batch_norm"] == 46


def test_the_file_describes_itself(fp32: Run, checkpoint: Path):
    result = fp32.graph.description
    assert from_json(result["spec"]) == SPEC
    assert (result["precision"], result["untrained"]) == ("fp32", True)
    assert result["checkpoint_sha256"] == sha256(checkpoint)
    assert fp32.graph.reduced_precision == ""


def test_one_signature_one_partition_no_foreign_operators(fp32: Run, fp16: Run):
    for graph in (fp32.graph, fp16.graph):
        (signature,) = graph.signatures
        assert (signature.key, list(signature.inputs), list(signature.outputs)) == (
            "serving_default",
            ["image"],
            ["score"],
        )
        assert graph.tensors[graph.inputs[0]].shape == (1, 3, 80, 64)
        assert graph.tensors[graph.outputs[0]].shape == (1,)
        assert not any(op.custom for op in graph.operators)
        assert forecast(graph).refusals == {} and len(forecast(graph).partitions) == 1
        assert not any("/" in t.name and "torch.nn" in t.name for t in graph.tensors)


def test_the_runtime_takes_every_operator(fp32: Run, fp16: Run):
    for run in (fp32, fp16):
        delegation = runtime_delegation(run.path)
        assert (delegation["nodes_total"], delegation["partitions"]) == (delegation["nodes_delegated"], 1)


def test_fp16_passes_and_says_what_is_allowed(fp16: Run, fp32: Run):
    assert (fp16.code, fp16.result["passed"]) == (0, True)
    assert 0 < fp16.max_abs("fp16") <= TOLERANCES["fp16"].max_abs
    assert fp16.path.stat().st_size < fp32.path.stat().st_size
    assert fp16.graph.reduced_precision == "fp16accfp16"
    assert fp16.sidecar["fp16_arithmetic_allowed"] and fp16.result["fp16_arithmetic_allowed"]
    assert fp16.graph.description["precision"] == "fp16"


def test_fp16_weights_are_the_fp32_files_rounded(fp16: Run, fp32: Run):
    rounded = [
        t.values().astype(np.float16) for t in fp32.graph.tensors if t.constant and t.dtype == "float32"
    ]
    hashes = {hashlib.sha256(values.tobytes()).digest() for values in rounded}
    halves = [t for t in fp16.graph.tensors if t.constant and t.dtype == "float16"]
    # The widest fan-in (8000, the KAN's spline weights) is rounded whatever convert.fp16_weights keeps.
    assert 128 * 8000 in {t.elements for t in halves}
    assert {hashlib.sha256(t.values().tobytes()).digest() for t in halves} <= hashes


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_another_size_shares_its_weights_bit_for_bit(
    precision: str, checkpoint: Path, request: pytest.FixtureRequest, tmp_path: Path
):
    one: Run = request.getfixturevalue(precision)
    other = convert(tmp_path, str(checkpoint), f"--{precision}", "--size", "128x48")
    assert other.graph.tensors[other.graph.inputs[0]].shape == (1, 3, 48, 128)
    assert constants(other.graph) == constants(one.graph)


@pytest.mark.slow
def test_a_packaged_file_in_one_command(checkpoint: Path, fp32: Run, exported_before: None, tmp_path: Path):
    run = convert(tmp_path, str(checkpoint), *CAMERA)
    assert (run.code, run.result["passed"], run.result["input"]) == (0, True, "uint8")
    assert run.result["sizes"] == ["64x80", "128x160"]
    stages = [(r["stage"], r["candidate"]) for r in run.result["parity"]]
    assert stages[-3:] == [
        ("fp32", f"{run.path} (float inputs)"), ("packaging", f"{run.path}, 64x80"),
        ("packaging", f"{run.path}, 128x160"),
    ]  # fmt: skip
    assert 0 < run.max_abs("packaging") <= 1e-3
    assert all(any(f"{run.path}, {size} " in line for line in run.lines) for size in run.result["sizes"])
    assert sorted(os.listdir(tmp_path)) == ["out.tflite", "out.tflite.json"]
    assert run.sidecar["delivery"] == run.graph.description["delivery"] and run.sidecar["via"] == "litert"
    assert all(check.passed for check in selftest(run.path))
    assert not constants(fp32.graph) - constants(run.graph), "weights bit for bit"


def test_force_replaces_the_file_once_the_new_one_passed(
    checkpoint: Path, exported_before: None, tmp_path: Path
):
    (tmp_path / "out.tflite").write_bytes(b"old")
    run = convert(tmp_path, str(checkpoint), "--fp32", "--force")
    assert (run.code, run.sidecar["sha256"]) == (0, sha256(run.path))
    assert run.path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert sorted(os.listdir(tmp_path)) == ["out.tflite", "out.tflite.json"]


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask
