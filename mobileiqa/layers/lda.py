"""LDA, the local distortion aware module of MobileIQA (arXiv 2409.01212, section 3.2).

One per backbone level: it maps a feature map of any size to 256 channels on a fixed grid (published: 22x22), so
that the attention after it has the same 484 positions whatever the photo's size.
"""

import torch
from torch import nn

GRID = 22  # bins per side of the published adaptive pooling


class LDA(nn.Module):
    """(B, in_channels, H, W) -> (B, 256, grid, grid): 1x1 conv, exact GELU, adaptive average pool, 1x1 conv."""

    def __init__(
        self, in_channels: int, hidden: int = 512, out_channels: int = 256, grid: int = GRID
    ) -> None:
        super().__init__()
        self.grid = grid
        self.expand = nn.Conv2d(in_channels, hidden, 1)
        self.reduce = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = nn.functional.gelu(self.expand(x))  # erf GELU: the tanh form differs by up to 5e-4
        return self.reduce(nn.functional.adaptive_avg_pool2d(x, self.grid))
