"""The second converter: same interface as the first, same scores, and what it says when it cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.environments import command_of
from convert.onnx import export_onnx
from convert.onnx2tf import export_tflite
from convert.runners import torch_runner
from mobileiqa.errors import UserError
from mobileiqa.litert import runner
from mobileiqa.preprocess import prepare


@pytest.fixture(scope="module")
def onnx_file(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(tiny[0], tiny[1], tmp_path_factory.mktemp("onnx2tf") / "toy.onnx")


@pytest.fixture(scope="module")
def converted(onnx_file: Path) -> Path:
    try:
        command_of("onnx2tf", "onnx2tf")
    except UserError as error:
        pytest.skip(str(error))
    return export_tflite(onnx_file, onnx_file.with_suffix(".tflite"))


def test_inputs_stay_nchw_and_named(tiny: Any, converted: Path):
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(converted)).get_signature_runner("serving_default")
    inputs = {name: tuple(detail["shape"]) for name, detail in signature.get_input_details().items()}
    assert inputs == {i.name: i.shape for i in tiny[1].inputs}
    outputs = {name: (tuple(d["shape"]), d["dtype"]) for name, d in signature.get_output_details().items()}
    assert outputs == {"score": ((1,), np.float32)}


def test_scores_agree_with_torch(tiny: Any, converted: Path, photo: Callable[[int, int, int], Image.Image]):
    toy, spec, _ = tiny
    inputs = prepare(photo(0, 90, 70), spec)
    np.testing.assert_allclose(runner(converted)(inputs), torch_runner(toy, spec)(inputs), atol=1e-6)


def test_only_the_file_that_was_asked_for_is_left(converted: Path):
    assert sorted(p.suffix for p in converted.parent.iterdir()) == [".onnx", ".tflite"]


def test_without_the_environment_it_says_what_to_make(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    with pytest.raises(UserError, match="make onnx2tf"):
        export_tflite(onnx_file, tmp_path / "a.tflite")


def fake_converter(folder: Path, script: str) -> None:
    """An environment whose onnx2tf is a shell script."""
    command = folder / "onnx2tf" / "bin" / "onnx2tf"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'ERROR: no lowering for op Foo' >&2; exit 3", "exit 3: ERROR: no lowering for op Foo"),
        ("exit 0", r"one \*_float32.tflite from onnx2tf; found nothing"),
        ("mkdir out; touch out/toy_float16.tflite", "found toy_float16.tflite"),
    ],
)
def test_a_conversion_that_fails_leaves_no_file(
    script: str, words: str, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    fake_converter(tmp_path, script)
    with pytest.raises(UserError, match=words):
        export_tflite(onnx_file, tmp_path / "a.tflite")
    assert not (tmp_path / "a.tflite").exists()


def test_a_file_that_is_not_onnx_is_refused(converted: Path, tmp_path: Path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match=r"broken\.onnx"):
        export_tflite(broken, tmp_path / "a.tflite")
