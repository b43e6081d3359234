"""FP32 to INT8 on a small network, in the real runtime."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convert import flatbuffer as fb
from convert.delegation import runtime_delegation
from convert.graph import read_graph
from convert.int8 import quantize as quantizing
from convert.int8.quantize import quantize
from convert.int8.recipe import Recipe
from mobileiqa.errors import UserError

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
    done = quantize(small, recipe, images, out)
    expected, found = score(small, images), score(out, images)
    assert np.abs(found - expected).max() < limit * spread(expected), (found, expected)
    assert not np.array_equal(found, expected)
    assert (done.static > 0, done.dynamic > 0, done.weights > 0) == (
        recipe.mode == "static", recipe.mode != "weights", recipe.mode == "weights",
    )  # fmt: skip
    assert done.images == (16 if recipe.mode == "static" else 0)


def test_hard_swish_stays_in_one_partition(small, images, tmp_path, operators) -> None:
    """Left as HARD_SWISH it has no INT8 kernel in XNNPACK, and the graph splits at each."""
    out = tmp_path / "int8.tflite"
    quantize(small, EVERYTHING, images, out)
    assert operators(small)["HARD_SWISH"] == 2 and operators(out)["HARD_SWISH"] == 0
    found = runtime_delegation(out)
    assert (
        len(found["partitions"]) == 1 if isinstance(found["partitions"], list) else found["partitions"] == 1
    )


def test_the_gates_range_is_the_clip(small, images, score, tmp_path, monkeypatch) -> None:
    """Stored in any wider range the factor is not clipped, and hard-swish is wrong."""
    right, wrong = tmp_path / "right.tflite", tmp_path / "wrong.tflite"
    quantize(small, Recipe(ranges="min-max", float_first=0), images, right)
    gates = [t for t in read_graph(right).tensors if t.name.endswith("/gate")]
    assert [(t.scales[0], t.zero_points[0]) for t in gates] == [(pytest.approx(1 / 255), -128)] * 2

    def unclipped(model, ranges):
        added = hard_swish_as_products(model, ranges)
        return {name: (-3.0, 4.0) if name.endswith("/gate") else ends for name, ends in added.items()}

    hard_swish_as_products = quantizing.hard_swish_as_products
    monkeypatch.setattr(quantizing, "hard_swish_as_products", unclipped)
    quantize(small, Recipe(ranges="min-max", float_first=0), images, wrong)
    expected = score(small, images)
    errors = [np.abs(score(path, images) - expected).max() for path in (right, wrong)]
    assert errors[1] > 5 * errors[0], errors


def test_a_quantized_file_can_be_edited_and_still_runs(small, images, score, tmp_path) -> None:
    """The quantizer puts buffers behind the flatbuffer: copied without them, the file does not load."""
    out, edited = tmp_path / "int8.tflite", tmp_path / "edited.tflite"
    quantize(small, EVERYTHING, images, out)
    model = fb.read(out)
    fb.set_metadata(model, "note", b"edited")
    fb.write(model, edited)
    assert np.array_equal(score(edited, images), score(out, images))


def test_the_last_regressor_stays_in_float(small, images, tmp_path) -> None:
    quantize(small, EVERYTHING, images, tmp_path / "int8.tflite")
    graph = read_graph(tmp_path / "int8.tflite")
    weights = [graph.tensors[o.inputs[1]].dtype for o in graph.operators if o.name == "FULLY_CONNECTED"]
    assert weights == ["int8", "float32"]


def test_the_first_convolutions_stay_in_float(small, images, tmp_path) -> None:
    out = tmp_path / "int8.tflite"
    for count, expected in ((0, ["int8", "int8"]), (1, ["float32", "int8"]), (2, ["float32", "float32"])):
        quantize(small, Recipe(float_first=count), images, out)
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
    every = quantize(small, EVERYTHING, images, out)
    less = quantize(small, dataclasses.replace(EVERYTHING, keep_float=(f"^{names[0]}",)), images, out)
    assert less.static == every.static - 1
    graph = read_graph(out)
    (depthwise,) = [o for o in graph.operators if o.name == "DEPTHWISE_CONV_2D"]
    assert graph.tensors[depthwise.inputs[1]].dtype == "float32"
    with pytest.raises(UserError, match=r"match operators.*'no_such_layer'"):
        quantize(small, Recipe(keep_float=("no_such_layer",)), images, out)


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
    fb.shorten_names(model)
    fb.write(model, path)
    done = quantize(path, EVERYTHING, images, out)
    assert done.dynamic == 1
    graph = read_graph(out)
    first, second = (o for o in graph.operators if o.name == "CONV_2D")
    assert [graph.tensors[o.inputs[0]].dtype for o in (first, second)] == ["int8", "float32"]
    assert [graph.tensors[o.inputs[1]].dtype for o in (first, second)] == ["int8", "int8"]
    assert runtime_delegation(out)["partitions"] == 1


def test_a_recipe_reads_back(tmp_path: Path) -> None:
    import json

    from convert.int8.recipe import read

    recipe = Recipe("static", "min-max", ("^a", "b;2$"), 2)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert read(path) == recipe
    for text in ("[]", "{", '{"mode": "int4"}', '{"colour": 1}', '{"float_first": -1}'):
        path.write_text(text)
        with pytest.raises(UserError, match="recipe"):
            read(path)
    with pytest.raises(UserError, match="recipe as JSON in"):
        read(tmp_path / "missing.json")
