"""What CSV files say about images: scores, distortions, references, and which rows are held out for testing.

Read as `python -m mobileiqa.score` and `python -m mobileiqa.distort` write them. An image is found by its path
as given, inside the CSV's folder, or inside the folder of the images, in this order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.photos import Photo
from mobileiqa.datasets import core
from mobileiqa.datasets.label_files import Row, read_csv
from mobileiqa.errors import UserError
from mobileiqa.text import csv_name


@dataclass(frozen=True)
class Labelled:
    """Photos with what a CSV says of them; `held_out`: ids whose split is test; `notes`: for every output.

    `unlisted`: ids of which the CSV says nothing, so that nobody knows whether they are test images.
    """

    photos: tuple[Photo, ...]
    held_out: frozenset[str] = frozenset()
    unlisted: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def with_scores(photos: Sequence[Photo], folder: Path, file: Path) -> Labelled:
    """The photos with the scores of a CSV: image, score [, note]; a row without a score gives none.

    Raises UserError for a malformed file, one that scores none of the images, and images scored twice.
    """
    rows = _matched(photos, folder, file, ("image", "score"))
    scored = {name: row.number("score") for name, row in rows.items() if _cell(row, "score")}
    if not scored:
        raise UserError(f"scores in {file} for the images in {folder}", "none", _again(folder, file))
    notes = [
        f"scores of {file.name}: {note}" for note in sorted({_cell(r, "note") for r in rows.values()} - {""})
    ]
    if missing := len(photos) - len(scored):
        notes.append(f"{missing} of {len(photos)} images have no score in {file.name}")
    return Labelled(tuple(replace(p, score=scored.get(p.id)) for p in photos), notes=tuple(notes))


def with_labels(photos: Sequence[Photo], folder: Path, file: Path) -> Labelled:
    """The photos with the score, reference and distortion of a folder set's labels.

    Columns: image, score and, where there are some, split, reference, distortion (a number) and
    distortion_name. Raises UserError as with_scores does.
    """
    rows = _matched(photos, folder, file, ("image", "score"))
    labelled = [_with_label(photo, rows.get(photo.id)) for photo in photos]
    held = frozenset(name for name, row in rows.items() if _is_test(row))
    return Labelled(tuple(labelled), held, frozenset(photo.id for photo in photos if photo.id not in rows))


def test_rows(file: Path) -> dict[Path, str]:
    """Image -> reference for the rows of a label CSV: those whose split is test, or all where it has no sides.

    Raises UserError for a malformed file, no test row, and images that are not there.
    """
    rows = read_csv(file, ("image",))
    core.refuse_other_column([row.cells for row in rows], file.name)
    rows = [row for row in rows if "split" not in row.cells or _is_test(row)]
    if not rows:
        raise UserError(f"rows of the test split in {file}", "none", "give the CSV of the test images")
    rows_by_name = {}
    for row in rows:
        names = _names(row, file.parent)
        options = [place / name for name in names for place in (file.parent, Path())]
        path = next((option for option in options if option.is_file()), None)
        if path is None:
            raise UserError(
                f"the image that {row.where} lists", f"nothing at {options[0]}", "correct the CSV"
            )
        rows_by_name[path] = csv_name(_cell(row, "reference"))
    return rows_by_name


def _with_label(photo: Photo, row: Row | None) -> Photo:
    if row is None:
        return photo
    number = row.count("distortion") if _cell(row, "distortion") else 0
    return replace(
        photo,
        score=row.number("score"),
        reference=csv_name(_cell(row, "reference")),
        distortion=_cell(row, "distortion_name") or (str(number) if number else ""),
    )


def _matched(photos: Sequence[Photo], folder: Path, file: Path, columns: Sequence[str]) -> dict[str, Row]:
    """Image id -> row. Rows about other images are left out; two rows about one image are refused."""
    ids = {(folder / photo.id).resolve(): photo.id for photo in photos}
    rows: dict[str, Row] = {}
    listed = read_csv(file, columns)
    core.refuse_other_column([row.cells for row in listed], file.name)
    for row in listed:
        name = _find(_names(row, file.parent), file.parent, folder, ids)
        if name is None:
            continue
        if name in rows:
            raise UserError(
                f"one row for {name} in {file}", f"{rows[name].where} and {row.where}", "remove one"
            )
        rows[name] = row
    if not rows:
        raise UserError(
            f"rows in {file} about the {len(photos)} images in {folder}", "none", _again(folder, file)
        )
    return rows


def _names(row: Row, beside: Path) -> list[str]:
    """The names that a cell may mean: as it stands, as our CSV files write odd ones, or with Windows' backslashes."""
    image = row.text("image")
    return list(dict.fromkeys((image, csv_name(image), row.image("image", beside))))


def _find(names: Sequence[str], beside: Path, folder: Path, ids: Mapping[Path, str]) -> str | None:
    options = (place / name for name in names for place in (Path(), beside, folder))
    return next((ids[path] for path in (option.resolve() for option in options) if path in ids), None)


def _is_test(row: Row) -> bool:
    return "split" in row.cells and core.parse_split(row.text("split"), row.where) == "test"


def _cell(row: Row, column: str) -> str:
    return str(row.cells.get(column) or "").strip()


def _again(folder: Path, file: Path) -> str:
    return (
        f"check that its paths start where they should, or write it again: python -m mobileiqa.score {folder}"
    )
