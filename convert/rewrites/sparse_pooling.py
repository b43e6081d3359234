"""LDA on a part of its pixels: not exact, hence no Rewrite but an approximation (convert.rewrites.approximations)."""

import torch

from mobileiqa.layers.mobile_iqa import LDA


class SparseLDA(LDA):
    """LDA of every m-th pixel of every n-th row, `least` or more a bin and direction; 1 where a level is small."""

    def __init__(self, source: LDA, least: int) -> None:
        torch.nn.Module.__init__(self)
        self.grid, self.expand, self.reduce, self.least = source.grid, source.expand, source.reduce, least

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        n, m = (step(size, self.least * self.grid) for size in x.shape[2:])
        height, width = x.shape[2] // n * n, x.shape[3] // m * m
        return super().forward(x[:, :, :height:n, :width:m])


def step(size: int, least: int) -> int:
    """The largest step that leaves `least` of `size` pixels; 1 where there are fewer."""
    return max(1, size // least)


def thinned(x: torch.Tensor, least: int) -> torch.Tensor:
    """The pixels of a channels-last map (1, H, W, C) that SparseLDA takes: `least` or more in each direction.

    By reshaping and cutting: XNNPACK has no slices with a stride, and one left alone splits the graph.
    """
    _, height, width, channels = x.shape
    n, m = step(height, least), step(width, least)
    if n == m == 1:
        return x
    rows, columns = height // n, width // m
    x = x[:, : rows * n, : columns * m]
    x = x.reshape(1, rows, n * columns * m * channels)[:, :, : columns * m * channels]
    return x.reshape(1, rows, columns, m * channels)[:, :, :, :channels]
