"""Changes of a model that are not exact, each off by default: they cost accuracy, which INT8's budget must cover.

    sparse-pooling    LDA averages its large levels over every n-th pixel of every m-th row, so that 4 x 4 or more are
                      left in a bin
    sparser-pooling   the same, 2 x 2 or more

At 1907x1231, LDA's GELU runs over 400 million values, to average them to 22 x 22 bins: 43 x 28 pixels of the
first level a bin. Neighbours there are much alike.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Approximation:
    """`apply(model)` changes it in place and returns how many sites it found."""

    name: str
    meaning: str
    apply: "Callable[[nn.Module], int]"


def _sparse_pooling(model: "nn.Module", least: int) -> int:
    from convert.rewrites.core import replace_modules
    from convert.rewrites.sparse_pooling import SparseLDA
    from mobileiqa.layers.mobile_iqa import LDA

    return replace_modules(model, LDA, partial(SparseLDA, least=least)).replaced


APPROXIMATIONS = {
    a.name: a
    for a in (
        Approximation(
            name,
            f"LDA averages over every n-th pixel, {least} x {least} or more a bin",
            partial(_sparse_pooling, least=least),
        )
        for name, least in (("sparse-pooling", 4), ("sparser-pooling", 2))
    )
}


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once. UserError for one that is not in APPROXIMATIONS."""
    distinct = tuple(dict.fromkeys(names))
    if strange := [name for name in distinct if name not in APPROXIMATIONS]:
        raise UserError(
            f"approximations among {', '.join(APPROXIMATIONS)}", ", ".join(strange), "correct the name"
        )
    return distinct


def approximated(model: "nn.Module", names: Iterable[str]) -> "nn.Module":
    """A copy of `model` with these approximations. UserError for one that is unknown or changes nothing."""
    work = copy.deepcopy(model)
    for name in checked(names):
        if not APPROXIMATIONS[name].apply(work):
            raise UserError(
                f"a model with what {name} changes ({APPROXIMATIONS[name].meaning})",
                f"none of it in {type(model).__name__}", "leave it out",
            )  # fmt: skip
    return work
