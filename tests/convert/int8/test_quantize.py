"""FP32 to INT8 on a small network, in the real runtime."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convert.comparison.compare import ParityStage, compare
from convert.delegation.partitions import runtime_delegation
from convert.flatbuffer import model as fb
from convert.flatbuffer import passes
from convert.flatbuffer.reader import read_graph
from convert.int8 import calibration
from convert.int8 import quantize as quantizing
from convert.int8 import recipe as recipes
from convert.int8.algorithms.hard_swish import LOWEST
from convert.int8.recipe import Recipe
from convert.int8.statistics.activation_ranges import observe_activations
from mobileiqa.errors import UserError
from tests.convert.int8.networks import (
    RELU,
    bending,
    convolution,
    hard_swish,
    linear,
    mean,
    pictures,
    quantize_file,
    uneven,
)

EVERYTHING = Recipe(float_first=0)


def spread(values: np.ndarray) -> float:
    return float(values.std())


@pytest.mark.parametrize(
    ("recipe", "limit"),
    [
        (Recipe("static", "min-max", float_first=0), 0.3),
        (Recipe("static", "mse", float_first=0), 0.3),
        (Recipe("dynamic"), 0.1),
        (Recipe("weights"), 0.1),
    ],
    ids=str,
)
def test_scores_stay_close_and_the_file_shrinks(small, images, score, tmp_path, recipe, limit) -> None:
    """In units of the scores' own deviation."""
    out = tmp_path / "int8.tflite"
    quantized = quantize_file(small, recipe, images, out)
    expected, actual = score(small, images), score(out, images)
    assert np.abs(actual - expected).max() < limit * spread(expected), (actual, expected)
    assert not np.array_equal(actual, expected)
    assert (quantized.static > 0, quantized.dynamic > 0, quantized.weights > 0) == (
        recipe.mode == "static", recipe.mode != "weights", recipe.mode == "weights",
    )  # fmt: skip
    assert quantized.images == 16


def test_hard_swish_stays_in_one_partition(small, images, tmp_path, operators) -> None:
    """Left as HARD_SWISH it has no INT8 kernel in XNNPACK, and the graph splits; behind 8 bits it can be left."""
    out = tmp_path / "int8.tflite"
    quantize_file(small, EVERYTHING, images, out)
    assert operators(small)["HARD_SWISH"] == 2 and operators(out)["HARD_SWISH"] == 1
    delegation = runtime_delegation(out)
    assert (
        len(delegation["partitions"]) == 1
        if isinstance(delegation["partitions"], list)
        else delegation["partitions"] == 1
    )


def test_the_gates_range_is_the_clip(small, images, score, tmp_path, monkeypatch) -> None:
    """Stored in any wider range the factor is not clipped, and hard-swish is wrong."""
    right, wrong = tmp_path / "right.tflite", tmp_path / "wrong.tflite"
    quantize_file(small, Recipe(ranges="min-max", float_first=0), images, right)
    gates = [t for t in read_graph(right).tensors if t.name.endswith("/gate") and t.scales]
    assert [(t.scales[0], t.zero_points[0]) for t in gates] == [(pytest.approx(1 / 255), -128)]

    def unclipped(model, ranges):
        added = hard_swish_as_products(model, ranges)
        return {name: (-3.0, 4.0) if name.endswith("/gate") else (-5.0, 5.0) for name in added}

    hard_swish_as_products = quantizing.hard_swish_as_products
    monkeypatch.setattr(quantizing, "hard_swish_as_products", unclipped)
    monkeypatch.setattr(
        calibration, "hard_swish_inputs", lambda graph: []
    )  # what it reads is clipped at -3 otherwise
    quantize_file(small, Recipe(ranges="min-max", float_first=0), images, wrong)
    expected = score(small, images)
    errors = [np.abs(score(path, images) - expected).max() for path in (right, wrong)]
    assert errors[1] > 5 * errors[0], errors


def test_a_quantized_file_can_be_edited_and_still_runs(small, images, score, tmp_path) -> None:
    """The quantizer puts buffers behind the flatbuffer: copied without them, the file does not load."""
    out, edited = tmp_path / "int8.tflite", tmp_path / "edited.tflite"
    quantize_file(small, EVERYTHING, images, out)
    model = fb.read(out)
    fb.set_metadata(model, "note", b"edited")
    fb.write(model, edited)
    assert np.array_equal(score(edited, images), score(out, images))


def test_the_last_regressor_stays_in_float(small, images, tmp_path) -> None:
    quantize_file(small, EVERYTHING, images, tmp_path / "int8.tflite")
    graph = read_graph(tmp_path / "int8.tflite")
    weights = [graph.tensors[o.inputs[1]].dtype for o in graph.operators if o.name == "FULLY_CONNECTED"]
    assert weights == ["int8", "float32"]


