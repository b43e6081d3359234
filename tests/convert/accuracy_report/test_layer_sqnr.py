"""SQNR along the graph, on files of a few operators whose noise numpy can work out."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from convert.accuracy_report.layer_sqnr import (
    Layer,
    LayerTable,
    compare_layers,
    implied_step,
    match,
    precision,
)
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import read_graph
from convert.int8.statistics.interpreter import dequantized
from mobileiqa.errors import UserError

SHAPE = (1, 3, 8, 8)
STEP = 0.05
IMAGES = [{"image": np.random.default_rng(i).uniform(0, 1, SHAPE).astype(np.float32)} for i in range(3)]


@pytest.fixture
def net(flatbuffer, tmp_path: Path):
    """net(name, step...): image -> [8 bits] -> TRANSPOSE `turned` -> MUL `middle` -> MUL `scaled` -> MEAN `score`."""

    def make(
        name: str, step: float | None = None, first: Any = 1.0, gain: Any = 1.0, turned: str = "turned"
    ) -> Path:
        b = type(flatbuffer)()
        image, scale = b.input(*SHAPE), None if step is None else (step, -128)
        source, dtype = image, "float32" if step is None else "int8"
        if step is not None:
            source = b.op("QUANTIZE", [image], [b.tensor(*SHAPE, dtype="int8", scale=scale)])
        rotated = b.tensor(1, 8, 8, 3, dtype=dtype, scale=scale)
        last = b.op("TRANSPOSE", [source, b.constant([0, 2, 3, 1])], [rotated])
        if step is not None:
            last = b.op("DEQUANTIZE", [last], [b.tensor(1, 8, 8, 3)], version=2)
        middle = b.op("MUL", [last, b.constant(np.float32(first))], [b.tensor(1, 8, 8, 3)], "MulOptions")
        scaled = b.op("MUL", [middle, b.constant(np.float32(gain))], [b.tensor(1, 8, 8, 3)], "MulOptions")
        score = b.op("MEAN", [scaled, b.constant([1, 2, 3])], [b.tensor(1)], "ReducerOptions")
        for index, text in ((rotated, turned), (middle, "middle"), (scaled, "scaled")):
            b.tensors[index].name = text.encode()
        path = tmp_path / name
        path.write_bytes(b.build(score))
        model = fb.read(path)
        fb.name_signature(model, ["image"])
        fb.write(model, path)
        return path

    return make


def by_name(table: LayerTable) -> dict[str, Layer]:
    return {layer.name: layer for layer in table.layers}


def test_noise_is_that_of_rounding(net) -> None:
    table = compare_layers(net("fp32.tflite"), net("int8.tflite", STEP), IMAGES)
    x = np.stack([i["image"] for i in IMAGES]).astype(np.float64)
    noise = np.rint(x / np.float32(STEP)) * np.float32(STEP) - x
    expected = 10 * np.log10(np.mean(x**2) / np.mean(noise**2))
    layers = by_name(table)
    assert [(x.index, x.operator, x.dtype) for x in table.layers] == [
        (0, "QUANTIZE", "int8"), (1, "TRANSPOSE", "int8"), (3, "MUL", "float32"), (4, "MUL", "float32"),
        (5, "MEAN", "float32"),
    ]  # fmt: skip
    for name in ("turned", "middle", "scaled"):
        assert layers[name].sqnr_db == layers[name].plain_db == pytest.approx(expected, abs=0.01)
        assert not layers[name].scaled
    assert layers["score"].plain_db > expected + 15  # the mean over 192 values takes the noise away
    assert (table.images, table.missing) == (3, ())
    assert table.worst_first()[-1].name == "score"


def test_equal_files_have_no_noise(net) -> None:
    table = compare_layers(net("a.tflite"), net("b.tflite"), IMAGES[:1])
    assert [(layer.noise, layer.difference) for layer in table.layers] == [(0, 0)] * 4
    assert {layer.sqnr_db for layer in table.layers} == {None} and table.worst_first() == []


def test_the_layer_that_was_perturbed_is_found(net) -> None:
    """A gain that nothing takes back is an error."""
    table = compare_layers(net("a.tflite"), net("b.tflite", gain=1.1), IMAGES)
    assert {layer.name for layer in table.worst_first()} == {"scaled", "score"}
    assert not table.worst_first()[0].scaled
    assert table.worst_first()[0].sqnr_db == pytest.approx(20, abs=0.01)  # a tenth of the signal


def test_gains_that_are_taken_back_are_no_noise(net) -> None:
    """As equalization leaves a tensor: its channels are scaled, and the next operator scales them back."""
    equalized = net("b.tflite", STEP, first=[0.5, 1.0, 4.0], gain=[2.0, 1.0, 0.25])
    layers = by_name(compare_layers(net("a.tflite"), equalized, IMAGES))
    assert [name for name, layer in layers.items() if layer.scaled] == ["middle"]
    assert layers["middle"].plain_db < 0
    assert layers["middle"].sqnr_db == pytest.approx(layers["scaled"].sqnr_db, abs=0.5)


def test_clipping_is_noise(net) -> None:
    """Everything above 0.255 is clipped, which gains would explain in part; but nothing takes it back."""
    table = compare_layers(net("a.tflite"), net("b.tflite", step=0.001), IMAGES)
    assert all(layer.sqnr_db == layer.plain_db < 5 for layer in table.layers)


def test_what_is_not_finite_is_the_worst(net) -> None:
    table = compare_layers(net("a.tflite"), net("b.tflite", STEP, gain=float("nan")), IMAGES[:1])
    worst = table.worst_first()
    assert [layer.name for layer in worst[:2]] == ["scaled", "score"]
    assert not worst[0].finite and worst[0].sqnr_db is None


def test_other_names_and_shapes_are_listed_as_missing(net) -> None:
    fp32 = read_graph(net("a.tflite"))
    renamed = match(fp32, read_graph(net("b.tflite", STEP, turned="elsewhere")))
    assert renamed.missing == ("turned",)
    assert [p.name for p in renamed.pairs][1:] == ["middle", "scaled", "score"]
    assert match(fp32, read_graph(net("c.tflite", turned="scaled"))).missing == ("turned", "scaled")  # twice
    reshaped = SimpleNamespace(fp32=net("d.tflite"), other=net("e.tflite"))
    model = fb.read(reshaped.other)
    turned = next(t for t in model.subgraphs[0].tensors if t.name == b"turned")
    turned.shape = np.array([1, 8, 24, 1], np.int32)
    fb.write(model, reshaped.other)
    assert match(read_graph(reshaped.fp32), read_graph(reshaped.other)).missing == ("turned",)


def test_a_file_that_says_one_shape_and_runs_another_is_named(net) -> None:
    wrong = net("b.tflite", gain=np.ones((1, 1, 1, 1, 1)))  # makes every later tensor five-dimensional
    with pytest.raises(UserError, match=r"scaled of shape \(1, 8, 8, 3\).*found \(1, 1, 8, 8, 3\)"):
        compare_layers(net("a.tflite"), wrong, IMAGES)


def test_no_images_are_an_error(net) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        compare_layers(net("a.tflite"), net("b.tflite"), [])


def test_real_values_per_tensor_and_per_channel() -> None:
    q = np.array([[-128, 0], [10, 127]], np.int8)
    assert np.array_equal(dequantized(q, (0.5,), (-128,), 0), [[0, 64], [69, 127.5]])
    assert np.array_equal(dequantized(q, (0.5, 2.0), (0, 10), 0), [[-64, 0], [0, 234]])
    assert np.array_equal(dequantized(q, (0.5, 2.0), (0, 0), 1), [[-64, 0], [5, 254]])
    assert np.array_equal(dequantized(q, (), (), 0), q)


def test_the_step_of_an_output_in_integers(flatbuffer, save, net) -> None:
    b = flatbuffer
    image = b.input(1, 4)
    quantized = b.op("QUANTIZE", [image], [b.tensor(1, 4, dtype="int8", scale=(0.25, 0))])
    flat = b.op("DEQUANTIZE", [quantized], [b.tensor(1, 4)], version=2)
    out = b.op("RESHAPE", [flat, b.constant([4])], [b.tensor(4)])
    assert implied_step(read_graph(save(b.build(out)))) == 0.25
    assert implied_step(read_graph(net("a.tflite", STEP))) is None  # the mean of steps has no step


def test_precision_is_what_the_file_holds(flatbuffer, save, net) -> None:
    assert precision(read_graph(net("a.tflite"))) == "fp32"
    assert precision(read_graph(net("b.tflite", STEP))) == "int8"
    b = flatbuffer
    image, weights = b.input(1, 4), b.constant(np.ones(4), "float16")
    full = b.op("DEQUANTIZE", [weights], [b.tensor(4)], version=3)
    out = b.op("MUL", [image, full], [b.tensor(1, 4)], "MulOptions")
    b.note("mobileiqa", json.dumps({"precision": "fp32"}).encode())  # whatever it says
    assert precision(read_graph(save(b.build(out)))) == "fp16"
