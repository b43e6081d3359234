"""Scaling channels: exact, and only where it is."""

from pathlib import Path

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.algorithms.cross_layer_equalization import equalize, streams
from convert.int8.statistics.interpreter import activations
from tests.convert.int8.networks import NONE, RELU, RELU6, add, convolution, linear, mean, pictures, uneven


def extremes(path: Path, tensor: int) -> np.ndarray:
    """The largest magnitude of each channel."""
    maps = [read(tensor) for read in activations(path, pictures(8))]
    return np.abs(np.concatenate([m.reshape(-1, m.shape[-1]) for m in maps])).max(0)


def test_scores_stay_and_channels_fill_the_range(flatbuffer, save, tmp_path, score) -> None:
    path, out = save(uneven(flatbuffer, RELU)), tmp_path / "equalized.tflite"
    model = fb.read(path)
    result = streams(model)
    assert equalize(model, path.read_bytes(), pictures(8)) == sum(len(s.tensors) for s in result) >= 7
    fb.write(model, out)
    expected, scores = score(path, pictures(8)), score(out, pictures(8))
    assert np.abs(scores - expected).max() < 1e-5 * np.ptp(expected)
    stem = next(
        t for s in result for o, _ in s.readers if fb.kind(model, o) == "DEPTHWISE_CONV_2D" for t in s.tensors
    )
    before, after = extremes(path, stem), extremes(out, stem)
    alive = before > before.max() / 32
    assert np.ptp(np.log2(before[alive])) > 3 and np.ptp(np.log2(after[alive])) < 0.01


def test_what_a_residual_joins_is_scaled_alike(flatbuffer, save) -> None:
    model = fb.read(save(uneven(flatbuffer, RELU)))
    joined = [s for s in streams(model) if len(s.writers) > 1]
    assert [(len(s.tensors), len(s.writers), len(s.readers)) for s in joined] == [(3, 2, 2)]


@pytest.mark.parametrize(("activation", "expected"), [(NONE, 1), (RELU, 1), (RELU6, 0)])
def test_relu6_is_left_alone(flatbuffer, save, activation: int, expected: int) -> None:
    b, ones = flatbuffer, np.ones((3, 1, 1, 3))
    first = convolution(b, b.input(1, 16, 16, 3), ones, np.zeros(3), activation)
    model = fb.read(save(b.build(convolution(b, first, ones, np.zeros(3)))))
    assert len(streams(model)) == expected


@pytest.mark.parametrize("between", ["HARD_SWISH", "GELU", "LOGISTIC"])
def test_what_bends_is_left_alone(flatbuffer, save, between: str) -> None:
    b, ones = flatbuffer, np.ones((3, 1, 1, 3))
    first = convolution(b, b.input(1, 16, 16, 3), ones, np.zeros(3))
    bent = b.op(between, [first], [b.tensor(1, 16, 16, 3)])
    model = fb.read(save(b.build(convolution(b, bent, ones, np.zeros(3)))))
    assert streams(model) == []


def test_a_mean_over_channels_is_left_alone(flatbuffer, save) -> None:
    b, ones = flatbuffer, np.ones((3, 1, 1, 3))
    first = convolution(b, b.input(1, 16, 16, 3), ones, np.zeros(3))
    second = convolution(b, first, ones, np.zeros(3))
    model = fb.read(save(b.build(add(b, mean(b, first, 3), mean(b, second, 3)))))
    assert streams(model) == []


def test_a_shared_weight_is_scaled_once(flatbuffer, save, tmp_path, score) -> None:
    """Two bands of rows under one convolution, as the rewrites leave the first blocks."""
    b, rng = flatbuffer, np.random.default_rng(0)
    first, second = rng.standard_normal((6, 1, 1, 3)), rng.standard_normal((4, 1, 1, 6))
    first[0] *= 9
    second[0] *= 30
    x = convolution(b, b.input(1, 16, 16, 3), first, np.ones(6), RELU)
    weight = b.constant(second.astype(np.float32))
    bias = b.constant(np.float32([1, 2, 3, 4]))
    bands = []
    for row in (0, 8):
        begin, size = b.constant([0, row, 0, 0]), b.constant([1, 8, 16, 6])
        part = b.op("SLICE", [x, begin, size], [b.tensor(1, 8, 16, 6)], "SliceOptions")
        bands.append(convolution(b, part, weight, bias, RELU))
    whole = b.op("CONCATENATION", bands, [b.tensor(1, 16, 16, 4)], "ConcatenationOptions", axis=1)
    path, out = save(b.build(linear(b, mean(b, whole), rng.standard_normal((1, 4))))), tmp_path / "out.tflite"
    model = fb.read(path)
    assert equalize(model, path.read_bytes(), pictures(8)) == 7
    fb.write(model, out)
    expected = score(path, pictures(8))
    assert np.abs(score(out, pictures(8)) - expected).max() < 1e-5 * np.ptp(expected)
