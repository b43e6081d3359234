"""Vote files: a CSV with c1..c5, how many viewers gave an image 1 to 5, as counts or as fractions of c_total.

KonIQ-10k's two files are read as they are. A file is counts throughout or fractions throughout; which one follows
from its sums, never from a guess about one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileiqa.datasets.label_files import Row, read_csv
from mobileiqa.errors import UserError

COLUMNS = ("c1", "c2", "c3", "c4", "c5")
NAMES = ("image_name", "image", "image_id")
MOST_VOTES = 10**9  # of an image: more is a mistake, and would cost digits
_SUM = 3e-3  # how far fractions may add up from 1: files may hold 3 digits
_WHOLE = 0.1  # how far fraction * c_total may be from a whole number of votes


@dataclass(frozen=True)
class Votes:
    """Names (B,), counts (B, 5) as whole numbers in float64, how they were stored, and the MOS column if any."""

    names: tuple[str, ...]
    counts: NDArray[np.float64]
    stored_as: str  # "counts" or "fractions"
    mos: NDArray[np.float64] | None = None


def read(path: Path, subset: str | None = None) -> Votes:
    """The votes of a CSV file; `subset` keeps the rows whose column set has that value, in any case.

    Raises UserError, naming the line, for missing columns, names that repeat, cells that are not numbers of 0 or
    more, images without votes, and sums that fit neither counts nor fractions.
    """
    rows = read_csv(path, COLUMNS)
    name_column = next((name for name in NAMES if name in rows[0].cells), None)
    if name_column is None:
        columns = ", ".join(filter(None, rows[0].cells))
        raise UserError(f"a column {' or '.join(NAMES)} in {path}", f"columns {columns}", "add one")
    if subset is not None:
        rows = _of_set(path, rows, subset)
    names = _names(rows, name_column)
    values = np.array([[_amount(row, column) for column in COLUMNS] for row in rows])
    totals = [_total(row) for row in rows] if "c_total" in rows[0].cells else None
    counts, stored_as = _counts(rows, values, totals)
    mos = np.array([row.number("mos") for row in rows]) if "mos" in rows[0].cells else None
    return Votes(names, counts, stored_as, mos)


def _of_set(path: Path, rows: Sequence[Row], subset: str) -> list[Row]:
    if "set" not in rows[0].cells:
        raise UserError(f"a column set in {path}", "none", "leave --set out")
    members = [row for row in rows if row.text("set").lower() == subset.lower()]
    if not members:
        values = ", ".join(sorted({row.text("set") for row in rows})[:10])
        raise UserError(f"a set among {values} in {path}", repr(subset), "correct --set")
    return members


def _names(rows: Sequence[Row], column: str) -> tuple[str, ...]:
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row.text(column), row)
        if other is not row:
            raise UserError(
                f"{row.text(column)} once", f"it in {other.where} and in {row.where}", "remove one"
            )
    return tuple(first)


def _amount(row: Row, column: str) -> float:
    value = row.number(column)
    if not 0 <= value <= MOST_VOTES:
        raise UserError(
            f"0 to {MOST_VOTES:,} votes in column {column} of {row.where}", f"{value:g}", "correct it"
        )
    return value


def _total(row: Row) -> int:
    total = row.count("c_total")
    if not 0 < total <= MOST_VOTES:
        raise UserError(
            f"1 to {MOST_VOTES:,} votes in column c_total of {row.where}", str(total), "correct it"
        )
    return total


def _counts(
    rows: Sequence[Row], values: NDArray, totals: list[int] | None
) -> tuple[NDArray[np.float64], str]:
    """Whole counts (B, 5), and how the file stores them."""
    sums = values.sum(1)
    for row, total in zip(rows, sums, strict=True):
        if not total > 0:
            raise UserError(f"at least one vote in {row.where}", "none", "leave the image out")
    fractions = bool(np.all(np.abs(sums - 1) <= _SUM)) and (totals is None or max(totals) > 1)
    if fractions and totals is None and np.all(values == np.round(values)):
        fractions = False  # one vote an image
    if not fractions:
        return _whole(rows, values, totals), "counts"
    if totals is None:
        raise UserError(
            "a column c_total beside fractions of votes", "none", "add it: fractions have no weight"
        )
    counts = values * np.array(totals)[:, None]
    whole = np.round(counts)
    for row, count, rounded, total in zip(rows, counts, whole, totals, strict=True):
        if np.abs(count - rounded).max() > _WHOLE or rounded.sum() != total:
            shown = ", ".join(f"{n:.4g}" for n in count)
            raise UserError(
                f"fractions of {total} votes in {row.where}", f"{shown} votes", "store more digits, or counts"
            )
    return whole, "fractions"


def _whole(rows: Sequence[Row], values: NDArray, totals: list[int] | None) -> NDArray[np.float64]:
    for i, row in enumerate(rows):
        if np.any(values[i] != np.round(values[i])):
            shown = ", ".join(f"{n:g}" for n in values[i])
            raise UserError(
                f"whole numbers of votes in {row.where}", shown, "store counts, or fractions and c_total"
            )
        if totals is not None and values[i].sum() != totals[i]:
            raise UserError(
                f"c_total = c1 + ... + c5 in {row.where}",
                f"{totals[i]} and {values[i].sum():g}",
                "correct one",
            )
    return values
