"""The validation split: which images calibrate the candidates of a search, and which others validate them.

With a folder of images, the whole calibration set calibrates and the folder validates: what is measured is then the
very file that is published. Without one, every third scene of the calibration set validates and the rest calibrates;
the recipe of that search is applied with the whole set in the end.
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

MOST = 200  # validation images; a ranking of so many is known to a thousandth
LEAST = 8  # fewer rank by luck
SHARE = 3  # one in three validates, where one set does both


@dataclass(frozen=True)
class ValidationSplit:
    """A calibration set, which of its images calibrate candidates (indices), and the pictures that validate them."""

    calibration: CalibrationSet
    calibrating: tuple[int, ...]
    validation: tuple[Picture, ...]
    validation_sha256: str
    source: str  # where the validation pictures are from, for people

    @property
    def calibrating_sha256(self) -> str:
        """Of the set and of the part of it that calibrates."""
        return hashlib.sha256(f"{self.calibration.sha256} {self.calibrating}".encode()).hexdigest()

    def calibration_inputs(self) -> Iterator[Inputs]:
        """The calibrating images, prepared, one at a time."""
        for index in self.calibrating:
            yield prepare(self.calibration.picture(index), self.calibration.spec)

    def validation_inputs(self) -> Iterator[Inputs]:
        """The validation images, prepared, one at a time."""
        for _, picture in self.validation:
            yield prepare(picture, self.calibration.spec)


def split_with_folder(calibration: CalibrationSet, path: Path) -> ValidationSplit:
    """All of `calibration` calibrates; the images of a folder (MOST of them, spread evenly) validate.

    Raises UserError for too few images, and for one that is in the calibration set too.
    """
    search = search_images([path])
    if search.left_out:
        cli.note(f"{path}: {search}")
    files = spread_evenly(search.images, MOST)
    if len(files) < LEAST:
        raise UserError(
            f"at least {LEAST} images to validate candidates in {path}", f"{len(files)}", "add images"
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
    validation = tuple((str(file.relative_to(folder)), file) for file in files)
    everything = tuple(range(len(calibration.images)))
    return ValidationSplit(
        calibration, everything, validation, _joined(hashes), f"{len(files)} images of {path}"
    )


def split_scenes(calibration: CalibrationSet) -> ValidationSplit:
    """Every third scene of the set validates, the others calibrate. Pictures of one reference are one scene.

    Raises UserError for a set too small to be divided.
    """
    scenes = [photo.reference or photo.id for photo in calibration.images]
    validating = set(list(dict.fromkeys(scenes))[SHARE - 1 :: SHARE])
    validation = [index for index, scene in enumerate(scenes) if scene in validating]
    if len(validation) < LEAST:
        raise UserError(
            f"a calibration set of at least {SHARE * LEAST} scenes, a third of which validates the candidates",
            f"{len(set(scenes))} scenes, {len(validation)} images to validate by",
            "select more with python -m calibration.select, or give --images to validate by",
        )
    pictures = tuple((calibration.images[index].id, _picture(calibration, index)) for index in validation)
    hashes = [calibration.images[index].pixels_sha256 for index in validation]
    rest = tuple(index for index in range(len(scenes)) if index not in set(validation))
    source = f"{len(validation)} images of the calibration set, left out of the calibration while searching"
    return ValidationSplit(calibration, rest, pictures, _joined(hashes), source)


def spread_evenly(items: Sequence[T], count: int) -> list[T]:
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
