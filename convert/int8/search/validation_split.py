"""Which images calibrate the candidates of a search, and which others judge them.

With a folder of images, the whole calibration set calibrates and the folder judges: what is judged is then the very
file that is published. Without one, every third scene of the calibration set judges and the rest calibrates; the
recipe found that way is applied with the whole set in the end.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from calibration.photos import file_sha256
from calibration.sets import CalibrationSet
from convert.int8.statistics.interpreter import Inputs
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.photos.search import search_images
from mobileiqa.preprocess import prepare

T = TypeVar("T")
Picture = tuple[str, Image.Image | Path]  # what a report calls it, and the picture or its file

MOST = 200  # images that judge; a ranking of so many is known to a thousandth
LEAST = 8  # fewer rank by luck
SHARE = 3  # one in three judges, where one set does both


@dataclass(frozen=True)
class Division:
    """A calibration set, which of its images calibrate candidates (indices), and the pictures that judge them."""

    calibration: CalibrationSet
    calibrating: tuple[int, ...]
    judging: tuple[Picture, ...]
    judging_sha256: str
    source: str  # where the judging pictures are from, for people

    @property
    def calibrating_sha256(self) -> str:
        """Of the set and of the part of it that calibrates."""
        return hashlib.sha256(f"{self.calibration.sha256} {self.calibrating}".encode()).hexdigest()

    def calibration_inputs(self) -> Iterator[Inputs]:
        """The calibrating images, prepared, one at a time."""
        for index in self.calibrating:
            yield prepare(self.calibration.picture(index), self.calibration.spec)

    def judging_inputs(self) -> Iterator[Inputs]:
        """The judging images, prepared, one at a time."""
        for _, picture in self.judging:
            yield prepare(picture, self.calibration.spec)


def beside(calibration: CalibrationSet, path: Path) -> Division:
    """All of `calibration` calibrates; the images of a folder (MOST of them, spread evenly) judge.

    Raises UserError for too few images, and for one that is in the calibration set too.
    """
    search = search_images([path])
    if search.left_out:
        cli.note(f"{path}: {search}")
    files = evenly(search.images, MOST)
    if len(files) < LEAST:
        raise UserError(
            f"at least {LEAST} images to judge candidates in {path}", f"{len(files)}", "add images"
        )
    hashes = [file_sha256(file) for file in files]
    known = {photo.sha256 for photo in calibration.images}
    shared = [file for file, digest in zip(files, hashes, strict=True) if digest in known]
    if shared:
        raise UserError(
            f"images in {path} that did not calibrate",
            f"{len(shared)} that are in the calibration set too, such as {shared[0].name}",
            "leave them out of one of the two",
        )
    folder = path if path.is_dir() else path.parent
    judging = tuple((str(file.relative_to(folder)), file) for file in files)
    everything = tuple(range(len(calibration.images)))
    return Division(calibration, everything, judging, _joined(hashes), f"{len(files)} images of {path}")


def divide(calibration: CalibrationSet) -> Division:
    """Every third scene of the set judges, the others calibrate. Pictures of one reference are one scene.

    Raises UserError for a set too small to be divided.
    """
    scenes = [photo.reference or photo.id for photo in calibration.images]
    held = set(list(dict.fromkeys(scenes))[SHARE - 1 :: SHARE])
    judging = [index for index, scene in enumerate(scenes) if scene in held]
    if len(judging) < LEAST:
        raise UserError(
            f"a calibration set of at least {SHARE * LEAST} scenes, a third of which judges the candidates",
            f"{len(set(scenes))} scenes, {len(judging)} images to judge by",
            "select more with python -m calibration.select, or give --images to judge by",
        )
    pictures = tuple((calibration.images[index].id, _picture(calibration, index)) for index in judging)
    hashes = [calibration.images[index].pixels_sha256 for index in judging]
    rest = tuple(index for index in range(len(scenes)) if index not in set(judging))
    source = f"{len(judging)} images of the calibration set, left out of the calibration while searching"
    return Division(calibration, rest, pictures, _joined(hashes), source)


def evenly(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, spread evenly over them, first and last included."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _picture(calibration: CalibrationSet, index: int) -> Image.Image | Path:
    """The file, or the picture where it is generated."""
    return (
        calibration.folder / calibration.images[index].id
        if calibration.folder
        else calibration.picture(index)
    )


def _joined(hashes: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()
