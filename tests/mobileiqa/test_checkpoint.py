"""Checkpoints: round trips, the six published state dicts, strictness, and safety."""

import copy
import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mobileiqa import checkpoint, cli
from mobileiqa.checkpoint import load, load_spec, recognise, save, sha256
from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS, entry

SMALL = "lar-iqa-single"
SPEC = MODELS[SMALL].spec.resized(64, 48)
State = dict[str, torch.Tensor]


def published(model: torch.nn.Module, name: str) -> State:
    """The state dict as the published code names it."""
    state = model.state_dict()
    return OrderedDict((key, state[own]) for own, key in to_published(state, entry(name).prefixes()).items())


def assert_equal(model: torch.nn.Module, expected: torch.nn.Module) -> None:
    actual, target = model.state_dict(), expected.state_dict()
    assert list(actual) == list(target)
    for key in target:
        assert actual[key].dtype == target[key].dtype and torch.equal(actual[key], target[key]), key


@pytest.fixture
def small(seeded: Callable[[str], Any]) -> torch.nn.Module:
    return copy.deepcopy(seeded(SMALL))


@pytest.fixture
def write(small: torch.nn.Module, tmp_path: Path) -> Callable[..., Path]:
    """write(change, name): the small model's published state dict, after `change` edited it, as a file."""

    def write(change: Callable[[State], Any] = lambda state: None, name: str = "model.pt") -> Path:
        state = published(small, SMALL)
        torch.save(change(state) or state, tmp_path / name)
        return tmp_path / name

    return write


def refusal(path: Path) -> str:
    """The message of the UserError that loading `path` must raise: it is one line."""
    with pytest.raises(UserError) as error:
        load(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


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


# Published state dicts.


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("mobilenet-iqa", "pt"),
        pytest.param("mobilevit-iqa", "pth", marks=pytest.mark.slow),
        ("lar-iqa-kan", "pkl"),
        ("lar-iqa-mlp", "pt"),
        ("lar-iqa-single", "bin"),
        ("hyperiqa", "pkl"),
    ],
)
def test_published_state_dicts_are_recognised_by_their_keys(
    name: str, suffix: str, seeded: Callable[[str], Any], tmp_path: Path
):
    path = tmp_path / f"anything.{suffix}"
    torch.save(published(seeded(name), name), path)
    model, spec = load(path)
    assert (spec.name, spec.inputs) == (name, MODELS[name].spec.inputs)
    assert "anything" in spec.trained_on and not spec.untrained and not model.training
    assert_equal(model, seeded(name))


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_a_state_dict_may_be_nested_in_a_training_checkpoint(write, small, wrapper: str):
    path = write(lambda state: {wrapper: state, "epoch": 3, "optimizer": {"lr": 0.1}})
    assert_equal(load(path)[0], small)


def test_a_module_prefix_is_tolerated(write, small):
    path = write(lambda state: {f"module.{key}": value for key, value in state.items()})
    assert_equal(load(path)[0], small)


def test_the_old_file_format_is_read(small, tmp_path: Path):
    torch.save(published(small, SMALL), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_equal(load(tmp_path / "old.pth")[0], small)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(write, small, dtype: torch.dtype):
    path = write(lambda s: {k: v.to(dtype) if v.is_floating_point() else v for k, v in s.items()})
    actual, expected = load(path)[0].state_dict(), small.state_dict()
    assert all(torch.equal(actual[key], expected[key].to(dtype).to(expected[key].dtype)) for key in expected)


def test_a_published_file_saved_in_our_format_is_the_same_model(write, tmp_path: Path):
    model, spec = load(write())
    again, same = load(save(tmp_path / "ours.safetensors", model, spec))
    assert same == spec
    assert_equal(again, model)


# Strictness: every difference is found, and named as the file names it.


def test_a_missing_tensor_is_named(write):
    message = refusal(write(lambda state: state.pop("aut_dw.layers.0.spline_scaler") is None))
    assert "missing aut_dw.layers.0.spline_scaler" in message and "1 differences" in message


def test_an_unexpected_tensor_is_named(write):
    assert "unexpected base.extra" in refusal(
        write(lambda state: state.update({"base.extra": torch.ones(1)}))
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(128, 7), "aut_dw.layers.0.base_weight is (128, 7) float, wanted (128, 1000) float"),
        (torch.zeros(128, 1000, dtype=torch.int32), "is (128, 1000) int, wanted (128, 1000) float"),
    ],
)
def test_a_tensor_of_another_shape_or_kind_is_named(write, value: torch.Tensor, words: str):
    assert words in refusal(write(lambda state: state.update({"aut_dw.layers.0.base_weight": value})))


