"""The shipped checkpoint is the trained one with its matrices in half precision."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mobileiqa import checkpoint
from mobileiqa.zoo import MODELS, build_seeded
from tools import ship_reference


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    return checkpoint.save(path, build_seeded("lar-iqa-lite"), MODELS["lar-iqa-lite"].spec)


def test_matrices_are_rounded_and_vectors_are_not(trained: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "reference.safetensors"
    assert ship_reference.main([str(trained), "--out", str(out), "--license", "CC0"]) == 0
    assert json.loads(capsys.readouterr().out)["size_mb"] < 16
    before, (model, spec) = checkpoint.load(trained)[0].state_dict(), checkpoint.load(out)
    assert spec.license == "CC0"
    for key, value in model.state_dict().items():
        rounded = dict(model.named_parameters()).get(key, before[key]).ndim > 1 and not key.endswith("grid")
        assert torch.equal(value, before[key].half().float() if rounded else before[key]), key
    with safe_open(out, framework="pt") as file:
        assert file.get_tensor("backbone.conv_stem.weight").dtype == torch.float16


def test_a_model_that_is_too_large_is_refused(trained: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(ship_reference, "MAX_BYTES", 10_000_000)
    assert ship_reference.main([str(trained), "--out", str(tmp_path / "out.safetensors")]) == 2
    assert "at most 10 MB" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_record_gets_one_from_its_photos(trained: Path, tmp_path: Path, photo) -> None:
    pristine, out = tmp_path / "pristine", tmp_path / "out.safetensors"
    pristine.mkdir()
    for number in range(5):
        photo(number, 40, 40).save(pristine / f"{number}.png")
    command = [
        str(trained),
        "--out",
        str(out),
        "--pristine",
        str(pristine),
        "--exclude",
        "3.png",
        "--split-seed",
        "2",
    ]
    assert ship_reference.main(command) == 0
    training = checkpoint.load_spec(out).training
    assert training is not None
    (photos,) = training.sets
    assert (photos.name, photos.split_seed, photos.train + photos.validation) == ("pristine", 2, 4)
    plain = tmp_path / "plain.safetensors"
    assert ship_reference.main([str(trained), "--out", str(plain)]) == 0
    with safe_open(out, framework="pt") as ours, safe_open(plain, framework="pt") as theirs:
        assert all(torch.equal(ours.get_tensor(key), theirs.get_tensor(key)) for key in theirs.keys())  # noqa: SIM118
