"""READERS: every set by name, and what its folder must hold; a folder of your own. `read` is the one way in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileiqa import typed_json
from mobileiqa.datasets import readers
from mobileiqa.datasets.core import SPLIT_SEED, Dataset, refuse_other_column
from mobileiqa.datasets.label_files import Row, existing, read_csv
from mobileiqa.datasets.labels import Label, Scale, assemble, outside, vote_shares
from mobileiqa.errors import UserError
from mobileiqa.text import csv_name
from mobileiqa.training_record import check_keys

LABELS = "labels.csv"
ABOUT = "dataset.json"
LARGEST = 1e12  # of scores; also refuses infinity and NaN as a range


def folder(path: Path, seed: int, allow_outside: bool = False) -> Dataset:
    """A folder with labels.csv, or the CSV itself: columns image (relative to the CSV) and score.

    Optional columns: split, reference, distortion, level, distortion_name, c1 to c5 (votes). An optional dataset.json
    beside the CSV gives {"range": [low, high], "score_name": "MOS"}; without a range the data's own is taken, and
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
        votes=vote_shares(row),
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


@dataclass(frozen=True)
class Reader:
    """How a set is read, and in words what is read: for errors and `python -m mobileiqa.data list`."""

    read: Callable[[Path, int], Dataset]
    images: str
    labels: str
    score: str
    split: str


_BY_IMAGE, _BY_REFERENCE = "70/10/20 by image and seed", "70/10/20 by reference and seed"

READERS: dict[str, Reader] = {
    "uhd-iqa": Reader(
        readers.uhd_iqa, "[challenge/]{training,validation,test}/N.jpg",
        "uhd-iqa-*-metadata.csv or uhd-iqa-metadata.csv: image_name, quality_mos, set", "MOS 0..1", "official",
    ),
    "koniq-10k": Reader(
        readers.koniq_10k, "1024x768/ or 512x384/",
        "koniq10k_distributions_sets.csv: image_name, MOS, set", "MOS 0..100 or 1..5", "official",
    ),
    "spaq": Reader(
        readers.spaq, "TestImage/NNNNN.jpg",
        "Annotations/MOS and Image attribute scores.xlsx: Image name, MOS", "MOS 0..100", _BY_IMAGE,
    ),
    "bid": Reader(
        readers.bid, "DatabaseImageNNNN.JPG",
        "DatabaseGrades.xlsx: number, grade", "MOS 0..5", _BY_IMAGE,
    ),
    "live-itw": Reader(
        readers.live_itw, "Images/",
        "Data/AllImages_release.mat, Data/AllMOS_release.mat", "MOS 0..100", _BY_IMAGE,
    ),
    "kadid-10k": Reader(
        readers.kadid_10k, "images/I01_01_01.png",
        "dmos.csv: dist_img, ref_img, dmos", "DMOS 1..5, higher is better", _BY_REFERENCE,
    ),
    "tid2013": Reader(
        readers.tid2013, "distorted_images/i01_01_1.bmp",
        "mos_with_names.txt: mos name", "MOS 0..9", _BY_REFERENCE,
    ),
    "pipal": Reader(
        readers.pipal, "Distortion_*/ or Dist_Imgs/A0001_00_00.bmp",
        "Train_Label/*.txt: name,elo", "Elo 900..1850", _BY_REFERENCE,
    ),
    "folder": Reader(
        folder, "anywhere",
        "labels.csv (or PATH is the CSV): image, score [, split, reference, distortion, level, c1..c5]; "
        "dataset.json: range, score_name",
        "any", "column split, else 70/10/20 by reference (or image) and seed",
    ),
}  # fmt: skip


def read(name: str, path: Path, seed: int = SPLIT_SEED, allow_outside: bool = False) -> Dataset:
    """The set `name` as it lies at `path`; `seed` draws the split where there is no official one.

    `allow_outside`: the labels of a `folder` may name images elsewhere.
    Raises UserError for an unknown name, and for every missing or malformed part.
    """
    if name not in READERS:
        raise UserError(f"a data set of {', '.join(READERS)}", repr(name), "correct the name")
    if seed < 0:
        raise UserError("a split seed of 0 or more", str(seed), "correct --split-seed")
    path = Path(path)
    if not (path.is_dir() or (name == "folder" and path.is_file())):
        kind = "a file" if path.exists() else "nothing"
        raise UserError(f"the folder of {name}", f"{kind} at {path}", "correct the path")
    return folder(path, seed, allow_outside) if name == "folder" else READERS[name].read(path, seed)
