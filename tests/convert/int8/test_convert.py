"""`convert.tflite --int8` from end to end: a trained checkpoint, on photos; and a gate that fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from calibration import select
from convert.delegation.partitions import runtime_delegation
from convert.flatbuffer.reader import read_graph
from convert.int8 import calibration as statistics
from convert.tflite import main
from mobileiqa.scoring.litert import load_spec
from mobileiqa.zoo import TRUNK
from tests.convert.varied import answer, varied

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
MODEL = ("--model", str(TRUNK))
SIZE = "256x256"  # of a trained model with one input: quick, and enough of a photo


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    return answer(main, *arguments)


@pytest.fixture(scope="module")
def pictures(photo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied(photo, tmp_path_factory.mktemp("pictures"), (300, 280))


@pytest.fixture(scope="module")
def calibration(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibration") / "set"
    assert (
        select.main([*MODEL, "--images", str(pictures), "--size", SIZE, "--count", "8", "--out", str(out)])
        == 0
    )
    return out


@pytest.fixture(scope="module")
def distorted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photos that the model has never seen, each with another distortion: from best to worst."""
    import numpy as np
    from PIL import Image

    from mobileiqa.distortions.kadid10k import distort

    result = sorted((SHARED / "data" / "pristine" / "val").glob("*.png"))[:40]
    if not result:
        pytest.skip("no ../shared/data/pristine beside the checkout; the generated pictures stand in below")
    folder = tmp_path_factory.mktemp("distorted")
    for i, path in enumerate(result):
        pixels = distort(np.asarray(Image.open(path).convert("RGB")), 1 + (7 * i) % 25, 1 + i % 5, 0)
        Image.fromarray(pixels).save(folder / path.name)
    return folder


@pytest.mark.slow
def test_a_trained_model_in_int8(distorted: Path, tmp_path: Path) -> None:
    path, calibration = tmp_path / "int8.tflite", tmp_path / "set"
    arguments = [
        *MODEL,
        "--images",
        str(SHARED / "data" / "pristine" / "train"),
        "--size",
        SIZE,
        "--count",
        "24",
    ]
    assert select.main([*arguments, "--out", str(calibration)]) == 0
    pictures = distorted
    code, result = run(
        str(TRUNK), "--int8", str(calibration), "--size", SIZE, "--images", str(pictures), "--out", str(path)
    )
    assert code == 0 and result["precision"] == "int8"
    (stage,) = [r for r in result["parity"] if r["stage"] == "int8"]
    assert stage["n"] == 24 and stage["srcc"] >= 0.99 and stage["mean_abs"] <= 0.01
    delegation = runtime_delegation(path)
    assert (delegation["partitions"], delegation["nodes_delegated"]) == (1, delegation["nodes_total"])
    sidecar = json.loads(path.with_name("int8.tflite.json").read_text())
    assert sidecar["precision"] == "int8" and len(sidecar["calibration_sha256"]) == 64
    assert load_spec(path).inputs[0].width_px == 256
    graph = read_graph(path)
    kinds = [graph.tensors[o.inputs[1]].dtype for o in graph.operators if o.name == "CONV_2D"]
    assert set(kinds) == {"float32", "int8"} and kinds.count("int8") > 25


@pytest.mark.slow
def test_ranges_that_are_wrong_fail_the_gate(
    pictures: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the calibration images had been nearly grey: every activation is clipped at a fifth of its range."""
    observe_activations = statistics.observe_activations

    def narrowed(source: bytes, images: Any, threads: int = 1) -> Any:
        import dataclasses

        return {
            name: dataclasses.replace(seen, low=seen.low / 5, high=seen.high / 5, values=seen.values / 5)
            for name, seen in observe_activations(source, images, threads).items()
        }

    monkeypatch.setattr(statistics, "observe_activations", narrowed)
    path = tmp_path / "int8.tflite"
    code, result = run(
        str(TRUNK), "--int8", str(calibration), "--size", SIZE, "--images", str(pictures), "--out", str(path)
    )
    assert code == 1 and not result["passed"]
    assert not path.exists() and path.with_name("int8.failed.tflite").exists()


@pytest.mark.slow
def test_the_reference_needs_no_photos(tmp_path: Path) -> None:
    """Ranges of generated images will do: its head is tuned with noise of one 8-bit step."""
    path = tmp_path / "int8.tflite"
    code, result = run("--int8", "--out", str(path))
    assert code == 0 and result["passed"] and path.stat().st_size <= 5e6
    score, reasons = (r for r in result["parity"] if r["stage"] == "int8")
    assert score["srcc"] >= 0.99 and score["mean_abs"] <= 0.01 and reasons["agreement"] >= 0.9
