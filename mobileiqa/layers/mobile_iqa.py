"""MobileIQA's two layers: LDA, which brings a level to the grid, and MAL, which judges all levels together."""

import torch
from torch import nn

GRID = 22  # bins per side of the published adaptive pooling
LARGE = 1 << 19  # pixels of an image from which memory decides how long inference takes
GROUP = 16  # hidden channels of LDA that are in memory at a time where no gradients are wanted


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
        if torch.is_inference_mode_enabled() and 4 * x.shape[2] * x.shape[3] > LARGE:  # stride 2
            expand = zip(self.expand.weight.split(GROUP), self.expand.bias.split(GROUP), strict=True)
            return self.reduce(
                torch.cat([self.pooled(nn.functional.conv2d(x, *group)) for group in expand], 1)
            )
        return self.reduce(self.pooled(self.expand(x)))

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Channel by channel, so that groups of channels give the same values as all at once (1.2 GB at 1907x1231)."""
        x = nn.functional.gelu(x)  # erf GELU: the tanh form differs by up to 5e-4
        return nn.functional.adaptive_avg_pool2d(x, self.grid)


def inference_layout(image: torch.Tensor) -> torch.Tensor:
    """The same image (B, 3, H, W), channels last in memory where that is faster: a large one, without gradients.

    Convolutions keep the layout, and need no copies into one of their own: at 1907x1231 it takes a third of the time.
    """
    large = torch.is_inference_mode_enabled() and image.shape[2] * image.shape[3] > LARGE
    return image.contiguous(memory_format=torch.channels_last) if large else image


CHANNELS = 256


class SelfAttention(nn.Module):
    """(B, 256, P) -> (B, 256, P): gamma * (attention over positions, unscaled) + input; gamma starts at 0."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.q = nn.Conv2d(channels, channels // 8, 1)
        self.k = nn.Conv2d(channels, channels // 8, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """attention[i, j] = softmax_j(q_i . k_j); no 1/sqrt(d), as published."""
        columns = x.unsqueeze(-1)
        q, k, v = (layer(columns).squeeze(-1) for layer in (self.q, self.k, self.v))
        attention = torch.softmax(q.transpose(1, 2) @ k, dim=-1)
        return self.gamma * (v @ attention.transpose(1, 2)) + x


class ScrambledAttention(nn.Module):
    """(B, tokens, d) -> (B, tokens, d): softmax(q k^T / sqrt(d)) v, scrambled, dropout, plus the input."""

    def __init__(self, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.scale = dim**-0.5
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        attention = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) * self.scale, dim=-1)
        y = attention @ self.v(x)
        # Published quirk, kept bit for bit: the transpose comes before a reshape to the *untransposed* shape,
        # so elements change places unless tokens == d. The published weights were trained with it.
        return self.dropout(y.transpose(1, 2).reshape(x.shape)) + x


class MAL(nn.Module):
    """n tensors stacked as (n, B, 256, H, W) -> the opinion (B, 256, H, W)."""

    def __init__(self, n_inputs: int, positions: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.self_attention = nn.ModuleList(SelfAttention() for _ in range(n_inputs))
        self.channel = ScrambledAttention(n_inputs * CHANNELS)
        self.feature = ScrambledAttention(n_inputs * positions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        _, batch, channels, height, width = x.shape
        n, positions = self.n_inputs, height * width
        rows = torch.cat(
            [layer(level.flatten(2)) for layer, level in zip(self.self_attention, x, strict=True)], 1
        )
        # "b (w c) h -> b w (c h)", w = 256, c = n: token w holds rows n*w .. n*w + n-1, so it is a reshape.
        by_feature = self.feature(rows.reshape(batch, channels, n * positions)).reshape(rows.shape)
        by_channel = self.channel(rows.transpose(1, 2)).transpose(1, 2)
        both = (by_feature + by_channel) / 2
        return both.reshape(batch, n, channels, height, width).mean(1)
