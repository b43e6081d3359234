"""Layers, blocks, noise by channel, and the order."""

import re

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.search.sensitivity import Layer, _ratio, _sums, blocks, layers, order


def test_operators_that_share_a_weight_are_one_layer(flatbuffer, save) -> None:
    """Bands run one convolution several times; half of it in float would be neither."""
    b = flatbuffer
    image, weights, bias = b.input(1, 8, 8, 4), b.constant(np.ones((5, 1, 1, 4))), b.constant(np.zeros(5))
    bands = [b.op("CONV_2D", [image, weights, bias], [b.tensor(1, 4, 8, 5)], "Conv2DOptions", strideW=1, strideH=1)
             for _ in range(2)]  # fmt: skip
    # the weight of a FULLY_CONNECTED may be computed: all such weights are in "buffer 0"
    products = [
        b.op("FULLY_CONNECTED", [image, band, -1], [b.tensor(1, 3)], "FullyConnectedOptions")
        for band in bands
    ]
    path = save(b.build(*products))
    model = fb.read(path)
    names = [t.name.decode() for t in model.subgraphs[0].tensors]
    result = layers(model, [names[i] for i in (*bands, *products)])
    assert [layer.names for layer in result] == [
        tuple(names[i] for i in bands), (names[products[0]],), (names[products[1]],),
    ]  # fmt: skip
    assert result[0].sources == (names[image],) * 2 and [layer.width for layer in result] == [8, 0, 0]
    assert [n for n in names if re.search(result[0].expression, n)] == [names[i] for i in bands]
    assert layers(model, []) == []


def layer(name: str, width: int, source: str = "x") -> Layer:
    return Layer((name,), (source,), width)


def test_a_stride_begins_a_block() -> None:
    results = [layer("a", 64), layer("b", 32), layer("c", 32), layer("head", 0), layer("second branch", 32)]
    assert [[x.names[0] for x in block] for block in blocks(results)] == [
        ["a"],
        ["b", "c", "second branch"],
        ["head"],
    ]


@pytest.fixture
def signal() -> tuple[np.ndarray, np.ndarray]:
    """Eight channels, the first a hundred times as wide; and noise of one power in all, as one scale gives."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20000, 8)) * np.array([100.0] + [1.0] * 7) + 5
    return x, rng.standard_normal(x.shape)


def test_a_channel_of_huge_range_does_not_hide_the_others(signal) -> None:
    """Over the whole tensor the signal is 30 dB over the noise; seven of eight channels drown in it."""
    x, error = signal
    assert 10 * np.log10(x.var(0).sum() / error.var(0).sum()) > 30
    assert _ratio(_sums(x, x + error)) == pytest.approx(10 ** -(40 / 8 / 10), rel=0.05)


def test_a_channel_that_was_scaled_or_moved_lost_nothing(signal) -> None:
    x, error = signal
    assert _ratio(_sums(x, x)) == pytest.approx(1e-6)  # as good as it is said to be: 60 dB
    scaled = (x + error) * np.linspace(0.1, 3, 8) - 2
    assert _ratio(_sums(x, scaled)) == pytest.approx(_ratio(_sums(x, x + error)))


def test_a_channel_without_a_signal_says_nothing_and_one_that_lost_it_is_all_noise(signal) -> None:
    x, error = signal
    constant = np.full_like(x, 2.0)
    assert _ratio(_sums(constant, constant + error)) == 0.0
    assert _ratio(_sums(x, constant)) == pytest.approx(100)


def test_the_order_is_noise_within_a_block_times_the_blocks_gain() -> None:
    grouped = [
        (layer("a", 64, "image"), layer("b", 64, "a")),
        (layer("c", 32, "b"), layer("d", 32, "c")),
        (layer("e", 0, "d"),),
    ]
    ratios = {"image": 0.01, "a": 0.02, "b": 0.05, "c": 0.06, "d": 0.03, "e": 0.5}
    result = order(grouped, ratios, [0.002, 0.008, -0.001])
    # a 1/4 and b 3/4 of 0.002; c all of 0.008, d adds nothing; e's block gained nothing, its noise is the largest
    assert [x.names[0] for x, _ in result] == ["c", "b", "a", "e", "d"]
    assert [s for _, s in result] == pytest.approx([0.008, 0.0015, 0.0005, 0.0, 0.0])