def test_the_first_convolutions_stay_in_float(small, images, tmp_path) -> None:
    out = tmp_path / "int8.tflite"
    for count, expected in ((0, ["int8", "int8"]), (1, ["float32", "int8"]), (2, ["float32", "float32"])):
        quantize_file(small, Recipe(float_first=count), images, out)
        graph = read_graph(out)
        convolutions = [o for o in graph.operators if o.name in ("CONV_2D", "DEPTHWISE_CONV_2D")]
        assert [graph.tensors[o.inputs[1]].dtype for o in convolutions] == expected
        assert runtime_delegation(out)["partitions"] == 1


def test_a_kept_layer_stays_in_float_and_an_unknown_one_is_refused(small, images, tmp_path) -> None:
    model = fb.read(small)
    names = [
        model.subgraphs[0].tensors[o.outputs[0]].name.decode()
        for o in model.subgraphs[0].operators
        if fb.kind(model, o) == "DEPTHWISE_CONV_2D"
    ]
    out = tmp_path / "int8.tflite"
    every = quantize_file(small, EVERYTHING, images, out)
    less = quantize_file(small, dataclasses.replace(EVERYTHING, keep_float=(f"^{names[0]}",)), images, out)
    assert less.static == every.static - 1
    graph = read_graph(out)
    (depthwise,) = [o for o in graph.operators if o.name == "DEPTHWISE_CONV_2D"]
    assert graph.tensors[depthwise.inputs[1]].dtype == "float32"
    with pytest.raises(UserError, match=r"match operators.*'no_such_layer'"):
        quantize_file(small, Recipe(keep_float=("no_such_layer",)), images, out)


class Bent(nn.Module):
    """A GELU, which has no 8-bit kernel, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(nn.functional.gelu(self.first(x)))
        return self.last(torch.relu(x).mean((2, 3))).squeeze(1)


def test_eight_bits_end_where_a_kernel_is_missing(exported, images, tmp_path) -> None:
    """The second convolution quantizes its input itself: nothing is converted to and fro around the GELU."""
    path, out = exported(Bent(), torch.zeros(1, 3, 16, 16)), tmp_path / "int8.tflite"
    model = fb.read(path)
    passes.shorten_names(model)
    fb.write(model, path)
    quantized = quantize_file(path, EVERYTHING, images, out)
    assert quantized.dynamic == 1
    graph = read_graph(out)
    first, second = (o for o in graph.operators if o.name == "CONV_2D")
    assert [graph.tensors[o.inputs[0]].dtype for o in (first, second)] == ["int8", "float32"]
    assert [graph.tensors[o.inputs[1]].dtype for o in (first, second)] == ["int8", "int8"]
    assert runtime_delegation(out)["partitions"] == 1


CRUDE = {"equalize": False, "rounding": "nearest", "bias_correction": False, "weights_per": "tensor"}


@pytest.mark.parametrize(
    ("changed", "passes"),
    [({}, True), ({"equalize": False}, False), ({"weights_per": "tensor"}, False), (CRUDE, False)],
    ids=["default", "not equalized", "one scale for all channels", "neither, nor corrected"],
)
def test_the_gate_fails_what_narrow_channels_are_lost_in(
    flatbuffer, save, score, tmp_path, changed: dict[str, Any], passes: bool
) -> None:
    """By the tolerance that judges every INT8 file: 0.003 and SRCC 0.999 by default, 0.015 to 0.18 otherwise."""
    path, out, held_out = save(uneven(flatbuffer)), tmp_path / "int8.tflite", pictures(40, seed=1)
    quantize_file(path, dataclasses.replace(EVERYTHING, **changed), pictures(32), out)
    expected, actual = (list(score(file, held_out)[:, None]) for file in (path, out))
    stage = ParityStage("int8", "FP32", "INT8", "litert")
    report = compare(stage, expected, actual, [str(i) for i in range(40)], float(np.ptp(expected)))
    assert report.passed == passes, report
    assert passes or "mean_abs" in report.reason
    assert not passes or report.mean_abs < 0.005


@pytest.fixture
def padded(flatbuffer, save) -> Path:
    """PAD, convolution in float by the recipe, convolution, mean, linear: on pixels, (1, 16, 16, 3) -> (1, 1)."""
    b, rng = flatbuffer, np.random.default_rng(0)
    border = b.constant([[0, 0], [0, 1], [0, 1], [0, 0]])
    x = b.op("PAD", [b.input(1, 16, 16, 3), border], [b.tensor(1, 17, 17, 3)], "PadOptions")
    for inputs in (3, 8):
        weight = rng.standard_normal((8, 3, 3, inputs)) / 4
        x = convolution(b, x, weight - weight.mean((1, 2), keepdims=True), np.zeros(8), RELU)
    return save(b.build(linear(b, mean(b, x), np.ones((1, 8)))))


def test_the_image_does_not_pass_through_8_bits_on_its_way_to_a_float_convolution(
    padded, score, tmp_path, operators, monkeypatch
) -> None:
    """Pixels are odd multiples of 1/255, INT8 over -1..1 has the even ones: every pixel would be half a step off."""
    rng = np.random.default_rng(1)
    smooth = [
        {"in0": ((2 * np.rint(127 + i + rng.standard_normal((1, 16, 16, 3))) - 255) / 255).astype(np.float32)}
        for i in range(12)
    ]
    smooth[0]["in0"][0, 0, 0], smooth[0]["in0"][0, 0, 1] = -1, 1  # all of the range
    recipe, right, wrong = Recipe(float_first=1), tmp_path / "right.tflite", tmp_path / "wrong.tflite"
    assert quantize_file(padded, recipe, smooth, right).static == 1
    monkeypatch.setattr(recipes, "_computing", lambda graph, kinds, static: static)
    assert quantize_file(padded, recipe, smooth, wrong).static == 2
    assert (operators(right)["QUANTIZE"], operators(wrong)["QUANTIZE"]) == (1, 2)
    errors = [np.abs(score(path, smooth) - score(padded, smooth)).mean() for path in (right, wrong)]
    assert errors[1] > 2 * errors[0], errors


def test_a_hard_swish_behind_the_last_convolution_stays_one(
    flatbuffer, save, score, tmp_path, operators, monkeypatch
) -> None:
    """As in MobileNetV3's head: in float, nothing would clip the factor of its products."""
    b, rng = flatbuffer, np.random.default_rng(0)
    x = convolution(b, b.input(1, 16, 16, 3), rng.standard_normal((8, 3, 3, 3)), np.zeros(8), RELU)
    pooled = linear(b, mean(b, x), 9 * rng.standard_normal((8, 8)))
    bent = b.op("HARD_SWISH", [pooled], [b.tensor(1, 8)], "HardSwishOptions")
    path, right, wrong = (
        save(b.build(linear(b, bent, np.ones((1, 8))))),
        tmp_path / "right",
        tmp_path / "wrong",
    )
    quantize_file(path, EVERYTHING, pictures(16), right)
    monkeypatch.setattr(quantizing, "_restored_hard_swish", lambda model, selection: selection)
    quantize_file(path, EVERYTHING, pictures(16), wrong)
    assert (operators(right)["HARD_SWISH"], operators(wrong)["HARD_SWISH"]) == (1, 0)
    expected = score(path, pictures(16))
    errors = [np.abs(score(file, pictures(16)) - expected).mean() for file in (right, wrong)]
    assert errors[1] > 20 * errors[0], errors


