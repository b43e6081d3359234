"""The published systems that convert, with parity; those that cannot are refused before anything is built."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from convert import load, parity, tflite
from convert.flatbuffer.reader import read_graphs
from convert.inspect import inspect
from convert.testing import assert_parity
from mobileiqa.checkpoint import load as load_checkpoint
from mobileiqa.checkpoint import save
from mobileiqa.errors import UserError
from mobileiqa.models.visual_prompts import VisualPrompt
from mobileiqa.zoo import MODELS, build_seeded


@pytest.mark.slow
def test_a_file_of_tokens_is_judged_by_its_checkpoint(
    tmp_path: Path, photo: Any, capsys: Any, monkeypatch: Any
):
    """At the file's size, which the checkpoint does not have: by the command, and in a user's test."""
    monkeypatch.setattr("mobileiqa.models.musiq.DEPTH", 2)  # of 14 blocks
    checkpoint = save(
        tmp_path / "musiq.safetensors", build_seeded("musiq-google"), MODELS["musiq-google"].spec
    )
    path, photos = tmp_path / "musiq.tflite", tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        photo(seed, 64, 48).save(photos / f"{seed}.png")
    arguments = ["--size", "64x48", "--fp16", "--images", str(photos), "--out", str(path)]
    assert tflite.main([str(checkpoint), *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["passed"] and result["fp16_arithmetic_allowed"]
    content = inspect(read_graphs(path)[0])
    assert content["partitions"] == [content["operators"]] and content["refusals"] == []
    assert parity.main([str(checkpoint), str(path), "--images", str(photos)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["passed"]
    assert_parity(load_checkpoint(checkpoint), path, [Image.open(photos / "0.png"), photos / "1.png"])


def one_line(error: str) -> str:
    (line,) = error.splitlines()
    return line


def test_a_model_of_tokens_needs_a_size(capsys: Any, tmp_path: Path):
    arguments = ["--model", "musiq", "--fp32", "--out", str(tmp_path / "musiq.tflite")]
    assert tflite.main(arguments) == 2
    error = one_line(capsys.readouterr().err)
    assert (
        "whose tokens are as many as the photo has; found no --size; add it, such as --size 512x384" in error
    )
    assert list(tmp_path.iterdir()) == []


def test_what_no_phone_can_run_is_refused_before_it_is_built(capsys: Any, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr("mobileiqa.zoo.build", lambda name: pytest.fail("built"))
    arguments = ["--model", "fr-nr-transformer", "--out", str(tmp_path / "yoto.tflite")]
    assert tflite.main(arguments) == 2
    assert one_line(capsys.readouterr().err) == (
        "python -m convert.tflite: expected a model that a phone can run; found fr-nr-transformer: 113 GMACs for a "
        "photo and its original, 80 for a photo alone, 84 million parameters; score with its checkpoint on a computer: "
        "python -m mobileiqa.score"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["padding", "patch", "full"])
def test_a_visual_prompt_is_refused_with_the_reason(kind: str, capsys: Any, tmp_path: Path):
    state = VisualPrompt(kind, 3, 16).state_dict()
    published, ours = tmp_path / "visual_prompt.pth", tmp_path / "visual_prompt.safetensors"
    torch.save(state, published)
    save_file(state, ours, metadata={"prompt": kind})
    for path in (published, ours):
        assert tflite.main([str(path), "--out", str(tmp_path / "prompt.tflite")]) == 2
        error = one_line(capsys.readouterr().err)
        assert f"found a visual prompt in {path.name}, without the vision-language model" in error
        assert "7 billion parameters" in error and sorted(tmp_path.iterdir()) == [published, ours]


def test_a_vision_language_model_is_refused_with_the_reason(capsys: Any, tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    assert tflite.main([str(tmp_path), "--out", str(tmp_path / "llava.tflite")]) == 2
    error = one_line(capsys.readouterr().err)
    assert "found a vision-language model's folder" in error and "7 billion parameters" in error


def test_a_checkpoint_with_a_reference_image_is_refused(tmp_path: Path, monkeypatch: Any):
    """A small module stands for 84 million parameters."""
    spec = MODELS["fr-nr-transformer"].spec.with_reference()
    path = save(tmp_path / "pair.safetensors", torch.nn.Linear(2, 2), spec)
    monkeypatch.setattr("mobileiqa.checkpoint.build", lambda name: torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="fr-nr-transformer with a reference image"):
        load.load_model(str(path))
    with pytest.raises(UserError, match="a model that a phone can run"):
        load.load_model(str(path), for_phones=True)
