"""A model that predicts how people vote: the shares of the votes 1 (bad) to 5 (excellent), and their mean as the score.

Any model of the zoo whose last layer is one Linear or one KAN layer can be given five outputs; `VoteModel` puts a
softmax behind them. The score stays one number, the mean vote brought to 0..1; quantiles of the votes come from
mobileiqa.ratings.
"""

from typing import Any

import torch
from torch import nn

from mobileiqa.errors import UserError
from mobileiqa.layers.kan import KANLinear


class VoteModel(nn.Module):
    """The inputs of `model`, which has five outputs an image -> scores (N,), 0..1: (mean vote - 1) / 4.

    In train mode it gives logits (N, 5), which is what the loss of votes needs.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward_features(self, *inputs: torch.Tensor, **named: torch.Tensor) -> Any:
        """The model's own features."""
        return self.model.forward_features(*inputs, **named)

    def forward_votes(self, *inputs: torch.Tensor) -> torch.Tensor:
        """(N, 5): the shares of the votes 1 to 5, which add up to 1."""
        return torch.softmax(self.model.forward_head(self.forward_features(*inputs)), 1)

    def forward_head(self, features: Any) -> torch.Tensor:
        """Features -> scores (N,)."""
        return mean_vote(self.model.forward_head(features))

    def forward(self, *inputs: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        """See the class."""
        features = self.forward_features(*inputs, **named)
        return self.model.forward_head(features) if self.training else self.forward_head(features)


def mean_vote(logits: torch.Tensor) -> torch.Tensor:
    """Logits (N, 5) -> (N,): the mean of votes worth 0, .25, .5, .75 and 1."""
    worth = torch.linspace(0, 1, 5, dtype=logits.dtype, device=logits.device)
    return (torch.softmax(logits, 1) * worth).sum(1)


def widen_last_layer(model: nn.Module, outputs: int) -> None:
    """Gives the model `outputs` in place of one, in place: its last Linear or KAN layer is replaced by a new one.

    Raises UserError for a model whose last layer is another kind.
    """
    name, last = _last(model.head)
    layer: nn.Module
    if isinstance(last, nn.Linear) and last.out_features == 1:
        layer = nn.Linear(last.in_features, outputs)
    elif isinstance(last, KANLinear) and last.base_weight.shape[0] == 1:
        layer = KANLinear(last.base_weight.shape[1], outputs)
    else:
        raise UserError(
            "a model that ends in a Linear or a KAN layer", type(last).__name__, "name another model"
        )
    parent, _, attribute = f"head.{name}".rstrip(".").rpartition(".")
    setattr(model.get_submodule(parent), attribute, layer)
    if hasattr(model.head, "bounded"):
        model.head.bounded = False  # the softmax bounds


def _last(head: nn.Module) -> tuple[str, nn.Module]:
    """The last Linear or KAN layer of a head, by the name that it has in it; the head itself is ''."""
    layers = [(n, m) for n, m in head.named_modules() if isinstance(m, nn.Linear | KANLinear)]
    return layers[-1] if layers else ("", head)
