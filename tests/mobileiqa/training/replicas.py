"""Small generated replicas of published sets, every image another one, for training and evaluating on them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Picture = Callable[[int, int, int], Image.Image]  # the `photo` fixture
SIDE = 72
LEVELS = (1, 3, 5)


def spaq(root: Path, photo: Picture, count: int = 30) -> Path:
    """Photos, split by image."""
    from openpyxl import Workbook

    workbook = Workbook()
    workbook.active.append(("Image name", "MOS"))
    (root / "TestImage").mkdir(parents=True)
    for number in range(1, count + 1):
        name = f"{number:05d}.jpg"
        photo(number, SIDE, SIDE).save(root / "TestImage" / name, quality=95)
        workbook.active.append((name, 3.0 * number))
    (root / "Annotations").mkdir()
    workbook.save(root / "Annotations" / "MOS and Image attribute scores.xlsx")
    return root


def kadid_10k(root: Path, photo: Picture, references: int = 10) -> Path:
    """One distortion at three levels, split by reference."""
    (root / "images").mkdir(parents=True)
    rows = [("dist_img", "ref_img", "dmos", "var")]
    for reference in range(1, references + 1):
        for level in LEVELS:
            name = f"I{reference:02d}_17_{level:02d}.png"
            darkened(photo(reference, SIDE, SIDE), level).save(root / "images" / name)
            rows.append((name, f"I{reference:02d}.png", f"{5 - 0.7 * level - 0.01 * reference:.3f}", "0.5"))
    _write(root / "dmos.csv", rows)
    return root


def tid2013(root: Path, photo: Picture, references: int = 10) -> Path:
    """The same in TID2013's layout."""
    (root / "distorted_images").mkdir(parents=True)
    lines = []
    for reference in range(1, references + 1):
        for level in LEVELS:
            name = f"I{reference:02d}_16_{level}.bmp"
            darkened(photo(reference, SIDE, SIDE), level).save(root / "distorted_images" / name.lower())
            lines.append(f"{7 - level + 0.01 * reference:.3f} {name}\n")
    (root / "mos_with_names.txt").write_text("".join(lines))
    return root


def folder(root: Path, photo: Picture, count: int = 30) -> Path:
    """A user's own photos, split by image."""
    root.mkdir(parents=True)
    rows: list[tuple] = [("image", "score")]
    for number in range(count):
        photo(number, SIDE, SIDE).save(root / f"p{number}.png")
        rows.append((f"p{number}.png", 0.2 + 0.1 * number))
    _write(root / "labels.csv", rows)
    return root


SETS = {"spaq": spaq, "kadid-10k": kadid_10k, "tid2013": tid2013, "folder": folder}


def darkened(image: Image.Image, level: int) -> Image.Image:
    return Image.fromarray((np.asarray(image) * (1 - 0.12 * level)).astype(np.uint8))


def _write(path: Path, rows: list[tuple]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
