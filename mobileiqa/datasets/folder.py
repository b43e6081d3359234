"""Any folder of images with a CSV: what a user labelled, or what `python -m mobileiqa.distort` wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobileiqa import typed_json
from mobileiqa.datasets.core import Dataset
from mobileiqa.datasets.label_files import Row, existing, read_csv
from mobileiqa.datasets.labels import Label, Scale, assemble, outside
from mobileiqa.datasets.splits import refuse_other_column
from mobileiqa.errors import UserError
from mobileiqa.text import csv_name
from mobileiqa.training_record import check_keys

LABELS = "labels.csv"
ABOUT = "dataset.json"
LARGEST = 1e12  # of scores; also refuses infinity and NaN as a range


def folder(path: Path, seed: int, allow_outside: bool = False) -> Dataset:
    """A folder with labels.csv, or the CSV itself: columns image (relative to the CSV) and score.

    Optional columns: split, reference, distortion, level, distortion_name. An optional dataset.json beside
    the CSV gives {"range": [low, high], "score_name": "MOS"}; without a range the data's own is taken, and
    Dataset.range_rule says so. Images elsewhere (absolute paths, `..`) need `allow_outside`.
    """
    file = path / LABELS if path.is_dir() else path
    todo = f"correct {file.name}" if file.exists() else _missing(path, file)
    rows = read_csv(file, ("image", "score"), todo)
    refuse_other_column([row.cells for row in rows], file.name)
    labels = [_label(row, file.parent) for row in rows]
    _check_range(labels)
    about = _about(file.with_name(ABOUT))
    keys = _reference_keys(about.get("reference_keys", {}), file.with_name(ABOUT))
    named = {label.reference for label in labels if label.reference}
    pristine = {name: file.parent / name for name in named if allow_outside or not outside(name)}
    return assemble("folder", labels, _scale(about, labels, file), seed, keys, allow_outside, pristine)


def _label(row: Row, base: Path) -> Label:
    """Cells of optional columns may be empty, except split's: a side is given for all images or for none."""

    def filled(column: str) -> bool:
        return bool(str(row.cells.get(column) or "").strip())

    image = row.image("image", base)
    return Label(
        where=row.where,
        image=image,
        path=base / image,
        score=row.number("score"),
        split=row.text("split") if "split" in row.cells else "",
        reference=csv_name(row.text("reference")) if filled("reference") else "",
        distortion=row.count("distortion") if filled("distortion") else 0,
        level=row.count("level") if filled("level") else 0,
        distortion_name=csv_name(row.text("distortion_name")) if filled("distortion_name") else "",
    )


def _check_range(labels: Sequence[Label]) -> None:
    """Scores beyond any scale would overflow once they are brought to 0..1."""
    for label in labels:
        if abs(label.score) >= LARGEST:
            raise UserError(
                f"a score below {LARGEST:g} for {label.image} in {label.where}",
                f"{label.score:g}",
                "correct it",
            )


def _missing(path: Path, file: Path) -> str:
    """What to do where there is no label file: name one of another name, or write it."""
    others = sorted(
        other.name for other in path.glob("*.*") if other.suffix.lower() in (".csv", ".tsv", ".txt")
    )
    if others:
        return f"name the label file itself, such as {path / others[0]}"
    return f"write {file.name} with the columns image,score, or name the label file itself"


def _about(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content = existing(path, "a description", "remove it").read_bytes()
    return typed_json.parse_object(content, str(path), "correct or remove it")


def _reference_keys(value: Any, path: Path) -> dict[str, str]:
    """Pixel keys of pristine images, as `python -m mobileiqa.distort` writes them."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value.values()):
        raise UserError(
            f'"reference_keys": {{name: key}} in {path}', repr(value)[:60], "correct or remove it"
        )
    check_keys(value.values(), str(path))
    return value


def _scale(about: dict[str, Any], labels: Sequence[Label], file: Path) -> Scale:
    name = about.get("score_name", "score")
    if not isinstance(name, str):
        raise UserError(f"text as score_name in {file.with_name(ABOUT)}", repr(name), "correct it")
    if "range" in about:
        return Scale(name, *_range(about["range"], file.with_name(ABOUT)), f"given in {ABOUT}")
    low, high = min(label.score for label in labels), max(label.score for label in labels)
    if low == high:
        raise UserError(
            f"scores that differ in {file}, or a {ABOUT} beside it with their range",
            f"{low:g} for every image",
            f'write {{"range": [low, high]}} to {ABOUT}',
        )
    return Scale(name, low, high, f"the data's own minimum and maximum: there is no range in a {ABOUT}")


def _range(value: Any, path: Path) -> tuple[float, float]:
    numbers = isinstance(value, list) and all(type(v) in (int, float) and abs(v) < LARGEST for v in value)
    if not (numbers and len(value) == 2 and value[0] < value[1]):
        raise UserError(f'"range": [low, high] in {path}', repr(value), "correct it")
    return float(value[0]), float(value[1])
