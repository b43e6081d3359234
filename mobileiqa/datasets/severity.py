"""How bad each distortion looks at each level: KADID-10k's human scores, averaged over its references.

The spread over references is small, so the mean serves as the label of the same distortion on other images:
the "transferred KADID score" that `python -m mobileiqa.distort` writes.
"""

import csv
import statistics
from collections import defaultdict
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mobileiqa import cli
from mobileiqa.datasets.labels import check_scores
from mobileiqa.datasets.synthetic import KADID_SCALE, kadid_labels


@dataclass(frozen=True)
class Severity:
    """Human scores of one distortion at one level; 1..5, higher is better."""

    distortion: int  # 1..25
    level: int  # 1..5, 1 is the mildest
    n_references: int
    mean_score: float
    std_score: float  # over those references (divided by n)


def severities(root: Path) -> list[Severity]:
    """One row per distortion and level of KADID-10k's dmos.csv in `root`, in order. Raises UserError."""
    labels = kadid_labels(root)
    check_scores("kadid-10k", labels, KADID_SCALE)
    scores: dict[tuple[int, int], list[float]] = defaultdict(list)
    for label in labels:
        scores[label.distortion, label.level].append(label.score)
    return [
        Severity(*key, len(values), statistics.fmean(values), statistics.pstdev(values))
        for key, values in sorted(scores.items())
    ]


def write(path: Path, rows: list[Severity]) -> None:
    """Writes rows as CSV with 4 decimals, atomically."""
    with cli.atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Severity))
        for row in rows:
            writer.writerow(f"{cell:.4f}" if isinstance(cell, float) else cell for cell in astuple(row))
