"""Who trains, who validates, who tests: official sides by name, else drawn by seed and by reference.

The field tests on 20 % and trains on 80 % of a set without official sides; the validation side that picks the
best epoch is taken from those 80 %, so that the test side never picks anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mobileiqa.datasets.core import SPLITS
from mobileiqa.errors import UserError

VALIDATION_SHARE, TEST_SHARE = 0.10, 0.20
ALLOW_OUTSIDE = "the labels of a `folder` may name images elsewhere: absolute paths and .."  # a flag's help
SPLIT_SEED = 0  # the default of every command that reads a set, so that all of them see the same test side

_SPELLINGS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def parse(text: str, where: str) -> str:
    """The side that a label file's word means. Raises UserError, naming `where`, for another word."""
    split = _SPELLINGS.get(text.strip().lower())
    if split is None:
        raise UserError(
            f"a split of {', '.join(_SPELLINGS)} in {where}",
            repr(text),
            "correct it, or leave the column out",
        )
    return split


def refuse_other_column(rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """Raises UserError where the rows of the file `name`, by column, give sides in a column not called split."""
    if not rows or "split" in rows[0]:
        return
    for column in rows[0]:
        words = {str(row[column] or "").strip().lower() for row in rows} - {""}
        if words and words <= _SPELLINGS.keys():
            raise UserError(
                f"the sides of the images in a column called split in {name}",
                f"{', '.join(sorted(words))} in {f'the column {column}' if column else 'a column without a name'}",
                "call it split, or remove it",
            )


def draw(groups: Iterable[str], seed: int) -> dict[str, str]:
    """group -> side, 70/10/20 of the distinct groups, at least one each.

    A group is a reference, or an image that has none: whole groups move, so no reference is ever on two
    sides. Depends on the groups' names and the seed, not on their order. Raises UserError below 3 groups.
    """
    names = sorted(set(groups))
    if len(names) < len(SPLITS):
        raise UserError(
            "at least 3 references, or images without one, to split into train, validation and test",
            f"{len(names)}",
            "add images, or give the sides yourself where the set has a split column",
        )
    shuffled = np.random.default_rng(seed).permutation(len(names))
    tests = max(1, round(TEST_SHARE * len(names)))
    validations = max(1, round(VALIDATION_SHARE * len(names)))
    counts = {"test": tests, "validation": validations, "train": len(names) - tests - validations}
    sides = [side for side, count in counts.items() for _ in range(count)]
    return {names[index]: side for index, side in zip(shuffled, sides, strict=True)}


def rule(by_reference: bool, seed: int) -> str:
    """What `draw` did, in words."""
    return f"70/10/20 by {'reference' if by_reference else 'image'}, seed {seed}"


def check_references(members: Iterable[tuple[str, str, str]]) -> None:
    """Raises UserError when a reference (not the empty one) of (reference, side, where) is on two sides."""
    first: dict[str, tuple[str, str]] = {}
    for reference, side, where in members:
        other_side, other = first.setdefault(reference, (side, where))
        if reference and side != other_side:
            raise UserError(
                f"the images of reference {reference} on one side of the split",
                f"{other_side} in {other} and {side} in {where}",
                "move whole references: a model recognises the content it was trained on",
            )
