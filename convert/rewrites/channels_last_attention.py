"""MobileIQA for one image in channels-last matrices: the layout that the other rewrites and XNNPACK want.

    NCHW (1, 256, G, G)  <->  rows (P, 256), P = G*G: position-major matrices, at most 4-D, Linear stays Linear

Only the layout changes. A level or an opinion is X (P, 256); T^T = [X_1 | ... | X_n] is (P, n*256); the
feature branch reads T itself, reshaped (row-major, so the flat index is kept) to (256, n*P).
"""

import torch
from torch import nn

from convert.rewrites.core import Rewrite, Sites, from_conv
from mobileiqa.layers.mobile_iqa import CHANNELS, MAL, ScrambledAttention, SelfAttention, inference_layout
from mobileiqa.models.mobile_iqa import Features, MobileIQA

EQUATION = "X_nchw[0, c, i, j] = X[G i + j, c]; T^T = [X_1 | ... | X_n]"


class Scores(nn.Module):
    """X (N, d) -> scale * (X W_q^T + b_q) (X W_k^T + b_k)^T, (N, N)."""

    def __init__(self, q: nn.Linear, k: nn.Linear, scale: float) -> None:
        super().__init__()
        self.q, self.k, self.scale = q, k, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.q(x) @ self.k(x).t() * self.scale


class FlatSelfAttention(nn.Module):
    """X (P, 256) -> gamma * softmax(scores(X)) v(X) + X; gamma None once it is folded into v."""

    def __init__(self, source: SelfAttention) -> None:
        super().__init__()
        self.scores: nn.Module = Scores(from_conv(source.q), from_conv(source.k), 1.0)
        self.v = from_conv(source.v)
        self.gamma: nn.Parameter | None = nn.Parameter(source.gamma.detach().clone(), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        y = torch.softmax(self.scores(x), -1) @ self.v(x)
        return x + (y if self.gamma is None else self.gamma * y)


class ChannelBranch(nn.Module):
    """T^T (P, n*256) -> (P, 256): the scrambled attention, averaged over levels, without its residual."""

    def __init__(self, source: ScrambledAttention, n: int) -> None:
        super().__init__()
        self.n = n
        self.scores: nn.Module = Scores(source.q, source.k, source.scale)
        self.v: nn.Linear = source.v

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """y^T is read back in y's shape: the published scrambling (mobileiqa.layers.mobile_iqa)."""
        y = torch.softmax(self.scores(x), -1) @ self.v(x)
        y = y.t().reshape(x.shape[0], self.n, CHANNELS)
        total = y[:, 0]
        for level in range(1, self.n):
            total = total + y[:, level]
        return total / self.n


class FeatureBranch(nn.Module):
    """T as (256, n*P) -> (P, 256): the scrambled attention, averaged over levels, without its residual."""

    def __init__(self, source: ScrambledAttention, n: int) -> None:
        super().__init__()
        self.n = n
        self.scores: nn.Module = Scores(source.q, source.k, source.scale)
        self.v: nn.Linear = source.v
        self.averaged = False  # True once v produces the mean over levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        y = (torch.softmax(self.scores(x), -1) @ self.v(x)).t()
        if not self.averaged:
            y = y.reshape(self.n, CHANNELS, -1).mean(0)
        return y.reshape(CHANNELS, -1).t()


class FlatMAL(nn.Module):
    """n matrices (P, 256) -> the opinion (P, 256)."""

    def __init__(self, source: MAL) -> None:
        super().__init__()
        self.n = source.n_inputs
        self.self_attention = nn.ModuleList(FlatSelfAttention(layer) for layer in source.self_attention)
        self.channel = ChannelBranch(source.channel, self.n)
        self.feature = FeatureBranch(source.feature, self.n)

    def forward(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """(branch + branch)/2 averaged over levels; both residuals are T, so their average is T's mean."""
        residual, columns, rows = attended(self.self_attention, inputs)
        return residual / self.n + (self.channel(columns) + self.feature(rows)) / 2


def attended(
    self_attention: nn.ModuleList, inputs: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """n inputs (P, 256) after their self-attentions: their sum (P, 256), T^T (P, n*256) and T as (256, n*P)."""
    levels = [layer(x) for layer, x in zip(self_attention, inputs, strict=True)]
    residual = levels[0]
    for level in levels[1:]:
        residual = residual + level
    columns = torch.cat(levels, 1)
    return residual, columns, columns.t().reshape(CHANNELS, -1)


class FlatMobileIQA(nn.Module):
    """MobileIQA for a batch of one: normalised image (1, 3, H, W) -> score (1,)."""

    def __init__(self, source: MobileIQA) -> None:
        super().__init__()
        self.grid = source.variant.grid
        self.backbone = source.backbone
        self.lda = source.lda
        self.mal = nn.ModuleList(FlatMAL(mal) for mal in source.mal)
        self.fusion = FlatMAL(source.fusion)
        self.head = source.head

    def opinions(self, image: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The five levels and the three opinions, each (P, 256)."""
        maps = self.backbone(inference_layout(image))
        levels = [_rows(lda(x)) for lda, x in zip(self.lda, maps, strict=True)]
        return levels, [mal(levels) for mal in self.mal]

    def forward_features(self, image: torch.Tensor) -> Features:
        """As MobileIQA.forward_features, for parity."""
        return self.features_of(*self.opinions(image))

    def features_of(self, levels: list[torch.Tensor], opinions: list[torch.Tensor]) -> Features:
        """What `opinions` returns, in the published layout."""
        return Features(*(torch.stack([_planes(x, self.grid) for x in xs]) for xs in (levels, opinions)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.head(_planes(self.fusion(self.opinions(image)[1]), self.grid))


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(1, 256, G, G) -> (P, 256)."""
    return x.permute(0, 2, 3, 1).reshape(-1, CHANNELS)


def _planes(x: torch.Tensor, grid: int) -> torch.Tensor:
    """(P, 256) -> (1, 256, G, G)."""
    return x.reshape(1, grid, grid, CHANNELS).permute(0, 3, 1, 2)


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """MobileIQA -> FlatMobileIQA; other models have no site."""
    if not isinstance(model, MobileIQA):
        return model, Sites()
    return FlatMobileIQA(model).eval(), Sites(replaced=len(model.mal) + 1)


REWRITE = Rewrite("flatten_attention", EQUATION, apply)
