"""The second converter: same interface as the first, same scores, and what it says when it cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from convert.export.onnx2tf import defect, export_tflite, separate_layouts
from convert.export.onnx_file import export_onnx, read_model
from convert.flatbuffer.reader import read_graph
from convert.runtimes.runners import onnx_runner, torch_runner
from convert.runtimes.tool_environments import command_of
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.scoring.litert import runner
from mobileiqa.spec import InputSpec, ModelSpec

Photo = Callable[[int, int, int], Image.Image]


@pytest.fixture(scope="module")
def onnx_file(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_onnx(tiny[0], tiny[1], tmp_path_factory.mktemp("onnx2tf") / "toy.onnx")


@pytest.fixture(scope="module")
def converted(onnx_file: Path) -> Path:
    try:
        command_of("onnx2tf", "onnx2tf")
    except UserError as error:
        pytest.skip(str(error))
    path = onnx_file.with_suffix(".tflite")
    path.write_bytes(export_tflite(onnx_file))
    return path


def test_inputs_stay_nchw_and_named(tiny: Any, converted: Path):
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(converted)).get_signature_runner("serving_default")
    inputs = {name: tuple(detail["shape"]) for name, detail in signature.get_input_details().items()}
    assert inputs == {i.name: i.shape for i in tiny[1].inputs}
    outputs = {name: (tuple(d["shape"]), d["dtype"]) for name, d in signature.get_output_details().items()}
    assert outputs == {"score": ((1,), np.float32)}


def test_scores_agree_with_torch(tiny: Any, converted: Path, photo: Photo):
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
        export_tflite(onnx_file)


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
        ("exit 0", "model_float32.tflite from onnx2tf; found nothing"),
        ("mkdir out; touch out/model_float16.tflite", "found model_float16.tflite"),
    ],
)
def test_a_conversion_that_fails_leaves_no_file(
    script: str, words: str, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    fake_converter(tmp_path, script)
    with pytest.raises(UserError, match=words):
        export_tflite(onnx_file)


def test_custom_operators_are_refused(
    onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flatbuffer: Any
):
    """onnx2tf writes them where an ONNX operator has no builtin counterpart, and calls it a success."""
    flatbuffer.op("ONNX_SCATTERND", [flatbuffer.input(1, 4)], [flatbuffer.tensor(1, 4)])
    (tmp_path / "custom.tflite").write_bytes(flatbuffer.build(1))
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    fake_converter(tmp_path, f"mkdir out; cp {tmp_path}/custom.tflite out/model_float32.tflite")
    with pytest.raises(UserError, match="custom operators ONNX_SCATTERND"):
        export_tflite(onnx_file)


class SlicedAndTransposed(nn.Module):
    """A sum that is read by rows and, channels last, as a whole: what bands and strips do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image)
        x = x + torch.relu(self.second(x))
        bands = torch.cat([self.second(x[:, :, :9]), self.second(x[:, :, 7:])], 2)
        strips = torch.cat([x.permute(0, 2, 3, 1)[:, :5].sum(1), x.permute(0, 2, 3, 1)[:, 5:].sum(1)], 1)
        return torch.tanh(bands.mean((1, 2, 3)) + strips.mean((1, 2)))


@pytest.fixture(scope="module")
def tangled(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, ModelSpec, Path]:
    torch.manual_seed(0)
    module, spec = SlicedAndTransposed().eval(), ModelSpec("tangled", (InputSpec("image", 16, 20),))
    return module, spec, export_onnx(module, spec, tmp_path_factory.mktemp("tangled") / "tangled.onnx")


def test_a_value_that_is_sliced_and_transposed_is_computed_twice(
    tangled: tuple[nn.Module, ModelSpec, Path], photo: Photo, tmp_path: Path
):
    module, spec, path = tangled
    model = read_model(path)
    before = len(model.graph.node)
    assert separate_layouts(model.graph) == 1
    assert len(model.graph.node) == before + 1
    assert separate_layouts(model.graph) == 0
    onnx.save(model, str(tmp_path / "apart.onnx"))
    onnx.checker.check_model(str(tmp_path / "apart.onnx"), full_check=True)
    inputs = prepare(photo(0, 40, 30), spec)
    scores = onnx_runner(tmp_path / "apart.onnx")(inputs)
    np.testing.assert_allclose(scores, torch_runner(module, spec)(inputs), atol=1e-6)


def test_onnx2tf_converts_it_then(
    tangled: tuple[nn.Module, ModelSpec, Path], converted: Path, photo: Photo, tmp_path: Path
):
    module, spec, path = tangled
    inputs = prepare(photo(0, 40, 30), spec)
    (tmp_path / "a.tflite").write_bytes(export_tflite(path))
    scores = runner(tmp_path / "a.tflite")(inputs)
    np.testing.assert_allclose(scores, torch_runner(module, spec)(inputs), atol=1e-6)


def test_a_tensor_that_nothing_writes_is_a_defect(flatbuffer: Any, save: Callable[[bytes], Path]):
    lost = flatbuffer.tensor(1, 4)
    flatbuffer.op("RELU", [flatbuffer.input(1, 4)], [flatbuffer.tensor(1, 4)])
    flatbuffer.op("RELU", [lost], [flatbuffer.tensor(1, 4)])
    assert (
        defect(read_graph(save(flatbuffer.build(3)))) == f"tensor t{lost}, read by a RELU and written by none"
    )


def test_a_file_that_is_not_onnx_is_refused(converted: Path, tmp_path: Path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match=r"broken\.onnx"):
        export_tflite(broken)
