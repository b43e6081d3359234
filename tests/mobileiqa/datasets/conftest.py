"""Tiny copies of every set's layout, as it lies on disk: real CSV, Excel and MATLAB files, small images."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REFERENCES = 10


def picture(path: Path) -> Path:
    """A small image in the format of its suffix, at `path`."""
    data = io.BytesIO()
    form = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}[path.suffix.lower()]
    Image.new("RGB", (8, 6), (90, 120, 200)).save(data, form)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return path


def text(path: Path, *lines: str) -> Path:
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def excel(path: Path, *rows: tuple) -> Path:
    """A workbook of one sheet with these rows."""
    from openpyxl import Workbook

    path.parent.mkdir(parents=True, exist_ok=True)
    workbook = Workbook()
    for row in rows:
        workbook.active.append(row)
    workbook.save(path)
    return path


def uhd_iqa(root: Path) -> None:
    for side, numbers in (("training", (1, 2)), ("validation", (3,))):
        for number in numbers:
            picture(root / "challenge" / side / f"{number}.jpg")
        rows = [f"{number}.jpg,0.{number}5,{side}" for number in numbers]
        text(root / f"uhd-iqa-{side}-metadata.csv", "image_name,quality_mos,set", *rows)


def koniq_10k(root: Path) -> None:
    rows = []
    for number, (mos, side) in enumerate([(20.5, "training"), (71.25, "validation"), (88, "test")], 1):
        picture(root / "1024x768" / f"{number}.jpg")
        rows.append(f"{number}.jpg,0.1,0.2,0.3,0.2,0.2,100,{mos},10,{side}")
    text(root / "koniq10k_distributions_sets.csv", "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set", *rows)


def spaq(root: Path) -> None:
    rows = [(picture(root / "TestImage" / f"{n:05d}.jpg").name, 9.5 * n, 50) for n in range(1, 11)]
    head = ("Image name", "MOS", "Brightness")
    excel(root / "Annotations" / "MOS and Image attribute scores.xlsx", head, *rows)


def bid(root: Path) -> None:
    numbers = range(3, 13)  # the real set has gaps, too
    for number in numbers:
        picture(root / f"DatabaseImage{number:04d}.JPG")
    rows = [(number, number * 0.4, 0.1) for number in numbers]
    excel(
        root / "DatabaseGrades.xlsx",
        ("Image Number", "Average Subjective Grade", "std"),
        *rows,
        (None, None, "586 images"),
    )


def live_itw(root: Path) -> None:
    trainers = [f"t{n}.bmp" for n in range(1, 8)]
    names = trainers + [f"{n}.bmp" for n in range(1, 10)] + ["10.JPG"]
    for name in names[7:]:
        picture(root / "Images" / name.lower())  # the label spells one in capitals
    matlab(root, names, np.arange(len(names)) * 5.5)


def matlab(root: Path, names: list[str], scores: np.ndarray) -> None:
    """LIVE's two files: an N x 1 cell array of names, a 1 x N row of scores."""
    from scipy.io import savemat

    (root / "Data").mkdir(parents=True, exist_ok=True)
    cells = np.empty((len(names), 1), object)
    for place, name in enumerate(names):
        cells[place, 0] = name
    savemat(root / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": np.asarray(scores)[None]})


def kadid_10k(root: Path) -> None:
    rows = []
    for reference in range(1, REFERENCES + 1):
        for number, level in ((1, 1), (1, 5), (25, 3)):
            name = f"I{reference:02d}_{number:02d}_{level:02d}.png"
            picture(root / "images" / name)
            rows.append(f"{name},I{reference:02d}.png,{5 - 0.5 * level - 0.1 * reference:.2f},0.6")
    text(root / "dmos.csv", "dist_img,ref_img,dmos,var", *rows)


def tid2013(root: Path) -> None:
    rows = []
    for reference in range(1, REFERENCES + 1):
        for number, level in ((1, 1), (24, 5)):
            name = f"I{reference:02d}_{number:02d}_{level}.bmp"
            picture(root / "distorted_images" / (name.lower() if reference % 2 else name))
            rows.append(f"{7 - level + 0.1 * reference:.5f} {name}")
    text(root / "mos_with_names.txt", *rows)


def pipal(root: Path) -> None:
    for reference in range(1, REFERENCES + 1):
        rows = []
        for kind in (0, 6):
            name = f"A{reference:04d}_{kind:02d}_01.bmp"
            picture(root / f"Distortion_{1 + reference % 4}" / name)
            rows.append(f"{name},{1000 + 50 * kind + reference}.5")
        text(root / "Train_Label" / f"A{reference:04d}.txt", *rows)
    (root / "Distortion_1.rar").write_bytes(b"the archive it came in")


def folder(root: Path) -> None:
    rows = []
    for reference in range(1, REFERENCES + 1):
        for level in (1, 5):
            name = f"images/r{reference}_10_{level}.png"
            picture(root / name)
            rows.append(f"{name},{5 - 0.7 * level:.4f},r{reference},10,{level}")
    text(root / "labels.csv", "image,score,reference,distortion,level", *rows)
    text(root / "dataset.json", '{"range": [1, 5], "score_name": "transferred KADID score"}')


LAYOUTS = {
    "uhd-iqa": uhd_iqa, "koniq-10k": koniq_10k, "spaq": spaq, "bid": bid, "live-itw": live_itw,
    "kadid-10k": kadid_10k, "tid2013": tid2013, "pipal": pipal, "folder": folder,
}  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Callable[[str], Path]:
    """layout(name): a fresh tiny copy of the set, complete and correct."""

    def make(name: str) -> Path:
        root = tmp_path / name
        root.mkdir()
        LAYOUTS[name](root)
        return root

    return make


@pytest.fixture
def write() -> dict[str, Callable]:
    """The writers above by name: text, excel, matlab, picture."""
    return {"text": text, "excel": excel, "matlab": matlab, "picture": picture}
