"""Fewer passes over a map, the same numbers: exact operators before and after, then values in LiteRT."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.flatbuffer.maps import means_of_maps, same_padding, zeros_by_concatenation
from tests.convert.int8.networks import SAME, VALID, convolution, linear, mean

NORMAL = np.random.default_rng(0).standard_normal
Save = Callable[[bytes], Path]


def transpose(b: Any, x: int, order: list[int]) -> int:
    shape = [int(b.tensors[x].shape[axis]) for axis in order]
    return b.op("TRANSPOSE", [x, b.constant(order)], [b.tensor(*shape)], "TransposeOptions")


def padded(b: Any, x: int, zeros: list[list[int]]) -> int:
    shape = [int(n) + sum(edges) for n, edges in zip(b.tensors[x].shape, zeros, strict=True)]
    return b.op("PAD", [x, b.constant(zeros)], [b.tensor(*shape)], "PadOptions")


def stem(b: Any, zeros: list[list[int]], stride: int = 2, kernel: int = 3, dilation: int = 1) -> bytes:
    """An NCHW image of 9 x 10 -> zeros -> NHWC -> a convolution -> its means."""
    x = transpose(b, padded(b, b.input(1, 3, 9, 10), zeros), [0, 2, 3, 1])
    x = convolution(
        b, x, NORMAL((4, kernel, kernel, 3)), NORMAL(4), padding=VALID, strideH=stride, strideW=stride,
        dilationHFactor=dilation, dilationWFactor=dilation,
    )  # fmt: skip
    return b.build(linear(b, mean(b, x), NORMAL((1, 4))))


def kinds(model: Any) -> list[str]:
    return [fb.kind(model, operator) for operator in model.subgraphs[0].operators]


def scores(content: bytes) -> list[np.ndarray]:
    """Of the file's graph on a random input, by its built-in kernels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        values = np.random.default_rng(1).standard_normal(detail["shape"], dtype=np.float32)
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def changed(content: bytes, edit: Callable[[Any], int], count: int) -> list[str]:
    """The operators after `edit`, which changes `count` places and no score."""
    model = fb.unpack(content)
    before = kinds(model)
    assert edit(model) == count
    if not count:
        assert kinds(model) == before
    for actual, expected in zip(scores(fb.pack(model)), scores(content), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    return kinds(model)


@pytest.mark.parametrize(
    ("zeros", "options", "count"),
    [
        ([[0, 0], [0, 0], [1, 1], [0, 1]], {}, 1),  # 9 rows, 10 columns: what SAME adds
        ([[0, 0], [0, 0], [1, 1], [1, 1]], {"stride": 1}, 1),
        ([[0, 0], [0, 0], [2, 2], [2, 2]], {"stride": 1, "dilation": 2}, 1),
        ([[0, 0], [0, 0], [2, 2], [1, 2]], {"kernel": 5}, 1),
        ([[0, 0], [0, 0], [1, 1], [1, 0]], {}, 0),  # the odd one before
        ([[0, 0], [0, 0], [1, 1], [1, 1]], {}, 0),  # PyTorch's padding=1 at an even size
        ([[0, 0], [0, 0], [1, 1], [0, 2]], {}, 0),
    ],
)
def test_a_pad_becomes_same_where_same_adds_these_zeros(flatbuffer, zeros, options, count: int):
    after = changed(stem(flatbuffer, zeros, **options), same_padding, count)
    assert after.count("PAD") == 1 - count


def test_a_padded_image_that_something_else_reads_keeps_its_pad(flatbuffer):
    b = flatbuffer
    x = padded(b, b.input(1, 3, 9, 10), [[0, 0], [0, 0], [1, 1], [0, 1]])
    turned = convolution(
        b, transpose(b, x, [0, 2, 3, 1]), NORMAL((4, 3, 3, 3)), NORMAL(4), padding=VALID, strideH=2, strideW=2
    )
    changed(b.build(linear(b, mean(b, turned), NORMAL((1, 4))), mean(b, x, 2, 3)), same_padding, 0)


@pytest.mark.parametrize(
    ("order", "axes", "count"), [([0, 3, 1, 2], [2, 3], 1), ([0, 3, 1, 2], [3, 2], 1), ([0, 3, 1, 2], [1, 2], 0),
                                 ([0, 3, 2, 1], [2, 3], 0)],
)  # fmt: skip
def test_a_mean_needs_no_transpose(flatbuffer, order: list[int], axes: list[int], count: int):
    b = flatbuffer
    x = convolution(b, b.input(1, 6, 7, 3), NORMAL((6, 1, 1, 3)), NORMAL(6))
    after = changed(b.build(mean(b, transpose(b, x, order), *axes)), means_of_maps, count)
    assert after == ["CONV_2D", *(["TRANSPOSE"] if not count else []), "MEAN"]


@pytest.mark.parametrize(
    ("zeros", "joins"),
    [
        ([[0, 0], [1, 1], [1, 1], [0, 0]], 2),
        ([[0, 0], [0, 0], [0, 1], [0, 0]], 1),
        ([[0, 0], [2, 0], [0, 3], [1, 1]], 3),
        ([[0, 0], [0, 0], [0, 0], [0, 0]], 0),
    ],
)
def test_zeros_are_joined_in_place_of_a_pad(flatbuffer, zeros: list[list[int]], joins: int):
    b = flatbuffer
    x = padded(b, b.input(1, 6, 7, 3), zeros)
    channels = int(b.tensors[x].shape[3])
    x = convolution(b, x, NORMAL((1, 3, 3, channels)), NORMAL(channels), depthwise=True, padding=SAME)
    after = changed(b.build(mean(b, x)), zeros_by_concatenation, int(joins > 0))
    assert after.count("CONCATENATION") == joins and after.count("PAD") == (joins == 0)


def test_a_pad_of_8_bits_stays(flatbuffer, save: Save):
    """XNNPACK makes it a part of the convolution behind it."""
    b = flatbuffer
    x = b.input(1, 6, 7, 3, dtype="int8", scale=(0.1, 3))
    y = b.op("PAD", [x, b.constant([[0, 0], [1, 1], [1, 1], [0, 0]])],
             [b.tensor(1, 8, 9, 3, dtype="int8", scale=(0.1, 3))], "PadOptions")  # fmt: skip
    assert zeros_by_concatenation(fb.unpack(b.build(y))) == 0
