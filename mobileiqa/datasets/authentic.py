"""Photographs as people took them: UHD-IQA, KonIQ-10k, SPAQ, BID, LIVE in the Wild.

Every reader takes the set's folder and a seed, and reads the layout that the set is published in (table.py
says which). Case differences between labels and files are bridged where the published set has them.
"""

from pathlib import Path

from mobileiqa.datasets.core import Dataset
from mobileiqa.datasets.label_files import (
    FETCH_AGAIN,
    Row,
    excel_lines,
    images_by_name,
    read_csv,
    read_excel,
    read_matlab,
    subfolder,
)
from mobileiqa.datasets.labels import Label, Scale, assemble
from mobileiqa.errors import UserError

LIVE_TRAINING = 7  # the first images of LIVE in the Wild trained the raters and are not scored for use


def uhd_iqa(root: Path, seed: int) -> Dataset:
    """UHD-IQA: the challenge's files, one per side, or the later release's single file."""
    whole = root / "uhd-iqa-metadata.csv"
    files = [whole] if whole.exists() else sorted(root.glob("uhd-iqa-*-metadata.csv"))
    if not files:
        raise UserError(f"uhd-iqa-*-metadata.csv in {root}", "none", FETCH_AGAIN)
    base = subfolder(root, "challenge", ".")
    labels = [
        _photo(row, base / row.text("set"), row.number("quality_mos"), row.text("set"))
        for file in files
        for row in read_csv(file, ("image_name", "quality_mos", "set"), FETCH_AGAIN)
    ]
    return assemble("uhd-iqa", labels, Scale("MOS", 0, 1), seed)


def koniq_10k(root: Path, seed: int) -> Dataset:
    """KonIQ-10k; the larger images where both sizes are there. A MOS of 1..5 is recognised by its values."""
    rows = read_csv(root / "koniq10k_distributions_sets.csv", ("image_name", "mos", "set"), FETCH_AGAIN)
    folder = subfolder(root, "1024x768", "512x384")
    labels = [_photo(row, folder, row.number("mos"), row.text("set")) for row in rows]
    scale = Scale("MOS", 1, 5) if max(label.score for label in labels) <= 5 else Scale("MOS", 0, 100)
    return assemble("koniq-10k", labels, scale, seed)


def spaq(root: Path, seed: int) -> Dataset:
    """SPAQ; the label file's name is spelled with blanks or with underscores."""
    folder = subfolder(root, "Annotations")
    name = "MOS and Image attribute scores.xlsx"
    underscored = folder / name.replace(" ", "_")
    rows = read_excel(underscored if underscored.exists() else folder / name, ("image_name", "mos"))
    images = subfolder(root, "TestImage")
    return assemble(
        "spaq", [_photo(row, images, row.number("mos")) for row in rows], Scale("MOS", 0, 100), seed
    )


def bid(root: Path, seed: int) -> Dataset:
    """BID: the first two columns are the image's number and its grade, below one line of headings."""
    file = root / "DatabaseGrades.xlsx"
    lines = excel_lines(file)
    headings = lines[0][1] if lines else ()
    if any(isinstance(cell, int | float) for cell in headings):
        raise UserError(f"headings in the first row of {file.name}", f"{headings}", FETCH_AGAIN)
    images = images_by_name([root])
    labels = []
    for where, cells in lines[1:]:
        if all(cell is None for cell in cells[:2]):
            continue  # the sheet goes on below the grades
        row = Row(where, dict(zip(("number", "grade"), cells, strict=False)))
        image = f"DatabaseImage{row.count('number'):04d}.JPG"
        path = images.get(image.lower(), root / image)
        labels.append(Label(where, image, path, row.number("grade")))
    return assemble("bid", labels, Scale("MOS", 0, 5), seed)


def live_itw(root: Path, seed: int) -> Dataset:
    """LIVE in the Wild, without the raters' training images."""
    data, folder = subfolder(root, "Data"), subfolder(root, "Images")
    files = ("AllImages_release", "AllMOS_release")
    names, scores = read_matlab({data / f"{name}.mat": name for name in files})
    if len(names) != len(scores):
        raise UserError(
            f"as many names as scores in {data}", f"{len(names)} names, {len(scores)} scores", FETCH_AGAIN
        )
    images = images_by_name([folder])
    labels = []
    for number, pair in enumerate(zip(names, scores, strict=True), 1):
        row = Row(f"AllMOS_release.mat, entry {number}", dict(zip(("name", "mos"), pair, strict=True)))
        image = row.text("name")
        path = images.get(image.lower(), folder / image)
        labels.append(Label(row.where, image, path, row.number("mos")))
    return assemble("live-itw", labels[LIVE_TRAINING:], Scale("MOS", 0, 100), seed)


def _photo(row: Row, folder: Path, score: float, split: str = "") -> Label:
    image = row.text("image_name")
    return Label(row.where, image, folder / image, score, split)
