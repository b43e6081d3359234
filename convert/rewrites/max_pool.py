"""Max pooling padded with zeros, where nothing is negative.

    max_pool(pad(relu(x), -inf))  =  max_pool(pad(relu(x), 0))

Every window holds at least one real value, and none is below zero, so a zero beside it changes no maximum. The
converter writes the published padding as PADV2, which XNNPACK does not have; padding with zeros is PAD.
"""

import torch
from torch import nn

from convert.rewrites.core import Rewrite, Sites

EQUATION = "max_pool(pad(relu(x), -inf)) = max_pool(pad(relu(x), 0))"


class ZeroPaddedMaxPool(nn.Module):
    """Equal to nn.MaxPool2d for values that are not negative: (N, C, H, W) -> (N, C, H', W')."""

    def __init__(self, source: nn.MaxPool2d) -> None:
        super().__init__()
        self.padding = _pair(source.padding)
        self.pool = nn.MaxPool2d(source.kernel_size, source.stride, 0, source.dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        rows, columns = self.padding
        return self.pool(nn.functional.pad(x, (columns, columns, rows, rows)))


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _obstacle(pool: nn.MaxPool2d, before: nn.Module | None) -> str | None:
    """Why zeros may not replace the padding of `pool`, whose input `before` returns; or None."""
    if not isinstance(before, nn.ReLU):
        return "what it pools may be negative: no ReLU comes right before it"
    if pool.ceil_mode or pool.return_indices:
        return "it rounds its size up, or returns indices"
    return None


def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
    """Replaces every padded nn.MaxPool2d that follows a ReLU in its nn.Sequential."""
    sites = Sites()
    for path, parent in list(model.named_modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d) and any(_pair(child.padding)):
                reason = _obstacle(child, before if isinstance(parent, nn.Sequential) else None)
                if reason:
                    sites.refused.append(f"{path}.{name}: {reason}".lstrip("."))
                else:
                    setattr(parent, name, ZeroPaddedMaxPool(child))
                    sites.replaced += 1
            if not isinstance(child, nn.Identity):  # what a folded batch norm leaves
                before = child
    return model, sites


REWRITE = Rewrite("pad_pools_with_zeros", EQUATION, apply)
