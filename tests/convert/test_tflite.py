"""The command from end to end: files, sidecars, parity, refusals. The large models are slow tests."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.comparison.compare import TOLERANCES
from convert.delegation.partitions import forecast, runtime_delegation
from convert.flatbuffer import passes
from convert.flatbuffer.reader import Graph, read_graph
from convert.packaging import preprocessing
from convert.selftest import selftest
from convert.tflite import main
from mobileiqa.checkpoint import save, sha256
from mobileiqa.spec import from_json
from mobileiqa.zoo import MODELS

NAME = "lar-iqa-single"
SPEC = MODELS[NAME].spec.resized(64, 80)
REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """One conversion: exit code, the last line as JSON, the lines before it, and the file."""

    code: int
    result: dict[str, Any]
    lines: list[str]
    path: Path

    @property
    def graph(self) -> Graph:
        return read_graph(self.path)

    @property
    def sidecar(self) -> dict[str, Any]:
        return json.loads(self.path.with_name(self.path.name + ".json").read_text())

    def max_abs(self, stage: str) -> float:
        return max(r["max_abs"] for r in self.result["parity"] if r["stage"] == stage)


def as_a_user(folder: Path, *arguments: str) -> Run:
    """Runs the command in `folder`, in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "convert.tflite", *arguments, "--out", "out.tflite"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(REPO)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode in (0, 1), process.stderr
    return _run(process.returncode, process.stdout, folder)


def convert(folder: Path, *arguments: str) -> Run:
    """Runs the command here: faster by the imports."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*arguments, "--out", str(folder / "out.tflite")])
    return _run(code, out.getvalue(), folder)


def _run(code: int, out: str, folder: Path) -> Run:
    *lines, last = out.strip().splitlines()
    return Run(code, json.loads(last), lines, folder / "out.tflite")


def constants(graph: Graph) -> Counter[str]:
    """How often each stored float value array occurs, by hash."""
    stored = [t.stored for t in graph.tensors if t.constant and t.dtype in ("float32", "float16")]
    return Counter(hashlib.sha256(values.tobytes()).hexdigest() for values in stored)


@pytest.fixture(scope="module")
def checkpoint(seeded: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in our own format, at 64x80."""
    return save(tmp_path_factory.mktemp("checkpoint") / "small.safetensors", seeded(NAME), SPEC)


