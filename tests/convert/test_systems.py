"""The published systems that convert, with parity; those that cannot are refused before anything is built."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from convert import load, tflite
from convert.flatbuffer.reader import read_graphs
from convert.inspect import inspect
from mobileiqa.checkpoint import save
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS


@pytest.mark.slow
@pytest.mark.parametrize(("name", "macs"), [("koncept512", 6.5e9), ("ms-scanet", 0.83e9)])
def test_conversion_keeps_the_score_in_one_xnnpack_partition(
    name: str, macs: float, tmp_path: Path, capsys: Any
):
    path = tmp_path / "model.tflite"
    assert tflite.main(["--model", name, "--size", "224x224", "--fp32", "--out", str(path)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["passed"] and {report["stage"] for report in result["parity"]} == {
        "features",
        "rewrite",
        "fp32",
    }
    content = inspect(read_graphs(path)[0])
    assert content["macs"] == pytest.approx(macs, rel=0.02)
    assert content["partitions"] == [content["operators"]] and content["refusals"] == []


def test_a_model_of_tokens_is_refused(capsys: Any, tmp_path: Path):
    arguments = ["--model", "musiq", "--fp32", "--out", str(tmp_path / "musiq.tflite")]
    assert tflite.main(arguments) == 2
    error = capsys.readouterr().err
    assert "whose tokens are as many as the photo has" in error and len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_with_a_reference_image_is_refused(tmp_path: Path, monkeypatch: Any):
    """A small module stands for 84 million parameters."""
    spec = MODELS["fr-nr-transformer"].spec.with_reference()
    path = save(tmp_path / "pair.safetensors", torch.nn.Linear(2, 2), spec)
    monkeypatch.setattr("mobileiqa.checkpoint.build", lambda name: torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="fr-nr-transformer with a reference image"):
        load.load_model(str(path))
