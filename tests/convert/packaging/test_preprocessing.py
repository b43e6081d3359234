"""What is drawn in front of a model: operators, partitions, values, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.delegation.partitions import disagreements, forecast, runtime_delegation
from convert.flatbuffer import model as fb
from convert.flatbuffer.builder import Builder
from convert.flatbuffer.reader import read_graph
from convert.packaging.preprocessing import channels_last, image_size, take_uint8_image
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec
from mobileiqa.zoo import MODELS
from tests.convert.packaging.conftest import TINY, run_on_pixels, write_tiny


def packaged(source: Path, spec: ModelSpec, size: tuple[int, int]) -> Path:
    path = source.with_name("packaged.tflite")
    model = fb.read(source)
    take_uint8_image(model, spec, *size)
    fb.write(model, path)
    return path


@pytest.mark.parametrize("fp16", [False, True])
def test_one_partition_or_the_model_apart_from_the_bytes(flatbuffer, tmp_path: Path, fp16: bool) -> None:
    """XNNPACK leaves FP16 out for a partition with 8-bit operators; CAST keeps them out of the model's."""
    source = write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY, fp16)
    path = packaged(source, TINY, (150, 110))
    graph, runtime = read_graph(path), runtime_delegation(path)
    partitions = forecast(graph)
    assert disagreements(graph, partitions, runtime) == []
    assert {graph.operators[i].name for i in partitions.refusals} == ({"CAST"} if fp16 else set())
    assert len(partitions.partitions) == (2 if fp16 else 1)
    last = [graph.operators[i] for i in partitions.partitions[-1]]
    kinds = {graph.tensors[t].dtype for op in last for t in op.outputs}
    assert kinds == ({"float32"} if fp16 else {"float32", "uint8"})


def test_the_score_is_that_of_the_prepared_photo(tiny: Path, photo) -> None:
    assert "TRANSPOSE" not in [o.name for o in read_graph(packaged(tiny, TINY, (64, 48))).operators]
    path, run = packaged(tiny, TINY, (150, 110)), litert.runner(tiny)
    scores = []
    for seed in range(4):
        picture = photo(seed, 150, 110)
        scores.append(float(run(prepare(picture, TINY))[0]))
        assert abs(float(run_on_pixels(path, np.asarray(picture))[0]) - scores[-1]) <= 1e-4
    assert np.ptp(scores) > 0.01


def test_two_inputs_from_one_image(flatbuffer, tmp_path: Path, photo) -> None:
    """LAR-IQA's case: a resized input and a centre crop; here their sum over one size."""
    inputs = (
        InputSpec("authentic", 24, 32),
        InputSpec("synthetic", 24, 32, fit=Fit.CENTER_CROP, mean=(0.1, 0.2, 0.3)),
    )
    spec, path = ModelSpec("two", inputs), tmp_path / "two.tflite"
    b = flatbuffer
    both = [b.input(1, 3, 24, 32), b.input(1, 3, 24, 32)]
    path.write_bytes(b.build(b.op("ADD", both, [b.tensor(1, 3, 24, 32)], "AddOptions")))
    model = fb.read(path)
    fb.name_signature(model, ["authentic", "synthetic"])
    fb.write(model, path)
    picture = photo(0, 90, 70)
    expected = sum(prepare(picture, spec).values())
    result = run_on_pixels(packaged(path, spec, (90, 70)), np.asarray(picture))
    np.testing.assert_allclose(result, expected, atol=1.1 / 255 / 0.224)
    assert (np.abs(result - expected) > 1e-5).mean() < 0.005


def test_padding_and_quantization_turn_with_the_layout(flatbuffer, tmp_path: Path) -> None:
    b = flatbuffer
    image = b.input(1, 3, 4, 5)
    eighth = b.op(
        "QUANTIZE", [image], [b.tensor(1, 3, 4, 5, dtype="int8", scale=(0.02, 0))], "QuantizeOptions"
    )
    around = b.constant([[0, 0], [0, 0], [1, 0], [0, 2]])
    padded = b.op(
        "PAD", [eighth, around], [b.tensor(1, 3, 5, 7, dtype="int8", scale=(0.02, 0))], "PadOptions"
    )
    order = b.constant([0, 2, 3, 1])
    turned = b.op(
        "TRANSPOSE",
        [padded, order],
        [b.tensor(1, 5, 7, 3, dtype="int8", scale=(0.02, 0))],
        "TransposeOptions",
    )
    path = tmp_path / "pad.tflite"
    path.write_bytes(b.build(b.op("DEQUANTIZE", [turned], [b.tensor(1, 5, 7, 3)], "DequantizeOptions")))
    values = np.random.default_rng(0).normal(0, 0.5, (1, 3, 4, 5)).astype(np.float32)
    before = _run(path, values)
    model = fb.read(path)
    assert channels_last(Builder(model, model.subgraphs[0]), image)
    fb.write(model, path)
    assert [o.name for o in read_graph(path).operators] == ["QUANTIZE", "PAD", "DEQUANTIZE"]
    np.testing.assert_array_equal(_run(path, values.transpose(0, 2, 3, 1)), before)


def _run(path: Path, values: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_a_model_that_works_in_nchw_keeps_its_layout(flatbuffer, tmp_path: Path) -> None:
    b = flatbuffer
    image = b.input(1, 3, 4, 5)
    path = tmp_path / "abs.tflite"
    path.write_bytes(b.build(b.op("ABS", [image], [b.tensor(1, 3, 4, 5)], "AbsOptions")))
    model = fb.read(path)
    assert not channels_last(Builder(model, model.subgraphs[0]), image)
    assert model.subgraphs[0].tensors[image].shape.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("spec", "size", "message"),
    [
        (ModelSpec("x", (InputSpec("image", 8, 8, color_space=ColorSpace.HSV),)), (90, 90), "scores RGB"),
        (MODELS["hyperiqa"].spec, (900, 900), "25 random crops"),
        (MODELS["lar-iqa-kan"].spec, None, "prepares it in 2 ways"),
    ],
)
def test_what_no_graph_can_prepare_is_refused(spec: ModelSpec, size: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        image_size(spec, size)


def test_the_default_size_is_the_models() -> None:
    assert image_size(TINY, None) == (64, 48)
    assert image_size(MODELS["lar-iqa-kan"].spec, (4032, 3024)) == (4032, 3024)
