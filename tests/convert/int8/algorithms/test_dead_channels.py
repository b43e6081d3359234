"""Channels without weight keep their bias in 8 bits."""

from dataclasses import replace as changed
from typing import Any

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.algorithms.dead_channels import widen_dead_channels
from convert.int8.recipe import Recipe
from tests.convert.int8.networks import RELU6, convolution, linear, mean, pictures, quantize_file

RECIPE = Recipe(float_first=0, equalize=False, rounding="nearest", bias_correction=False)
BIAS = np.array([0.5, 2.0, -1.5, 0.1], np.float32)  # channels 1 and 2 of the depthwise convolution are dead


def network(b: Any, dead: float) -> bytes:
    """(1, 16, 16, 3) -> (1, 1): its score is mostly what a dead channel puts out, ReLU6 of its bias."""
    normal = np.random.default_rng(1).standard_normal
    x = convolution(b, b.input(1, 16, 16, 3), normal((4, 3, 3, 3)) / 4, np.full(4, 0.2), RELU6)
    weight = normal((1, 3, 3, 4)) / 4
    weight[..., 1:3] *= dead
    x = convolution(b, x, weight, BIAS, RELU6, depthwise=True)
    x = convolution(b, x, np.abs(normal((4, 1, 1, 4))), np.zeros(4), RELU6)
    x = convolution(b, x, normal((4, 1, 1, 4)) / 4, np.zeros(4))
    return b.build(linear(b, mean(b, x), normal((1, 4)) / 4, [0.0]))


@pytest.mark.parametrize("dead", [0.0, 1e-12, 1e-9], ids=str)
@pytest.mark.parametrize(
    "recipe",
    [RECIPE, changed(RECIPE, weights_per="tensor"), Recipe(float_first=0)],
    ids=["plain", "tensor", "all"],
)
def test_the_score_stays(flatbuffer, save, score, tmp_path, dead, recipe) -> None:
    fp32, out = save(network(flatbuffer, dead)), tmp_path / "int8.tflite"
    quantize_file(fp32, recipe, pictures(12), out)
    images = pictures(6, seed=1)
    expected, actual = score(fp32, images), score(out, images)
    assert np.abs(actual - expected).max() < 0.05 * np.abs(expected).max()


def test_only_channels_that_need_it_are_touched(flatbuffer, save, tmp_path, monkeypatch) -> None:
    fp32, out = save(network(flatbuffer, 0.0)), tmp_path / "int8.tflite"
    monkeypatch.setattr("convert.int8.quantize.widen_dead_channels", lambda *_: 0)
    quantize_file(fp32, RECIPE, pictures(12), out)
    before, after = fb.read(out), fb.read(out)
    assert widen_dead_channels(fb.read(fp32), after) == 2
    assert widen_dead_channels(fb.read(fp32), after) == 0
    changes = [
        name
        for old, new in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True)
        if old.quantization is not None
        and old.quantization.scale is not None
        and not np.array_equal(old.quantization.scale, new.quantization.scale)
        and (name := new.name)
    ]
    assert len(changes) == 2, changes  # the depthwise weight and its bias