def test_own_key_names_are_not_published_ones(small, tmp_path: Path):
    torch.save(small.state_dict(), tmp_path / "own.pt")
    message = refusal(tmp_path / "own.pt")
    assert "weights of one published model" in message and "backbone.blocks" in message


def test_recognise_needs_every_marker():
    keys = dict.fromkeys(entry(SMALL).markers)
    assert recognise(keys) == SMALL
    assert recognise(dict.fromkeys(entry(SMALL).markers[:1])) is None
    assert recognise({}) is None


# Files that are no checkpoints. Nothing in them runs.


class Bomb:
    """Unpickled by Python's own unpickler, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", ["pt", "pth", "pkl"])
@pytest.mark.parametrize("writer", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickled_code_does_not_run(tmp_path: Path, suffix: str, writer):
    path, trace = tmp_path / f"evil.{suffix}", tmp_path / "trace"
    writer({"base.conv_stem.weight": Bomb(trace)}, path)
    message = refusal(path)
    assert "loadable without running code" in message and not trace.exists()
    if suffix == "pkl":  # the file is the threat that it claims to be
        pickle.loads(pickle.dumps(Bomb(trace)))
        assert trace.exists()


def test_a_whole_pickled_model_is_refused(small, tmp_path: Path):
    torch.save(small, tmp_path / "model.pt")
    assert "torch.save(model.state_dict(), path)" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        b"<!DOCTYPE html><html>Not found</html>",
        b"these are not the weights",
        b"PK\x03\x04 torn",
        bytes(range(256)),
    ],
    ids=["empty", "lfs", "html", "text", "zip", "bytes"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert "a PyTorch state dict in model.pt" in refusal(path)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_published_file_is_refused(tmp_path: Path, new: bool, share: float):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(300), "b": torch.ones(2)}, path, _use_new_zipfile_serialization=new)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "a PyTorch state dict in model.pt" in refusal(path)


@pytest.mark.parametrize(
    "value", [[torch.zeros(1)], 3, {"a": 1}, {1: torch.zeros(1)}, {"state_dict": {"a": [1]}}, torch.zeros(3)]
)
def test_something_else_than_tensors_by_name_is_refused(tmp_path: Path, value: Any):
    torch.save(value, tmp_path / "model.pt")
    assert "a state dict (names to tensors) in model.pt" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize("value", [{}, {"fc.weight": torch.zeros(2)}])
def test_another_model_lists_what_was_looked_for_and_found(tmp_path: Path, value: State):
    torch.save(value, tmp_path / "model.pt")
    message = refusal(tmp_path / "model.pt")
    assert all(name in message for name, e in MODELS.items() if e.markers) and len(message) < 400
    assert ("fc.weight" if value else "no tensors") in message


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


def test_the_weights_only_unpickler_is_what_loads(monkeypatch, write):
    """The safety of every test above hangs on this one flag."""
    path, seen = write(), {}
    original = torch.load

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch, "load", spy)
    checkpoint.load(path)
    assert seen["weights_only"] is True


# Values, and the sidecar.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["base.conv_stem.weight", "base.bn1.running_var"])
def test_a_published_value_that_is_not_finite_is_refused(write, value: float, key: str):
    def spoil(state: State) -> None:
        state[key] = state[key].clone()
        state[key].view(-1)[-1] = value

    message = refusal(write(spoil))
    assert f"NaN or infinity in {key}, 1 of its" in message


def test_a_float64_that_no_float32_holds_is_refused(write):
    assert "NaN or infinity in base.bn1.bias" in refusal(
        write(lambda s: s.update({"base.bn1.bias": s["base.bn1.bias"].double() + 1e300}))
    )


def test_an_own_value_that_is_not_finite_is_refused(small: torch.nn.Module, tmp_path: Path):
    state = {k: v.clone() for k, v in small.state_dict().items()}
    state["head.base_weight"][0, 3] = float("nan")
    save_file(state, tmp_path / "x.safetensors", metadata={"mobileiqa": json.dumps(SPEC.to_json())})
    assert "NaN or infinity in head.base_weight, 1 of its" in refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", [torch.complex64, torch.bool])
def test_a_tensor_of_another_kind_is_no_float(write, kind: torch.dtype):
    key = "base.bn1.bias"
    message = refusal(write(lambda s: s.update({key: torch.zeros(s[key].shape).to(kind)})))
    assert f"{str(kind).removeprefix('torch.')}, wanted" in message


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
