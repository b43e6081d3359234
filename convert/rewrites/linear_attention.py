"""MobileViTv2's linear attention in at most 4-D, with its keys summed before they are projected.

A block unfolds its map into P = 2x2 interleaved sets of N tokens x and attends within each set:

    s = softmax_n(w_q . x_n + b_q),  c = sum_n s_n (W_k x_n + b_k),  y_n = W_o (relu(W_v x_n + b_v) * c) + b_o

The scores sum to 1, so c = W_k (sum_n s_n x_n) + b_k: one vector is projected instead of N. b_q is constant
along the softmax and cancels. The affine part of each norm, x = g * z + b, moves into the projection that
reads it: W (g * z + b) = (W diag(g)) z + W b. The published unfolding is 6-D; channels last it is two 4-D
transposes.
"""

import math

import torch
from timm.models.mobilevit import LinearSelfAttention, LinearTransformerBlock, MobileVitV2Block
from torch import nn

from convert.rewrites.core import Rewrite, Sites, linear, replace_modules

EQUATION = "sum_n s_n (Wk x_n + bk) = Wk (sum_n s_n x_n) + bk; W (g*z + b) = (W diag g) z + W b"


class Normalise(nn.Module):
    """(P, N, d) -> (P, N, d): mean 0 and variance 1 over all values; no affine part."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        centred = x - x.mean((0, 1, 2), keepdim=True)
        variance = (centred * centred).mean((0, 1, 2), keepdim=True)
        return centred * torch.rsqrt(variance + self.eps)


class SummedKeys(nn.Module):
    """Normalised z (P, N, d) -> (P, N, d): LinearSelfAttention of norm(x), the affine part included."""

    def __init__(self, source: LinearSelfAttention, norm: nn.GroupNorm) -> None:
        super().__init__()
        full = absorb(norm, source.qkv_proj)
        widths = [1, source.embed_dim, source.embed_dim]
        weights, biases = full.weight.split(widths), full.bias.split(widths)
        self.query = linear(weights[0], None)
        self.key = linear(weights[1], biases[1])
        self.value = linear(weights[2], biases[2])
        self.out = linear(source.out_proj.weight[:, :, 0, 0], source.out_proj.bias)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """See the module."""
        scores = torch.softmax(self.query(z).transpose(1, 2), -1)  # (P, 1, N)
        context = self.key(scores @ z)  # (P, 1, d)
        return self.out(torch.relu(self.value(z)) * context)


class FlatTransformer(nn.Module):
    """LinearTransformerBlock over tokens (P, N, d)."""

    def __init__(self, source: LinearTransformerBlock) -> None:
        super().__init__()
        self.norm1, self.norm2 = Normalise(source.norm1.eps), Normalise(source.norm2.eps)
        self.attention = SummedKeys(source.attn, source.norm1)
        self.up = absorb(source.norm2, source.mlp.fc1)
        self.act = source.mlp.act
        self.down = linear(source.mlp.fc2.weight[:, :, 0, 0], source.mlp.fc2.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.act(self.up(self.norm2(x))))


class FlatMobileVit(nn.Module):
    """Equal to MobileVitV2Block for one image: (1, C, H, W) -> (1, C', H', W'), sides rounded up to even."""

    def __init__(self, source: MobileVitV2Block) -> None:
        super().__init__()
        self.patch = source.patch_size
        self.local = nn.Sequential(source.conv_kxk, source.conv_1x1)
        self.transformer = nn.Sequential(*(FlatTransformer(block) for block in source.transformer))
        self.norm = Normalise(source.norm.eps)
        self.project = absorb(source.norm, source.conv_proj.conv)
        self.after = source.conv_proj.bn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = self.local(self.padded(x)).permute(0, 2, 3, 1)
        tokens = self.transformer(self.unfold(x[0]))
        y = self.fold(self.project(self.norm(tokens)), x.shape[1], x.shape[2])
        return self.after(y.permute(0, 3, 1, 2))

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """Published: a map that patches do not divide is resized, not padded."""
        size = [math.ceil(side / patch) * patch for side, patch in zip(x.shape[2:], self.patch, strict=True)]
        if list(x.shape[2:]) == size:
            return x
        return nn.functional.interpolate(x, size, mode="bilinear", align_corners=True)

    def unfold(self, x: torch.Tensor) -> torch.Tensor:
        """(H, W, d) -> tokens (P, N, d): one set per position within a patch."""
        (height, width, dim), (ph, pw) = x.shape, self.patch
        rows = x.reshape(height // ph, ph, width // pw, pw * dim).transpose(0, 1)
        return rows.reshape(ph, -1, pw, dim).transpose(1, 2).reshape(ph * pw, -1, dim)

    def fold(self, tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Tokens (P, N, d) -> (1, H, W, d): reverses `unfold`."""
        (ph, pw), dim = self.patch, tokens.shape[2]
        rows = tokens.reshape(ph, pw, -1, dim).transpose(1, 2)
        rows = rows.reshape(ph, height // ph, width // pw, pw * dim).transpose(0, 1)
        return rows.reshape(1, height, width, dim)


def absorb(norm: nn.GroupNorm, conv: nn.Conv2d) -> nn.Linear:
    """conv(g * z + b) as a Linear of z: the 1x1 convolution with the affine part inside, in float64."""
    assert conv.kernel_size == (1, 1) and conv.groups == 1 and conv.stride == (1, 1)
    weight = conv.weight[:, :, 0, 0].double()
    bias = weight @ norm.bias.double()
    if conv.bias is not None:
        bias = bias + conv.bias.double()
    dtype = conv.weight.dtype
    return linear((weight * norm.weight.double()).to(dtype), bias.to(dtype))


def _flat(block: MobileVitV2Block) -> nn.Module | str:
    norms = [block.norm, *(n for t in block.transformer for n in (t.norm1, t.norm2))]
    if any(not isinstance(n, nn.GroupNorm) or n.num_groups != 1 for n in norms):
        return "its norms are not over the whole map, so they depend on its layout"
    return FlatMobileVit(block).eval()


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Replaces every MobileVitV2Block."""
    return model, replace_modules(model, MobileVitV2Block, _flat)


REWRITE = Rewrite("flatten_linear_attention", EQUATION, apply)
