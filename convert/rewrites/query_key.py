"""One projection fewer per attention.

    softmax_j(scale (W_q x_i + b_q) . (W_k x_j + b_k))  =  softmax_j((M x_i + b) . x_j),
    M = scale W_k^T W_q,  b = scale W_k^T b_q

since terms that do not depend on j cancel in the softmax. The projection of the keys is gone. It costs less
only where the projection is square (d -> d); where q and k are narrow (256 -> 32) only k's bias is dropped.
"""

import torch
from torch import nn

from convert.rewrites.channels_last_attention import Scores
from convert.rewrites.core import Rewrite, Sites, linear, replace_modules

EQUATION = (
    "softmax(scale (X Wq' + bq)(X Wk' + bk)') = softmax((X M' + b) X'), M = scale Wk' Wq, b = scale Wk' bq"
)


class MergedScores(nn.Module):
    """X (N, d) -> (X M^T + b) X^T: equal to the published scores up to terms constant along the softmax axis."""

    def __init__(self, merged: nn.Linear) -> None:
        super().__init__()
        self.merged = merged

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.merged(x) @ x.t()


class NarrowScores(nn.Module):
    """X (N, d) -> (X W_q^T + b_q) (X W_k^T)^T: the key bias adds q_i . b_k, constant along the softmax axis."""

    def __init__(self, q: nn.Linear, k: nn.Linear) -> None:
        super().__init__()
        self.q, self.k = q, k

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.q(x) @ self.k(x).t()


def merge(q: nn.Linear, k: nn.Linear, scale: float) -> nn.Linear:
    """M and b, computed in float64, stored in q's dtype."""
    wk = k.weight.double()
    weight = scale * (wk.t() @ q.weight.double())
    bias = scale * (wk.t() @ q.bias.double())
    return linear(weight.to(q.weight.dtype), bias.to(q.weight.dtype))


def _merged(scores: Scores) -> nn.Module:
    if 2 * scores.q.out_features > scores.q.in_features:
        return MergedScores(merge(scores.q, scores.k, scores.scale))
    scaled = linear(scores.q.weight * scores.scale, scores.q.bias * scores.scale)
    return NarrowScores(scaled, linear(scores.k.weight, None))


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Replaces every Scores module."""
    return model, replace_modules(model, Scores, _merged)


REWRITE = Rewrite("merge_query_key", EQUATION, apply)