@pytest.fixture(scope="module")
def fp32(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return as_a_user(tmp_path_factory.mktemp("fp32"), str(checkpoint), "--fp32")


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


@pytest.fixture
def exported_before(fp32: Run, monkeypatch) -> None:
    """The converter's part is done already: its result is the FP32 file, which may be edited once more."""
    exported = fp32.path.read_bytes()
    monkeypatch.setattr("convert.export.tflite_file.export_tflite", lambda module, spec: exported)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_another_size_shares_its_weights_bit_for_bit(
    precision: str, checkpoint: Path, request: pytest.FixtureRequest, tmp_path: Path
):
    one: Run = request.getfixturevalue(precision)
    other = convert(tmp_path, str(checkpoint), f"--{precision}", "--size", "128x48")
    assert other.graph.tensors[other.graph.inputs[0]].shape == (1, 3, 48, 128)
    assert constants(other.graph) == constants(one.graph)


# A gate that fails, and an interruption.


@pytest.fixture
def spoiled(exported_before: None, monkeypatch) -> None:
    """Weights a percent off, as a converter's bug might leave them."""

    def spoil(model: Any) -> int:
        buffer = max(model.buffers, key=lambda b: 0 if b.data is None else len(b.data))
        buffer.data = (np.frombuffer(bytes(buffer.data), np.float32) * np.float32(1.01)).view(np.uint8)
        return 1

    monkeypatch.setattr(passes, "PASSES", (spoil, *passes.PASSES))


def test_a_file_that_moved_the_score_exits_1_and_never_gets_its_name(
    checkpoint: Path, spoiled: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([str(checkpoint), "--fp32", "--out", str(tmp_path / "x.tflite")]) == 1
    streams = capsys.readouterr()
    *lines, last = streams.out.strip().splitlines()
    result, rest = json.loads(last), tmp_path / "x.failed.tflite"
    assert (result["passed"], result["path"]) == (False, str(rest))
    (failure,) = [line for line in lines if "FAIL: max_abs" in line]
    assert str(rest) in failure and result["parity"][-1]["candidate"] == str(rest)
    (note,) = [
        line for line in streams.err.splitlines() if not re.search(r": \d+ of \d+, ", line)
    ]  # progress
    assert f"kept as {rest} for inspection" in note
    assert sorted(os.listdir(tmp_path)) == [rest.name, f"{rest.name}.json"]
    sidecar = json.loads((tmp_path / f"{rest.name}.json").read_text())
    assert (sidecar["path"], sidecar["sha256"]) == (rest.name, sha256(rest))


def test_a_good_file_survives_a_conversion_that_fails(
    checkpoint: Path, spoiled: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    old = {"x.tflite": b"good", "x.tflite.json": b"{}", "x.failed.tflite": b"failed before"}
    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    assert main([str(checkpoint), "--fp32", "--force", "--out", str(tmp_path / "x.tflite")]) == 1
    assert "the file that was there is as it was" in capsys.readouterr().err
    assert (tmp_path / "x.tflite").read_bytes() == b"good"
    assert (tmp_path / "x.tflite.json").read_bytes() == b"{}"
    assert sorted(os.listdir(tmp_path)) == sorted([*old, "x.failed.tflite.json"])
    assert (tmp_path / "x.failed.tflite").stat().st_size > 1_000_000


# The packaged file, which is made of the float file once that has passed.

# Sizes at which resizing gives Pillow's very pixels: a grey level moves an untrained model of 64x80 too far.
CAMERA = ("--fp32", "--input", "uint8", "--input-size", "64x80,128x160")


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


@pytest.fixture
def other_mean(monkeypatch) -> None:
    """A normalization that is not the model's, as a bug in packaging might draw it."""
    original = preprocessing.take_uint8_image

    def draw(model: Any, spec: Any, width: int, height: int) -> None:
        wrong = dataclasses.replace(spec.inputs[0], mean=(0.6, 0.5, 0.4))
        original(model, dataclasses.replace(spec, inputs=(wrong,)), width, height)

    monkeypatch.setattr(preprocessing, "take_uint8_image", draw)


@pytest.mark.slow
def test_a_packaged_file_that_scores_otherwise_never_gets_its_name(
    checkpoint: Path,
    exported_before: None,
    other_mean: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    assert main([str(checkpoint), *CAMERA, "--out", str(tmp_path / "x.tflite")]) == 1
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    rest = tmp_path / "x.failed.tflite"
    assert (result["passed"], result["path"], result["input"]) == (False, str(rest), "uint8")
    assert {r["stage"] for r in result["parity"] if not r["passed"]} == {"packaging"}
    assert sorted(os.listdir(tmp_path)) == [rest.name, f"{rest.name}.json"]


@pytest.mark.slow
def test_no_packaged_file_is_made_of_a_float_file_that_failed(
    checkpoint: Path, spoiled: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([str(checkpoint), *CAMERA, "--out", str(tmp_path / "x.tflite")]) == 1
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["input"], result["sizes"]) == ("float", [])
    assert "packaging" not in {r["stage"] for r in result["parity"]}
    assert sorted(os.listdir(tmp_path)) == ["x.failed.tflite", "x.failed.tflite.json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        "convert.packaging.publish.embed_preprocessing",
        "mobileiqa.files.integrity.with_checksum",
        "convert.packaging.publish.agreements",
    ],
)
def test_an_interrupted_packaging_leaves_no_file(
    stage: str, checkpoint: Path, exported_before: None, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr(stage, lambda *arguments: _interrupt())
    assert main([str(checkpoint), *CAMERA, "--out", str(tmp_path / "x.tflite")]) == 130
    assert "interrupted" in capsys.readouterr().err and os.listdir(tmp_path) == []


def _interrupt() -> None:
    raise KeyboardInterrupt


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


@pytest.mark.parametrize(
    "stage",
    [
        "convert.export.tflite_file.export_tflite",
        "convert.flatbuffer.model.write",
        "convert.comparison.stages.compare",
    ],
)
def test_an_interruption_leaves_no_file(
    stage: str,
    checkpoint: Path,
    exported_before: None,
    tmp_path: Path,
    monkeypatch,
    capsys: pytest.CaptureFixture[str],
):
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, stop)
    assert main([str(checkpoint), "--fp32", "--out", str(tmp_path / "x.tflite")]) == 130
    assert "interrupted" in capsys.readouterr().err and os.listdir(tmp_path) == []


# Every model: minutes.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "precision"),
    # What differs from another row in size or head alone, and what takes minutes, comes in one precision: an FP16
    # file is the FP32 file with other weights.
    [
        ("mobilenet-iqa", "224x224", "fp32"),
        ("mobilenet-iqa", "317x205", "fp16"),
        ("mobilenet-iqa-small", "256x256", "fp16"),
        ("mobilevit-iqa", "256x256", "fp16"),
        ("lar-iqa-single", "224x224", "fp32"),
        ("lar-iqa-single", "224x224", "fp16"),
        ("lar-iqa-lite", None, "fp32"),
        ("lar-iqa-kan", None, "fp32"),
        ("lar-iqa-kan", None, "fp16"),
        ("lar-iqa-mlp", None, "fp16"),
        ("hyperiqa", None, "fp16"),
    ],
)
def test_every_model_converts_and_passes(name: str, size: str | None, precision: str, tmp_path: Path):
    run = as_a_user(tmp_path, "--model", name, f"--{precision}", *(["--size", size] if size else []))
    assert run.result["passed"], "\n".join(run.lines)
    assert run.code == 0 and run.result["refused"] == []
    assert run.max_abs(precision) <= TOLERANCES[precision].max_abs
    graph = run.graph
    assert len(graph.signatures) == 1 and not any(op.custom for op in graph.operators)
    for op in graph.operators:
        weight = graph.tensors[op.inputs[1]] if op.name == "FULLY_CONNECTED" else None
        assert weight is None or weight.constant or precision == "fp16"
    delegation = runtime_delegation(run.path)
    assert (delegation["nodes_total"], delegation["partitions"]) == (delegation["nodes_delegated"], 1)
    if precision == "fp16":
        assert graph.reduced_precision == "fp16accfp16"
    if name == "mobilenet-iqa":
        size_mb = run.path.stat().st_size / 1e6
        assert size_mb <= (83 if precision == "fp16" else 166)
        assert run.result["seconds"] < 120  # 60 on a machine of its own
