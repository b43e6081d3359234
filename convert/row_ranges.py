"""Which rows of a map belong together: bands of convolutions, bins of adaptive pooling. Plain arithmetic, no tensors.

convert.rewrites computes so in PyTorch, convert.flatbuffer in the converted file.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BAND_BYTES = 12 << 20  # of the widest float32 map of a band; below that, time and memory gain no more


@dataclass(frozen=True)
class RowLayer:
    """A convolution as rows see it: what it reads of `height` rows, with `above` zero rows over them."""

    height: int
    kernel: int
    stride: int
    above: int


@dataclass(frozen=True)
class Rows:
    """Rows start..stop of a map, and the zero rows to add above and below for the convolution that reads them."""

    start: int
    stop: int
    above: int
    below: int


def bands(widest: int, rows: int) -> list[tuple[int, int]]:
    """First and last+1 output row of each band; the widest map has `widest` bytes, the last one `rows` rows."""
    count = min(-(-widest // BAND_BYTES), rows)
    cuts = [i * rows // count for i in range(count + 1)]
    return list(itertools.pairwise(cuts))


def reads(layers: Sequence[RowLayer], start: int, stop: int) -> list[Rows]:
    """The rows that each layer of a chain reads of its input, for output rows start..stop of the chain."""
    rows: list[Rows] = []
    for layer in reversed(layers):
        first = start * layer.stride - layer.above
        last = (stop - 1) * layer.stride - layer.above + layer.kernel
        start, stop = max(first, 0), min(last, layer.height)
        rows.append(Rows(start, stop, start - first, last - stop))
    return rows[::-1]


def same_zeros(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind `size` cells that SAME adds, the odd one behind; `kernel`: with its dilation."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def bins(size: int, grid: int) -> list[tuple[int, int]]:
    """First and last+1 index of each of `grid` bins over `size` cells (PyTorch's adaptive pooling)."""
    return [(i * size // grid, -(-(i + 1) * size // grid)) for i in range(grid)]


def pool_matrix(size: int, grid: int) -> np.ndarray:
    """Adaptive pooling of `size` cells as a float64 matrix (grid, size): each row the mean over a bin."""
    pool = np.zeros((grid, size))
    for i, (start, end) in enumerate(bins(size, grid)):
        pool[i, start:end] = 1 / (end - start)
    return pool
