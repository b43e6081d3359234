"""What a rewrite is: a name, its equation, and a function that replaces modules and says what it did.

A rewrite is exact in real arithmetic. It looks for its pattern, replaces every site where its conditions hold,
and returns a reason for each site where they do not: nothing is skipped in silence.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


@dataclass
class Sites:
    """What one rewrite did to one model."""

    replaced: int = 0
    refused: list[str] = field(default_factory=list)  # "path: reason"


@dataclass(frozen=True)
class Rewrite:
    """`apply(model)` returns the model (changed in place, or another one) and its Sites."""

    name: str
    equation: str
    apply: Callable[[nn.Module], tuple[nn.Module, Sites]]


def replace_modules(model: nn.Module, kind: type[M], make: Callable[[M], nn.Module | str]) -> Sites:
    """Replaces every submodule of `kind` by `make(it)`, or records the reason that `make` returns as a string."""
    sites = Sites()
    matches = [(path, module) for path, module in model.named_modules() if isinstance(module, kind)]
    for path, module in matches:
        replacement = make(module)
        if isinstance(replacement, str):
            sites.refused.append(f"{path}: {replacement}")
            continue
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, replacement)
        sites.replaced += 1
    return sites


@contextmanager
def compact(model: nn.Module) -> Iterator[None]:
    """In the block, modules of `model` that compute a map row range by row range compute it at once.

    For the export: a converter needs 30 ms for each of the thousands of operators that row ranges are, and
    convert.flatbuffer.row_bands writes them in no time.
    """
    modules = [module for module in model.modules() if hasattr(module, "compact")]
    for module in modules:
        module.compact = True
    try:
        yield
    finally:
        for module in modules:
            del module.compact  # the class has False


def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """nn.Linear holding float32 (or the given dtype's) `weight` (out, in) and `bias` (out), no gradients."""
    layer = nn.Linear(
        weight.shape[1], weight.shape[0], bias=bias is not None, device="meta"
    )  # draws no weights
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def from_conv(conv: nn.Conv2d) -> nn.Linear:
    """A 1x1 convolution as the Linear it is over channels-last data."""
    assert conv.kernel_size == (1, 1) and conv.groups == 1 and conv.stride == (1, 1)
    return linear(conv.weight[:, :, 0, 0], conv.bias)
