"""The score that each distortion at each level was given, read from a CSV file."""

from pathlib import Path

from mobileiqa.datasets.label_files import Row, read_csv
from mobileiqa.errors import UserError

SCORE_NAME = "transferred KADID score"  # people scored other images with these distortions: never call it MOS
SCORE_RANGE = (1.0, 5.0)  # KADID-10k's rating scale, higher is better
HOW_TO_MAKE = "make one from KADID-10k: python -m mobileiqa.data severity KADID_PATH --out severity.csv"

_COLUMNS = ("distortion", "level", "mean_score")
_NUMBERS, _LEVELS = range(1, 26), range(1, 6)


def read(path: Path) -> dict[tuple[int, int], float]:
    """(distortion 1..25, level 1..5) -> mean human score, 1..5, all 125 of them, in order.

    Columns distortion, level and mean_score; others are not read. Raises UserError, naming the line, for a
    file that is not such a table, and for missing, doubled or unknown rows.
    """
    try:
        rows = read_csv(path, _COLUMNS)
        scores: dict[tuple[int, int], float] = {}
        for row in rows:
            key, score = _entry(row)
            if key in scores:
                raise UserError("one row per distortion and level", f"a second one in {row.where}", "")
            scores[key] = score
    except UserError as error:
        raise UserError(error.expected, error.actual, HOW_TO_MAKE) from error
    missing = [(n, level) for n in _NUMBERS for level in _LEVELS if (n, level) not in scores]
    if missing:
        number, level = missing[0]
        raise UserError(
            f"a row for each of {len(_NUMBERS) * len(_LEVELS)} distortions and levels in {path}",
            f"{len(missing)} missing (distortion {number}, level {level}...)",
            HOW_TO_MAKE,
        )
    return dict(sorted(scores.items()))


def _entry(row: Row) -> tuple[tuple[int, int], float]:
    number, level, score = row.count("distortion"), row.count("level"), row.number("mean_score")
    low, high = SCORE_RANGE
    if number not in _NUMBERS or level not in _LEVELS or not low <= score <= high:
        raise UserError(
            f"distortion 1..25, level 1..5 and a score of {low:g}..{high:g} in {row.where}",
            f"{number}, {level} and {score:g}",
            "",
        )
    return (number, level), score
