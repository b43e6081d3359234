"""What is measured of an image before it may calibrate: hashes, size, brightness, saturation, colour.

Everything is measured on the upright 8-bit RGB picture that a model would see before it is resized, so that an
image in another mode, or the same picture in another file, compares as what it is.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mobileiqa import cli
from mobileiqa.errors import UserError, one_line
from mobileiqa.photos.loading import load_image
from mobileiqa.photos.search import search_images

HASH_SIDE = 8  # 8x8 differences across and 8x8 down: 128 bits
FLAT = 8  # a thumbnail whose grey levels span less has differences that are noise, and no difference hash
GREY = 2.0  # mean distance of the largest from the smallest channel, 0..255, below which a picture is grey

Stratum = tuple[tuple[str, str], ...]  # (property, bin), see stratified_sampling.py


@dataclass(frozen=True)
class Photo:
    """One image, what was measured of it, and what its labels say."""

    id: str  # path inside the folder, with "/" on every system
    sha256: str  # of the file; of the pixels where the image is generated
    pixels_sha256: str  # of the decoded picture: equal for two files that show the same pixels
    width_px: int
    height_px: int
    luminance: float  # mean luma (BT.601), 0..1
    black: float  # share of channel samples that are 0
    white: float  # share of channel samples that are 255
    grey: bool
    difference_hash: str  # 32 hex digits; empty for pictures that are too flat to compare
    score: float | None = None  # as given, in the scale of its file
    distortion: str = ""
    reference: str = ""
    stratum: Stratum = ()
    prepared_sha256: str = ""  # of the model's inputs; only chosen images have it

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix, lower case."""
        return Path(self.id).stem.lower()

    @property
    def megapixels(self) -> float:
        """Width times height in millions."""
        return self.width_px * self.height_px / 1e6


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read, and why."""

    id: str
    reason: str


def measure(rgb: Image.Image, name: str, file_sha256: str = "") -> Photo:
    """The Photo of a mode RGB picture; without a file its `sha256` is that of its pixels."""
    pixels = pixels_sha256(rgb)
    grey = rgb.convert("L")
    levels = np.array(grey.histogram(), np.int64)
    samples = np.array(rgb.histogram(), np.int64).reshape(3, 256)
    return Photo(
        id=name,
        sha256=file_sha256 or pixels,
        pixels_sha256=pixels,
        width_px=rgb.width,
        height_px=rgb.height,
        luminance=round(float(levels @ np.arange(256)) / float(levels.sum()) / 255, 4),
        black=round(float(samples[:, 0].sum() / samples.sum()), 4),
        white=round(float(samples[:, 255].sum() / samples.sum()), 4),
        grey=_is_grey(rgb),
        difference_hash=difference_hash(grey),
    )


def pixels_sha256(rgb: Image.Image) -> str:
    """SHA-256 in hex of a picture's size and its pixels."""
    return hashlib.sha256(f"{rgb.width}x{rgb.height} ".encode() + rgb.tobytes()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 in hex of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def difference_hash(grey: Image.Image) -> str:
    """128 bits in hex: is each cell of a 9x9 thumbnail brighter than its left, and than its upper, neighbour?

    Copies of a picture that were scaled or compressed differ in few bits (see leakage.NEAR), other pictures in
    about half. Empty where the thumbnail spans fewer than FLAT grey levels. After N. Krawetz's dHash.
    """
    side = HASH_SIDE + 1
    cells = np.asarray(grey.resize((side, side), Image.Resampling.BOX)).astype(np.int16)
    if int(cells.max()) - int(cells.min()) < FLAT:
        return ""
    across = cells[:HASH_SIDE, 1:] > cells[:HASH_SIDE, :-1]
    down = cells[1:, :HASH_SIDE] > cells[:-1, :HASH_SIDE]
    return np.packbits(np.concatenate([across.ravel(), down.ravel()])).tobytes().hex()


def _is_grey(rgb: Image.Image) -> bool:
    """Judged on a thumbnail, in which the colour noise of a JPEG of a grey picture is averaged out."""
    cells = np.asarray(rgb.resize((64, 64), Image.Resampling.BOX))
    return bool(np.ptp(cells, axis=-1).mean() < GREY)


def read_folder(folder: Path, what: str) -> tuple[list[Photo], list[Unreadable]]:
    """`read_photos` of every image below a folder; photos of a format that is not read here are unreadable ones.

    Notes on stderr what is left out. Raises UserError where there is no image.
    """
    search = search_images([folder])
    if search.left_out:
        cli.note(f"{folder}: {search}")
    return read_photos([*search.images, *search.unread], folder, what)


def read_photos(
    paths: Sequence[Path], folder: Path | None, what: str
) -> tuple[list[Photo], list[Unreadable]]:
    """The Photos of image files, in order, and those that cannot be read; `what` names the progress bar.

    Ids are paths inside `folder`, or as given where they are not inside it.
    """
    photos, broken = [], []
    for path in cli.progress(paths, what, len(paths)):
        name = image_id(path, folder)
        try:
            photos.append(measure(load_image(path), name, file_sha256(path)))
        except UserError as error:
            broken.append(Unreadable(name, one_line(str(error))))
    return photos, broken


def image_id(path: Path, folder: Path | None) -> str:
    """The path inside `folder`, with "/"; as given where it is not inside."""
    inside = folder is not None and path.is_relative_to(folder)
    return (path.relative_to(folder) if inside and folder is not None else path).as_posix()


def refuse_unreadable(broken: Iterable[Unreadable], total: int, skip: bool) -> None:
    """Notes every unreadable image on stderr; raises UserError unless they may be skipped."""
    broken = list(broken)
    for image in broken:
        cli.warn(f"left out {image.id}: {image.reason}")
    if broken and not skip:
        raise UserError(
            f"{total} images that can be read",
            f"{len(broken)} that cannot ({broken[0].id}{', ...' if len(broken) > 1 else ''})",
            "copy them again, or leave them out with --skip-unreadable",
        )
