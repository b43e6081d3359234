"""Batch norm folded into the convolution before it.

    gamma * (W x + b - mean) / sqrt(var + eps) + beta  =  (s W) x + (s (b - mean) + beta),   s = gamma / sqrt(var + eps)

Which convolution feeds which norm is observed in one run, not guessed from names: a norm is folded only when
its input is the very tensor object that a convolution returned, and no other norm read that convolution.
Readers that are no norms (an addition, another convolution) and changes in place between the two are not seen
here: folding would change what they get. No model here has them, and if one does, the score of the probe in
`convert.rewrites.apply.apply_rewrites` moves, which stops the conversion.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from convert.rewrites.core import Rewrite, Sites

EQUATION = "bn(W x + b) = (s W) x + s (b - mean) + beta, s = gamma / sqrt(var + eps)"


@contextmanager
def observed(model: nn.Module) -> Iterator[dict[str, str]]:
    """Batch norm path -> path of the convolution whose output it read, once the block has run `model`.

    Only nn.Conv2d and nn.BatchNorm2d modules are watched; of one that runs twice, the last run counts.
    """
    produced: dict[int, str] = {}
    outputs: list[torch.Tensor] = []  # keeps outputs alive, so that their ids stay theirs
    pairs: dict[str, str] = {}
    hooks = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):

            def after(_m: nn.Module, _i: object, out: torch.Tensor, path: str = path) -> None:
                produced[id(out)] = path
                outputs.append(out)

            hooks.append(module.register_forward_hook(after))
        elif isinstance(module, nn.BatchNorm2d):

            def before(_m: nn.Module, args: tuple[torch.Tensor], path: str = path) -> None:
                if id(args[0]) in produced:
                    pairs[path] = produced[id(args[0])]

            hooks.append(module.register_forward_pre_hook(before))
    try:
        yield pairs
    finally:
        for hook in hooks:
            hook.remove()


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution that does both; computed in float64, stored in the convolution's dtype.

    A copy of the convolution, not a new one: timm's Conv2dSame pads by its input's size.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = 0.0 if conv.bias is None else conv.bias.double()
    folded = copy.deepcopy(conv)
    dtype = conv.weight.dtype
    weight = conv.weight.double() * scale[:, None, None, None]
    shift = scale * (bias - norm.running_mean.double()) + norm.bias.double()
    folded.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    folded.bias = nn.Parameter(shift.to(dtype), requires_grad=False)
    return folded.eval()


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """What timm's BatchNormAct2d does after the normalisation (activation; drop is off in eval), or nothing."""
    return getattr(norm, "act", None) or nn.Identity()


def apply(model: nn.Module, pairs: dict[str, str]) -> tuple[nn.Module, Sites]:
    """Folds every pair that was observed; a norm without a convolution before it is reported."""
    sites = Sites()
    users = list(pairs.values())
    for path, norm in list(model.named_modules()):
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        conv_path = pairs.get(path)
        if conv_path is None or users.count(conv_path) > 1:
            sites.refused.append(f"{path}: its input is not the output of one convolution of its own")
            continue
        conv = model.get_submodule(conv_path)
        assert isinstance(conv, nn.Conv2d)
        _set(model, conv_path, fold(conv, norm))
        _set(model, path, _rest(norm))
        sites.replaced += 1
    return model, sites


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def rewrite(pairs: dict[str, str]) -> Rewrite:
    """The rewrite of the pairs that were observed."""
    return Rewrite("fold_batch_norm", EQUATION, lambda model: apply(model, pairs))