def test_images_are_read_once(small, images, tmp_path) -> None:
    """They may come from a generator; the file is the same."""
    once, again = tmp_path / "once.tflite", tmp_path / "again.tflite"
    quantized = quantize_file(small, EVERYTHING, iter(images), once)
    assert quantized.images == 16 and quantized.corrected.biases == 3
    assert quantize_file(small, EVERYTHING, images, again) == quantized
    assert once.read_bytes() == again.read_bytes()


def test_a_hard_swish_between_float_convolutions_stays_in_float(flatbuffer, save, score, tmp_path) -> None:
    """8 bits between them would bring back the noise that they are in float for; so with the ADD behind them."""
    path, out = save(bending(flatbuffer)), tmp_path / "int8.tflite"
    quantize_file(path, Recipe(float_first=2), pictures(16), out)
    graph = read_graph(out)
    kinds = [(o.name, graph.tensors[o.outputs[0]].dtype) for o in graph.operators]
    assert kinds[:4] == [
        (kind, "float32") for kind in ("CONV_2D", "HARD_SWISH", "DEPTHWISE_CONV_2D", "HARD_SWISH")
    ]


def test_steps_of_a_hard_swish_are_not_spent_below_where_it_is_0(flatbuffer, save, tmp_path) -> None:
    """Values from -40 to 3: with all of them in its range, a step would be 0.17, and it is 0.024."""
    b, rng = flatbuffer, np.random.default_rng(0)
    x = convolution(b, b.input(1, 16, 16, 3), 6 * rng.standard_normal((8, 1, 1, 3)), np.full(8, -15.0))
    bent = hard_swish(b, x)
    path = save(
        b.build(linear(b, mean(b, convolution(b, bent, np.ones((8, 3, 3, 8)), np.zeros(8))), np.ones((1, 8))))
    )
    quantize_file(
        path, Recipe(ranges="min-max", float_first=0), pictures(16), out := tmp_path / "int8.tflite"
    )
    tensors = {t.name: t for t in read_graph(out).tensors}
    seen = observe_activations(path, pictures(16))[f"t{x}"]
    assert seen.low < -20 and tensors[f"t{x}"].scales[0] == pytest.approx(
        (seen.high - LOWEST) / 255, rel=1e-3
    )
