"""What a data set is to the rest of the toolkit: scored images, each on one side of a split.

Every set's scores are brought to 0..1 by the set's own range, higher is better, so that sets can be mixed and
errors compared; the raw score stays beside it for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
