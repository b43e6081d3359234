"""Averages folded into value projections.

Feature branch: through its transposes and reshapes the flat index g = d*256 + t of (value dimension d, token t)
is kept, and level l owns g in [l*256*P, (l+1)*256*P). So the mean over levels averages value dimensions:

    mean_l v[d0 + P l]  =  v'[d0],   W' = mean_l W_v[d0 + P l],  b' = mean_l b_v[d0 + P l]       (n*P -> P outputs)

Channel branch: the five summands come from different tokens, so only the factor 1/(2n) moves into W_v, b_v.
The factor 1/2 of (channel + feature)/2 moves too. Attention rows sum to 1, so biases pass through.
"""

import torch
from torch import nn

from convert.rewrites.channels_last_attention import ChannelBranch, FeatureBranch, FlatMAL, attended
from convert.rewrites.core import Rewrite, Sites, linear, replace_modules
from mobileiqa.layers.mobile_iqa import CHANNELS

EQUATION = "mean_l (a v)[d0 + P l] = a v', W'[d0] = mean_l Wv[d0 + P l]; (u + w)/2 = u' + w'"


class SummedChannelBranch(nn.Module):
    """ChannelBranch whose value projection already carries 1/(2n)."""

    def __init__(self, source: ChannelBranch) -> None:
        super().__init__()
        self.n = source.n
        self.scores = source.scores
        self.v = scaled(source.v, 1 / (2 * source.n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See ChannelBranch.forward."""
        y = torch.softmax(self.scores(x), -1) @ self.v(x)
        y = y.t().reshape(x.shape[0], self.n * CHANNELS)
        parts = y.split(CHANNELS, 1) if self.n > 1 else (y,)  # the converter takes no split into one
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


class FoldedMAL(nn.Module):
    """FlatMAL whose branches return halves of averages: the opinion is a plain sum."""

    def __init__(self, source: FlatMAL) -> None:
        super().__init__()
        self.n = source.n
        self.self_attention = source.self_attention
        self.channel = SummedChannelBranch(source.channel)
        self.feature = source.feature
        self.feature.v = scaled(fold(source.feature), 0.5)
        self.feature.averaged = True

    def forward(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """See FlatMAL.forward."""
        residual, columns, rows = attended(self.self_attention, inputs)
        return residual * (1 / self.n) + self.channel(columns) + self.feature(rows)


def scaled(layer: nn.Linear, factor: float) -> nn.Linear:
    """factor * layer, rounded once from float64."""
    dtype = layer.weight.dtype
    return linear((layer.weight.double() * factor).to(dtype), (layer.bias.double() * factor).to(dtype))


def fold(branch: FeatureBranch) -> nn.Linear:
    """The value projection of the averaged output: (n*P -> n*P) becomes (n*P -> P), in float64."""
    weight = branch.v.weight.double().reshape(branch.n, -1, branch.v.in_features).mean(0)
    bias = branch.v.bias.double().reshape(branch.n, -1).mean(0)
    return linear(weight, bias)


def _folded(mal: FlatMAL) -> nn.Module:
    dtype = mal.feature.v.weight.dtype
    return FoldedMAL(mal).to(dtype)


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Replaces every FlatMAL."""
    return model, replace_modules(model, FlatMAL, _folded)


REWRITE = Rewrite("fold_level_mean", EQUATION, apply)
