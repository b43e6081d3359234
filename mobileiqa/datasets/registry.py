"""READERS: every set by name, and what its folder must hold. `read` is the one way in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mobileiqa.datasets import authentic, synthetic
from mobileiqa.datasets.core import Dataset
from mobileiqa.datasets.folder import folder
from mobileiqa.datasets.splits import SPLIT_SEED
from mobileiqa.errors import UserError


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
        authentic.uhd_iqa, "[challenge/]{training,validation,test}/N.jpg",
        "uhd-iqa-*-metadata.csv or uhd-iqa-metadata.csv: image_name, quality_mos, set", "MOS 0..1", "official",
    ),
    "koniq-10k": Reader(
        authentic.koniq_10k, "1024x768/ or 512x384/",
        "koniq10k_distributions_sets.csv: image_name, MOS, set", "MOS 0..100 or 1..5", "official",
    ),
    "spaq": Reader(
        authentic.spaq, "TestImage/NNNNN.jpg",
        "Annotations/MOS and Image attribute scores.xlsx: Image name, MOS", "MOS 0..100", _BY_IMAGE,
    ),
    "bid": Reader(
        authentic.bid, "DatabaseImageNNNN.JPG",
        "DatabaseGrades.xlsx: number, grade", "MOS 0..5", _BY_IMAGE,
    ),
    "live-itw": Reader(
        authentic.live_itw, "Images/",
        "Data/AllImages_release.mat, Data/AllMOS_release.mat", "MOS 0..100", _BY_IMAGE,
    ),
    "kadid-10k": Reader(
        synthetic.kadid_10k, "images/I01_01_01.png",
        "dmos.csv: dist_img, ref_img, dmos", "DMOS 1..5, higher is better", _BY_REFERENCE,
    ),
    "tid2013": Reader(
        synthetic.tid2013, "distorted_images/i01_01_1.bmp",
        "mos_with_names.txt: mos name", "MOS 0..9", _BY_REFERENCE,
    ),
    "pipal": Reader(
        synthetic.pipal, "Distortion_*/ or Dist_Imgs/A0001_00_00.bmp",
        "Train_Label/*.txt: name,elo", "Elo 900..1850", _BY_REFERENCE,
    ),
    "folder": Reader(
        folder, "anywhere",
        "labels.csv (or PATH is the CSV): image, score [, split, reference, distortion, level]; "
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
