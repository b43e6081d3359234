"""The gate of a self-attention folded into its value projection.

gamma * softmax(s) (X W^T + 1 b^T)  =  softmax(s) (X (gamma W)^T + 1 (gamma b)^T)
"""

from torch import nn

from convert.rewrites.channels_last_attention import FlatSelfAttention
from convert.rewrites.core import Rewrite, Sites
from convert.rewrites.level_mean import scaled

EQUATION = "gamma (a (X W' + b)) = a (X (gamma W)' + gamma b)"


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Folds the gate of every FlatSelfAttention."""
    sites = Sites()
    for module in model.modules():
        if isinstance(module, FlatSelfAttention) and module.gamma is not None:
            module.v = scaled(module.v, float(module.gamma))
            module.gamma = None
            sites.replaced += 1
    return model, sites


REWRITE = Rewrite("fold_gate", EQUATION, apply)
