"""Swin transformer (Liu et al., ICCV 2021) as an encoder: four maps, each after its own LayerNorm.

    image (N, 3, S, S)
    patch_embed   4x4 conv, LN         S/4     C
    layers.0      2 blocks          -> S/4     C     norm0 -> maps[0]
      downsample  2x2 to 4C, LN, Linear
    layers.1      2 blocks          -> S/8    2C     norm1 -> maps[1]
    layers.2      6 blocks          -> S/16   4C     norm2 -> maps[2]
    layers.3      2 blocks          -> S/32   8C     norm3 -> maps[3]

Key names are those of microsoft/Swin-Transformer (MIT), where `relative_position_index` is a saved int64 buffer and
`downsample` lies at the end of a stage. This is the encoder of its detection code. timm's classifier computes the same
but for one thing: it does not shift the windows of the last stage, where one window holds the whole map; here they are
shifted, and masked apart.
"""

from collections.abc import Sequence

import torch
from torch import nn

MASKED = -100.0  # added to the attention between regions that only the cyclic shift brought together
DROP_PATH = 0.2


class WindowAttention(nn.Module):
    """Tokens of windows (N * windows, w * w, C), attention in each with a learned bias by relative position."""

    def __init__(self, channels: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", _relative_index(window))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """mask: (windows, w * w, w * w), added, or None."""
        n, tokens, channels = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        scores = (q * (channels // self.heads) ** -0.5) @ k.mT + bias
        if mask is not None:
            windows = scores.reshape(-1, len(mask), self.heads, tokens, tokens) + mask[:, None].to(x.dtype)
            scores = windows.reshape(n, self.heads, tokens, tokens)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, channels))


def _relative_index(window: int) -> torch.Tensor:
    """(w * w, w * w) int64: the row of the bias table for each pair of positions."""
    axis = torch.arange(window)
    row, column = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    rows, columns = (part[:, None] - part[None] + window - 1 for part in (row, column))
    return rows * (2 * window - 1) + columns


class MLP(nn.Module):
    """Linear, GELU (erf), Linear."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """(N, S, S, C) -> the same: LN, attention in (shifted) windows, add; LN, MLP, add."""

    def __init__(self, channels: int, window: int, heads: int, shift: int, drop: float) -> None:
        super().__init__()
        from timm.layers import DropPath

        self.window = window
        self.shift = (
            shift  # also where one window holds the whole map: the detection code has no rule for that
        )
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, window, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, 4 * channels)
        self.drop_path = DropPath(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        n, side, _, channels = x.shape
        mask = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
            mask = _shift_mask(side, self.window, self.shift, x.device)
        x = self.attn(to_windows(x, self.window), mask)
        x = from_windows(x, self.window, n, side, channels)
        return x.roll((self.shift, self.shift), (1, 2)) if self.shift else x


def to_windows(x: torch.Tensor, window: int) -> torch.Tensor:
    """(N, S, S, C) -> (N * windows, w * w, C), windows row by row."""
    n, side, _, channels = x.shape
    cells = side // window
    x = x.reshape(n, cells, window, cells, window, channels).transpose(2, 3)
    return x.reshape(-1, window * window, channels)


def from_windows(x: torch.Tensor, window: int, n: int, side: int, channels: int) -> torch.Tensor:
    """What `to_windows` took apart: (N, S, S, C)."""
    cells = side // window
    return (
        x.reshape(n, cells, cells, window, window, channels).transpose(2, 3).reshape(n, side, side, channels)
    )


def _shift_mask(side: int, window: int, shift: int, device: torch.device) -> torch.Tensor:
    """(windows, w * w, w * w): 0 within a region of the shifted map, MASKED between two."""
    place = torch.arange(side, device=device)
    band = (place >= side - window).long() + (place >= side - shift).long()
    regions = to_windows((3 * band[:, None] + band)[None, :, :, None], window)[:, :, 0]
    return (regions[:, :, None] != regions[:, None]) * MASKED


class PatchMerging(nn.Module):
    """(N, S, S, C) -> (N, S/2, S/2, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        n, side, _, channels = x.shape
        rows = x.reshape(n, side // 2, 2, side // 2, 2 * channels)  # pairs, so that no slice has a stride
        even, odd = (rows[:, :, i].split(channels, -1) for i in range(2))
        return self.reduction(self.norm(torch.cat([even[0], odd[0], even[1], odd[1]], -1)))


class Stage(nn.Module):
    """Blocks, every second one shifted; `downsample` is applied by the encoder, after the stage's map is taken."""

    def __init__(self, channels: int, window: int, heads: int, drops: list[float], last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(Block(channels, window, heads, i % 2 * (window // 2), drop) for i, drop in enumerate(drops))
        )
        self.downsample = None if last else PatchMerging(channels)


class PatchEmbed(nn.Module):
    """(N, 3, S, S) -> (N, S/4, S/4, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, 4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class SwinEncoder(nn.Module):
    """Normalised images (N, 3, S, S) -> four maps, (N, C 2^i, S / 2^(i + 2), the same); S a multiple of 32 windows."""

    def __init__(self, channels: int, depths: Sequence[int], heads: Sequence[int], window: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(channels)
        rates = iter(torch.linspace(0, DROP_PATH, sum(depths), device="cpu").tolist())
        self.layers = nn.ModuleList()
        for i, (depth, head) in enumerate(zip(depths, heads, strict=True)):
            drops = [next(rates) for _ in range(depth)]
            last = i == len(depths) - 1
            self.layers.append(Stage(channels << i, window, head, drops, last))
            self.add_module(f"norm{i}", nn.LayerNorm(channels << i))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """See the class."""
        x = self.patch_embed(image)
        maps = []
        for i, stage in enumerate(self.layers):
            x = stage.blocks(x)
            maps.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps
