"""LDA without adaptive pooling and without its 512-channel map.

    pool(Y) = A_h Y A_w^T,  bin i averages rows floor(i H/G) .. ceil((i+1) H/G) - 1  (columns likewise)

G is the grid, 22 as published. Adaptive pooling is linear and separable, so rows and columns are pooled one
after the other. The rows are taken in G strips: 1x1 conv, GELU and the sum over the strip's rows run strip by
strip, so the map that they pass through (1.2 GB at 1907x1231) never exists. Neighbouring bins share at most one
row when H >= G; that row is computed once, with the strip above, and handed down. The columns of each row sum
are then one product with the constant A_w / (number of rows).

A_w stands on the right, as a FULLY_CONNECTED's weight: with a constant on the left of a BATCH_MATMUL, a file
marked for FP16 arithmetic fails to load on ARM cores that have FP16 ("failed to delegate BATCH_MATMUL").

Exported whole (`compact`), as the two products: convert.flatbuffer.row_strips cuts the same strips in the file.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from convert.rewrites.core import Rewrite, Sites, from_conv, replace_modules
from convert.rewrites.sparse_pooling import SparseLDA, thinned
from convert.row_ranges import bins, pool_matrix
from mobileiqa.layers.mobile_iqa import LDA

# Of a strip's values at a time: in a processor's cache, GELU takes a quarter of the time.
PIECE_BYTES = 4 << 20
EQUATION = "adaptive_pool(gelu(conv(x))) = A_h gelu(conv(x)) A_w', strip by strip"


class StripLDA(nn.Module):
    """Equal to LDA, or to SparseLDA: (1, C, H, W) -> (1, 256, G, G), channels last inside."""

    compact = False  # see convert.rewrites.core.compact

    def __init__(self, source: LDA) -> None:
        super().__init__()
        self.grid = source.grid
        self.least = source.least * source.grid if isinstance(source, SparseLDA) else 0  # 0: every pixel
        self.expand = from_conv(source.expand)
        self.reduce = from_conv(source.reduce)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = x.permute(0, 2, 3, 1)
        if self.least:
            x = thinned(x, self.least)
        if self.compact:
            return self.reduced(self.pooled(x))
        edges = bins(x.shape[1], self.grid)
        columns = column_pools(x, {end - start for start, end in edges}, self.grid)
        sums = self.strips(x, edges) if x.shape[1] >= 2 * self.grid else self.whole(x, edges)
        cells = torch.cat([
            nn.functional.linear(row.reshape(row.shape[2], -1).t(), columns[end - start]).t()
            for row, (start, end) in zip(sums, edges, strict=True)
        ])  # fmt: skip
        return self.reduced(cells)

    def reduced(self, cells: torch.Tensor) -> torch.Tensor:
        """(G*G, 512) -> (1, 256, G, G)."""
        return self.reduce(cells).reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """A_h gelu(conv(x)) A_w^T of the whole map x (1, H, W, C), as (G*G, 512)."""
        _, height, width, _ = x.shape
        across, down = (_constant(pool_matrix(n, self.grid), x) for n in (width, height))
        y = nn.functional.linear(nn.functional.gelu(self.expand(x)).transpose(2, 3), across)  # (1, H, 512, G)
        y = nn.functional.linear(y.reshape(height, -1).t(), down).reshape(-1, self.grid, self.grid)
        return y.transpose(1, 2).reshape(-1, self.grid**2).t()

    def strips(self, x: torch.Tensor, edges: list[tuple[int, int]]) -> Iterator[torch.Tensor]:
        """The sum over each bin's rows, (1, 1, W, 512), of (1, H, W, C), a strip at a time.

        A generator, so that a sum's columns are pooled before the next strip: 22 sums would be 43 MB.
        """
        piece = x.shape[1]
        if torch.is_inference_mode_enabled():  # not where it is exported: a piece is several operators
            piece = max(1, PIECE_BYTES // (4 * x.shape[2] * self.expand.out_features))
        last = None  # the row that this bin shares with the one above
        for i, (start, end) in enumerate(edges):
            shared = i > 0 and edges[i - 1][1] > start
            sums = []
            for row in range(start + shared, end, piece):
                values = nn.functional.gelu(self.expand(x[:, row : min(row + piece, end)]))
                sums.append(values.sum(1, keepdim=True))
            total = sum(sums[1:], sums[0])
            yield total + last if shared and last is not None else total
            last = values[:, -1:]

    def whole(self, x: torch.Tensor, edges: list[tuple[int, int]]) -> Iterator[torch.Tensor]:
        """The same of a small map: strips of one or two rows would cost more than the map."""
        values = nn.functional.gelu(self.expand(x))
        for start, end in edges:
            yield values[:, start:end].sum(1, keepdim=True)


def column_pools(x: torch.Tensor, heights: set[int], grid: int) -> dict[int, torch.Tensor]:
    """For each number of rows n: A_w / n, (grid, W), for channels-last x (1, H, W, C), in its dtype."""
    pool = pool_matrix(x.shape[2], grid)
    return {n: _constant(pool / n, x) for n in heights}


def _constant(matrix: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    """`matrix` in the dtype of x. NumPy: a constant of the exported program, not operations in it."""
    return torch.from_numpy(matrix.astype(np.float64 if x.dtype == torch.float64 else np.float32))


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Replaces every LDA."""
    return model, replace_modules(model, LDA, StripLDA)


REWRITE = Rewrite("pool_in_strips", EQUATION, apply)
