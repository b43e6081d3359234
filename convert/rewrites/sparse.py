"""LDA on a part of its pixels: not exact, hence no Rewrite but an approximation (convert.approximations)."""

import torch

from mobileiqa.layers.lda import LDA


class SparseLDA(LDA):
    """LDA of every n-th pixel of every n-th row, `least` or more a bin and direction; n is 1 where a level is small."""

    def __init__(self, source: LDA, least: int) -> None:
        torch.nn.Module.__init__(self)
        self.grid, self.expand, self.reduce, self.least = source.grid, source.expand, source.reduce, least

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        n = step(x.shape[2], x.shape[3], self.least * self.grid)
        height, width = (size // n * n for size in x.shape[2:])
        return super().forward(x[:, :, :height:n, :width:n])


def step(height: int, width: int, least: int) -> int:
    """The largest power of two that leaves `least` pixels in both directions; 1 where there are fewer."""
    n = 1
    while min(height, width) // (2 * n) >= least:
        n *= 2
    return n


def thinned(x: torch.Tensor, n: int) -> torch.Tensor:
    """Every n-th pixel of every n-th row of a channels-last map (1, H, W, C), as SparseLDA takes them.

    By reshaping and cutting: XNNPACK has no slices with a stride, and one left alone splits the graph.
    """
    if n == 1:
        return x
    _, height, width, channels = x.shape
    rows, columns = height // n, width // n
    x = x[:, : rows * n, : columns * n]
    x = x.reshape(1, rows, n * columns * n * channels)[:, :, : columns * n * channels]
    return x.reshape(1, rows, columns, n * channels)[:, :, :, :channels]
