"""From what label files say to a Dataset: checked, split and normalised, the same way for every set."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileiqa.datasets import core
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.datasets.label_files import CORRECT, FETCH_AGAIN, Row
from mobileiqa.errors import UserError
from mobileiqa.training_record import listing_key


@dataclass(frozen=True)
class Label:
    """One image as its label file gives it. See Sample for the fields of the same name."""

    where: str  # "dmos.csv, line 2"
    image: str  # as listed: the same wherever the set lies, so that the seeded split is, too
    path: Path
    score: float  # raw
    split: str = ""  # as spelled in the file; empty: not given
    reference: str = ""
    distortion: int = 0
    level: int = 0
    distortion_name: str = ""
    votes: tuple[float, ...] = ()


VOTE_COLUMNS = ("c1", "c2", "c3", "c4", "c5")


def vote_shares(row: Row) -> tuple[float, ...]:
    """The shares of the votes 1 to 5 in a row with c1..c5, counts or fractions; () for a file without them.

    Raises UserError, naming the line, for a number below 0 and for an image without votes.
    """
    if not all(name in row.cells for name in VOTE_COLUMNS):
        return ()
    counts = [row.number(name) for name in VOTE_COLUMNS]
    if min(counts) < 0 or not sum(counts) > 0:
        words = ", ".join(f"{count:g}" for count in counts)
        raise UserError(f"votes of 0 or more in c1..c5 of {row.where}, not all 0", words, row.todo)
    return tuple(count / sum(counts) for count in counts)


@dataclass(frozen=True)
class Scale:
    """What a set's scores are: name, range, and how the range is known."""

    name: str
    low: float
    high: float
    rule: str = "the set's own scale"

    def normalized(self, score: float) -> float:
        """A raw score as 0..1."""
        return (score - self.low) / (self.high - self.low)


def assemble(
    name: str,
    labels: Sequence[Label],
    scale: Scale,
    seed: int,
    reference_keys: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    reference_files: Mapping[str, Path] | None = None,
) -> Dataset:
    """The Dataset of labels: with the split they give, else one drawn by reference (or image) and seed.

    Raises UserError, naming file and line, for no labels, scores outside the scale, images that are listed
    twice, are not there or (unless `allow_outside`) lie elsewhere, unknown sides, references on two sides, and too
    few images to draw sides.
    """
    check_scores(name, labels, scale)
    if not allow_outside:
        _check_inside(labels)
    sides, rule = _sides(labels, seed)
    _check_images(labels, own=name == "folder")
    samples = tuple(
        Sample(
            path=label.path,
            score=scale.normalized(label.score),
            raw_score=label.score,
            split=side,
            reference=label.reference,
            distortion=label.distortion,
            level=label.level,
            distortion_name=label.distortion_name,
            votes=label.votes,
        )
        for label, side in zip(labels, sides, strict=True)
    )
    return Dataset(
        name, samples, (scale.low, scale.high), scale.name, rule, scale.rule, seed,
        listing_key(label.image for label in labels), dict(reference_keys or {}),
        {name: path for name, path in (reference_files or {}).items() if path.is_file()},
    )  # fmt: skip


def check_scores(name: str, labels: Sequence[Label], scale: Scale) -> None:
    """Raises UserError where there is no label, or a score lies outside the scale."""
    if not labels:
        raise UserError(f"at least one image in {name}", "none", CORRECT if name == "folder" else FETCH_AGAIN)
    for label in labels:
        if not scale.low <= label.score <= scale.high:
            raise UserError(
                f"a score of {scale.low:g}..{scale.high:g} for {label.image} in {label.where}",
                f"{label.score:g}",
                "correct it, or the range in dataset.json"
                if name == "folder"
                else "check that this is the right set and version",
            )


def _check_inside(labels: Sequence[Label]) -> None:
    """A label file that came from elsewhere names no other file of this machine. Symbolic links are followed."""
    for label in labels:
        if reason := outside(label.image):
            raise UserError(
                f"a path inside the set's folder in {label.where}",
                f"{label.image!r}, {reason}",
                "write paths that start at the folder, or pass --allow-outside with the set `folder`",
            )


def outside(image: str) -> str:
    """Why a listed name may lead out of the set's folder, on Linux, macOS or Windows; empty where it cannot."""
    parts = image.replace("\\", "/").split("/")
    if parts[0] == "" or re.fullmatch("[A-Za-z]:.*", parts[0]):
        return "which is absolute"
    if ".." in parts:
        return "which holds `..`"
    return "which begins in a home folder" if parts[0].startswith("~") and len(parts) > 1 else ""


def _check_images(labels: Sequence[Label], own: bool) -> None:
    first: dict[Path, Label] = {}
    for label in labels:
        other = first.setdefault(label.path, label)
        if other is not label:
            raise UserError(f"{label.image} once", f"it in {other.where} and in {label.where}", "remove one")
    missing = [label for label in labels if not label.path.is_file()]
    if missing:
        example = missing[0]
        raise UserError(
            f"every image that the labels list, such as {example.path} ({example.where})",
            f"{len(missing)} of {len(labels)} missing",
            "correct the paths, which start at the label file's folder" if own else FETCH_AGAIN,
        )


def _sides(labels: Sequence[Label], seed: int) -> tuple[list[str], str]:
    """One side per label, and the rule that gave them."""
    if not any(label.split for label in labels):
        groups = [label.reference or label.image for label in labels]
        drawn = core.draw_split(groups, seed)
        return [drawn[group] for group in groups], core.split_rule(any(lb.reference for lb in labels), seed)
    sides = [core.parse_split(label.split, label.where) for label in labels]
    core.check_references(
        (label.reference, side, label.where) for label, side in zip(labels, sides, strict=True)
    )
    return sides, "as the label file gives it"
