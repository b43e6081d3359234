"""A gate that fails, and an interruption: a file that was there stays, one that failed never gets its name."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.flatbuffer import passes
from convert.packaging import preprocessing
from convert.tflite import main
from mobileiqa.checkpoint import sha256
from tests.convert.conversions import CAMERA


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
