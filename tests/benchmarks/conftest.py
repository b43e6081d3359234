"""Shared by the tests of training comparisons."""

import csv
from pathlib import Path

import pytest

from mobileiqa.distortions.kadid10k import DISTORTIONS


@pytest.fixture(scope="session")
def severity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of scores: the stronger, the worse, and no two alike."""
    path = tmp_path_factory.mktemp("severity") / "severity.csv"
    rows = [(n, level, 5.2 - 0.7 * level - n / 100) for n in DISTORTIONS for level in range(1, 6)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("distortion", "level", "mean_score"), *rows])
    return path
