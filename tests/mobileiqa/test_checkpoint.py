"""Checkpoints of our own: round trips, headers, strictness, and the sidecar."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mobileiqa import cli
from mobileiqa.checkpoint import load, load_spec, save, sha256
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS
from tests.mobileiqa.checkpoints import SMALL, assert_equal, refusal

SPEC = MODELS[SMALL].spec.resized(64, 48)


@pytest.fixture
def small(seeded: Callable[[str], Any]) -> torch.nn.Module:
    return copy.deepcopy(seeded(SMALL))


# Own format.


def test_round_trip(small: torch.nn.Module, tmp_path: Path):
    path = save(tmp_path / "model.safetensors", small, SPEC)
    model, spec = load(path)
    assert spec == SPEC and not model.training
    assert_equal(model, small)
    beside = json.loads((tmp_path / "model.safetensors.json").read_text())
    assert beside == {"spec": json.loads(json.dumps(SPEC.to_json())), "sha256": sha256(path)}
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "model.safetensors.json"]


def test_saving_an_equal_model_gives_an_equal_file(small: torch.nn.Module, tmp_path: Path):
    paths = [save(tmp_path / f"{i}.safetensors", small, SPEC) for i in range(2)]
    assert sha256(paths[0]) == sha256(paths[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(small: torch.nn.Module, tmp_path: Path, value: float):
    small.head.base_weight.data[0, 3] = value
    with pytest.raises(UserError, match=r"head\.base_weight"):
        save(tmp_path / "model.safetensors", small, SPEC)
    assert os.listdir(tmp_path) == []


def test_the_spec_can_be_read_alone(small: torch.nn.Module, tmp_path: Path):
    path = save(tmp_path / "model.safetensors", small, SPEC)
    assert load_spec(path) == SPEC
    path.write_bytes(path.read_bytes()[:100])
    for wrong in (path, tmp_path / "missing.safetensors"):
        with pytest.raises(UserError, match=f"a whole safetensors file.*{wrong.name}"):
            load_spec(wrong)


def test_another_suffix_is_refused(small: torch.nn.Module, tmp_path: Path):
    with pytest.raises(UserError, match=r"\.safetensors"):
        save(tmp_path / "model.pt", small, SPEC)


def test_an_existing_file_needs_force(small: torch.nn.Module, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_text("precious")
    with pytest.raises(UserError, match="--force"):
        save(path, small, SPEC)
    assert path.read_text() == "precious"
    save(path, small, SPEC, force=True)
    assert load(path)[1] == SPEC


def test_an_interrupted_save_leaves_nothing(small: torch.nn.Module, tmp_path: Path, monkeypatch):
    def stop(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "model.safetensors", small, SPEC)
    assert os.listdir(tmp_path) == []


def test_a_safetensors_file_of_another_origin_is_named(small: torch.nn.Module, tmp_path: Path):
    save_file(small.state_dict(), tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    message = refusal(tmp_path / "theirs.safetensors")
    assert "'mobileiqa' entry in the header of theirs.safetensors" in message and "['format']" in message


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("not JSON", "JSON in the header of x.safetensors"),
        ("[]", "ModelSpec as this version writes it"),
        ('{"name": "x"}', "inputs: missing"),
        (json.dumps(SPEC.to_json() | {"name": "vgg-iqa"}), "'vgg-iqa'"),
        (json.dumps(SPEC.to_json() | {"name": "lar-iqa-lite"}), "tensors of the model in x.safetensors"),
        (json.dumps(SPEC.to_json() | {"name": "hyperiqa"}), "the inputs crops of hyperiqa"),
        (
            json.dumps(SPEC.to_json() | {"inputs": [{"name": "x", "height_px": 64, "width_px": 48}]}),
            "the inputs image",
        ),
        (json.dumps(MODELS["hyperiqa"].spec.to_json()).replace("224", "128"), "crops of 224x224"),
        (json.dumps(MODELS["ms-scanet"].spec.to_json()).replace("224", "256"), "resize of 224x224"),
        (json.dumps(MODELS["musiq"].spec.to_json()).replace("[224, 384]", "[32, 64, 96]"), "multi_scale of"),
        (json.dumps(SPEC.to_json() | {"name": "musiq"}), "the inputs tokens of musiq"),
        (json.dumps(SPEC.to_json()).replace('"crops": 1', '"of_reference": true'), "resize of 384x384"),
        (json.dumps(MODELS["ms-scanet"].spec.to_json()), "66 tensors of the model"),
    ],
)
def test_a_header_that_is_wrong_is_refused(small: torch.nn.Module, tmp_path: Path, header: str, words: str):
    save_file(small.state_dict(), tmp_path / "x.safetensors", metadata={"mobileiqa": header})
    assert words in refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_a_truncated_own_file_is_refused(small: torch.nn.Module, tmp_path: Path, keep: int):
    path = save(tmp_path / "model.safetensors", small, SPEC)
    path.write_bytes(path.read_bytes()[:keep])
    assert "a whole safetensors file; found model.safetensors" in refusal(path)


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "model"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"\x1c\0\0\0TFL3")
    message = refusal(tmp_path / name)
    assert (
        ".safetensors (ours) or .pt, .pth, .ckpt, .pkl, .npz, .h5 (published)" in message and name in message
    )


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path: Path):
    (tmp_path / "model.pt").mkdir()
    assert f"a folder at {tmp_path / 'model.pt'}" in refusal(tmp_path / "model.pt")
    assert "nothing at" in refusal(tmp_path / "absent.pt")


def test_an_own_value_that_is_not_finite_is_refused(small: torch.nn.Module, tmp_path: Path):
    state = {k: v.clone() for k, v in small.state_dict().items()}
    state["head.base_weight"][0, 3] = float("nan")
    save_file(state, tmp_path / "x.safetensors", metadata={"mobileiqa": json.dumps(SPEC.to_json())})
    assert "NaN or infinity in head.base_weight, 1 of its" in refusal(tmp_path / "x.safetensors")


def test_a_flipped_bit_is_found_by_the_sidecar(small: torch.nn.Module, tmp_path: Path):
    path = save(tmp_path / "model.safetensors", small, SPEC)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert "that model.safetensors.json describes" in refusal(path)
    with pytest.raises(UserError, match="describes"):
        load_spec(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(sha256="0" * 64), "describes"),
        (lambda c: c.update(sha256=3), '"sha256" in model.safetensors.json'),
        (lambda c: c.pop("sha256"), '"sha256" in model.safetensors.json'),
        (lambda c: c["spec"].update(higher_is_better=False), "another one"),
        (lambda c: c["spec"].update(higher_is_better="no"), "expected bool"),
        (lambda c: c.pop("spec"), "model.safetensors.json"),
    ],
)
def test_a_foreign_or_stale_sidecar_is_refused(small, tmp_path: Path, change, words: str):
    path = save(tmp_path / "model.safetensors", small, SPEC)
    sidecar = tmp_path / "model.safetensors.json"
    content = json.loads(sidecar.read_text())
    change(content)
    sidecar.write_text(json.dumps(content))
    assert words in refusal(path)
    sidecar.unlink()
    assert load(path)[1] == SPEC


def test_saving_again_replaces_the_sidecar(small, tmp_path: Path):
    path = save(tmp_path / "model.safetensors", small, SPEC)
    small.head.base_weight.data[0, 0] += 1
    save(path, small, SPEC, force=True)
    assert_equal(load(path)[0], small)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"name": ' + "9" * 6000 + "}", '{"name": []}', "\ud800", "NaN"]
)
def test_hostile_json_in_a_header_is_one_line(small, tmp_path: Path, text: str):
    header = {"mobileiqa": text.encode("utf-8", "replace").decode()}
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", metadata=header)
    assert len(refusal(tmp_path / "x.safetensors")) < 700
