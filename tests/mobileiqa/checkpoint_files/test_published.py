"""Published checkpoints: recognised, read strictly, and without running code."""

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobileiqa import checkpoint
from mobileiqa.checkpoint import load, recognise, save
from mobileiqa.zoo import MODELS, entry
from tests.mobileiqa.checkpoints import SMALL, State, assert_equal, published, refusal


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


@pytest.mark.parametrize("kind", [torch.complex64, torch.bool])
def test_a_tensor_of_another_kind_is_no_float(write, kind: torch.dtype):
    key = "base.bn1.bias"
    message = refusal(write(lambda s: s.update({key: torch.zeros(s[key].shape).to(kind)})))
    assert f"{str(kind).removeprefix('torch.')}, wanted" in message
