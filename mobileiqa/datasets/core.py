"""What a data set is to the rest of the toolkit: scored images, each on one side of a split.

Every set's scores are brought to 0..1 by the set's own range, higher is better, so that sets can be mixed and
errors compared; the raw score stays beside it for people. Whole references lie on one side of a split.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobileiqa.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Sample:
    """One scored image.

    `distortion` is numbered as the set's own authors do, from 1, so numbers of two sets do not compare;
    `level` 1 is the mildest.
    """

    path: Path
    score: float  # 0..1, higher is better
    raw_score: float  # as published, within Dataset.raw_range
    split: str  # one of SPLITS
    reference: str = ""  # the pristine image it was made from; empty: none
    distortion: int = 0  # 0: none, or not known
    level: int = 0  # 0: none, or not known
    distortion_name: str = ""
    votes: tuple[float, ...] = ()  # the shares of the votes 1 to 5; empty: not known


@dataclass(frozen=True)
class Dataset:
    """A set of images with its scores, and how both the split and the range came about."""

    name: str
    samples: tuple[Sample, ...]
    raw_range: tuple[float, float]
    score_name: str  # MOS, DMOS, Elo, transferred KADID score...
    split_rule: str
    range_rule: str = "the set's own scale"
    split_seed: int = 0  # that the split was drawn by, or would have been
    listing: str = ""  # training_record.listing_key of its images' names: the same wherever the set lies
    reference_keys: Mapping[str, str] = field(default_factory=dict)  # reference -> pixel key, where known
    reference_files: Mapping[str, Path] = field(
        default_factory=dict
    )  # reference -> its image, where it is there

    def of(self, split: str) -> tuple[Sample, ...]:
        """The samples of one side, in the label file's order; there may be none. Raises ValueError."""
        if split not in SPLITS:
            raise ValueError(f"expected one of {', '.join(SPLITS)}; found {split!r}")
        return tuple(sample for sample in self.samples if sample.split == split)


VALIDATION_SHARE, TEST_SHARE = 0.10, 0.20
ALLOW_OUTSIDE = "the labels of a `folder` may name images elsewhere: absolute paths and .."  # a flag's help
SPLIT_SEED = 0  # the default of every command that reads a set, so that all of them see the same test side

_SPELLINGS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def parse_split(text: str, where: str) -> str:
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


def draw_split(groups: Iterable[str], seed: int) -> dict[str, str]:
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


def split_rule(by_reference: bool, seed: int) -> str:
    """What `draw_split` did, in words."""
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
