"""MS-SCANet (ICASSP 2025, arXiv 2602.04032): two patch sizes, channel and spatial attention, then across the two.

    image (3, 224, 224)
    branch 1                                      branch 2
    conv 16x16, stride 16        196 tokens       conv 32x32, stride 32        49 tokens    256 channels
    + sinusoidal position, twice                  + the same, twice
                                                  each cell repeated 2x2      196 tokens
    ChannelBlock, SpatialBlock                    ChannelBlock, SpatialBlock   no residual connections
    CrossBranch: each asks the other, and adds the answer to itself
    concatenate (512), LN, flatten (100352), Linear 512, GELU, Linear 1

`forward_features` gives both branches after CrossBranch, and branch 2 before the repetition: what the published losses
compare. The third published loss is always 0, because it takes the repetition apart again.
"""

import math

import torch
from torch import nn

WIDTH = 256
SQUEEZED = 16  # channels of the gate
HIDDEN = 1024  # of the MLPs
HEAD = 512
POSITIONS = 768  # rows of the published table; the first are used
DROP = 0.1


def position_code(positions: int, width: int) -> torch.Tensor:
    """(positions, width), float32: sine in even columns, cosine in odd ones.

    Every step is rounded to float32 as published, and computed in float64 before: float32's exponentials and sines
    differ between processors, by up to 6e-5 in a value here.
    """
    exponent = torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width)
    rate = _rounded(torch.exp(exponent.double()))
    angle = _rounded(torch.arange(positions, dtype=torch.float64)[:, None] * rate)
    return torch.stack([torch.sin(angle), torch.cos(angle)], -1).reshape(positions, width).float()


def _rounded(x: torch.Tensor) -> torch.Tensor:
    return x.float().double()


class PatchEmbed(nn.Module):
    """(N, 3, S, S) -> (N, (S / patch)^2, width)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.proj(image).flatten(2).transpose(1, 2)


class MLP(nn.Module):
    """Linear, GELU (erf), Linear; without dropout, whatever the published drop_rate says."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Gate(nn.Module):
    """x * sigmoid(W2 (W1 x + b1) + b2) for each token: published without activation between, without pooling."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        squeezed = nn.functional.linear(x, self.squeeze.weight.flatten(1), self.squeeze.bias)
        gate = nn.functional.linear(squeezed, self.excite.weight.flatten(1), self.excite.bias)
        return x * torch.sigmoid(gate)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention of (N, tokens, width) each -> the same shape."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class WindowAttention(nn.Module):
    """Self-attention over all tokens: the published window size is never used."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(DROP)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.drop(self.proj(attend(*self.qkv(x).chunk(3, -1), self.heads)))


class Block(nn.Module):
    """LN, attention, LN, MLP; nothing is added back."""

    def __init__(self, name: str, attention: nn.Module, width: int, hidden: int) -> None:
        super().__init__()
        from timm.layers import DropPath

        self.name = name  # of the attention in the keys
        self.norm = nn.LayerNorm(width)
        self.add_module(name, attention)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden)
        self.drop_path = DropPath(DROP)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = self.drop_path(getattr(self, self.name)(self.norm(x)))
        return self.drop_path(self.mlp(self.norm2(x)))


class CrossBranch(nn.Module):
    """x + what x's queries find in y, and y + what y's find in x, both from the old x and y."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_x = nn.Linear(width, 3 * width)
        self.qkv_y = nn.Linear(width, 3 * width)
        self.proj_x = nn.Linear(width, width)
        self.proj_y = nn.Linear(width, width)
        self.drop = nn.Dropout(DROP)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        (qx, kx, vx), (qy, ky, vy) = self.qkv_x(x).chunk(3, -1), self.qkv_y(y).chunk(3, -1)
        seen_by_x, seen_by_y = attend(qx, ky, vy, self.heads), attend(qy, kx, vx, self.heads)
        return x + self.drop(self.proj_x(seen_by_x)), y + self.drop(self.proj_y(seen_by_y))


class MSSCANet(nn.Module):
    """Images (N, 3, side_px, side_px) in 0..1, not normalised -> scores (N,).

    The head's first layer fixes the side. heads: 16 in the published configuration, 8 by the class's default, with
    the same tensors. width, squeezed, hidden and head are the published ones; smaller ones are for tests.
    """

    def __init__(
        self, side_px: int = 224, heads: int = 16, width: int = WIDTH, squeezed: int = SQUEEZED,
        hidden: int = HIDDEN, head: int = HEAD,
    ) -> None:  # fmt: skip
        super().__init__()
        self.side = side_px // 32
        tokens = (2 * self.side) ** 2
        self.patch_embed1, self.patch_embed2 = PatchEmbed(width, 16), PatchEmbed(width, 32)
        code = position_code(max(POSITIONS, tokens), width)
        self.register_buffer("position", code, persistent=False)
        self.branch1_blocks, self.branch2_blocks = (
            nn.ModuleList(
                [
                    Block("channel_attention", Gate(width, squeezed), width, hidden),
                    Block("window_attention", WindowAttention(width, heads), width, hidden),
                ]
            )
            for _ in range(2)
        )
        self.cross_branch_attn = CrossBranch(width, heads)
        self.norm = nn.LayerNorm(2 * width)
        self.prediction_head = MLP(tokens * 2 * width, head)
        self.prediction_head.fc2 = nn.Linear(head, 1)
        self.apply(_initialise)

    def repeat(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of s x s cells, (N, s * s, width) -> (N, 4 * s * s, width): each cell twice in each direction.

        The published AdaptiveAvgPool2d(2s) of s cells is exactly this. By concatenation: XNNPACK has no resize.
        """
        n, cells, width = tokens.shape
        x = tokens.reshape(n, cells, 1, width)
        x = torch.cat([x, x], 2).reshape(n, self.side, 1, -1)
        return torch.cat([x, x], 2).reshape(n, 4 * cells, width)

    def forward_features(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both branches after CrossBranch, (N, tokens, width); branch 2 before its repetition, (N, width, s, s)."""
        x, y = self.patch_embed1(image), self.patch_embed2(image)
        x = x + self.position[: x.shape[1]] + self.position[: x.shape[1]]  # published so: twice
        y = y + self.position[: y.shape[1]] + self.position[: y.shape[1]]
        coarse = y.transpose(1, 2).unflatten(2, (self.side, self.side))
        y = self.repeat(y)
        for first, second in zip(self.branch1_blocks, self.branch2_blocks, strict=True):
            x, y = first(x), second(y)
        return *self.cross_branch_attn(x, y), coarse

    def forward_head(self, features: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Scores (N,), without an activation."""
        x, y, _ = features
        return self.prediction_head(self.norm(torch.cat([x, y], -1)).flatten(1)).flatten()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.forward_head(self.forward_features(image))


def _initialise(module: nn.Module) -> None:
    """As published: Linear truncated normal .02, convolutions Kaiming normal by fan-out, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


PREFIXES = {"": ""}  # own keys are the published ones
