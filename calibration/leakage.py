"""The same picture twice: duplicates within a set, and what a set shares with the split that tests the model.

An INT8 file whose ranges were fitted to test images is measured too kindly, so these are left out of a
selection and fail an audit: the same file, the same pixels, almost the same pixels, the same reference or the
same name. Names prove little, but a false alarm costs one calibration image, a missed one the measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.labels import test_rows
from calibration.photos import Photo, Unreadable, read_folder, read_photos

# Of 128 bits. Of 257 photographs every two different ones were at least 26 apart; 99 % of copies (JPEG 90, 50
# and 20, or two thirds of the size) were at most 10 from their original.
NEAR = 12
_ROWS = 512  # of the distance matrix at a time


KINDS = {  # the first two are a label file's own word; then strongest evidence first
    "unlisted": "is not listed in",
    "split": "is held out by",
    "file": "is the same file as",
    "pixels": "shows the same pixels as",
    "reference": "has the same reference as",
    "name": "has the same name as",
    "near": "looks nearly the same as",
}


@dataclass(frozen=True)
class Match:
    """Two images that are the same to some degree; `kind`: one of KINDS."""

    image: str
    other: str
    kind: str

    def __str__(self) -> str:
        return f"{self.image} {KINDS[self.kind]} {self.other}"


def read_test_split(path: Path) -> tuple[list[Photo], list[Unreadable]]:
    """Every image below a folder, or the rows of a label CSV (those of the test split where it has sides).

    Raises UserError for a missing path, an empty folder, a malformed CSV and images that are not there.
    """
    if not path.is_file() or path.suffix.lower() != ".csv":
        return read_folder(path, "reading the test split")
    references = {image.as_posix(): reference for image, reference in test_rows(path).items()}
    photos, broken = read_photos([Path(name) for name in references], None, "reading the test split")
    return [replace(photo, reference=references[photo.id]) for photo in photos], broken


def without_duplicates(photos: Sequence[Photo]) -> tuple[list[Photo], list[Match]]:
    """The first photo (by id) of every picture, and the copies that were left out."""
    files: dict[str, str] = {}
    pixels: dict[str, str] = {}
    distinct, copies = [], []
    for photo in sorted(photos, key=lambda photo: photo.id):
        if photo.sha256 in files:
            copies.append(Match(photo.id, files[photo.sha256], "file"))
        elif photo.pixels_sha256 in pixels:
            copies.append(Match(photo.id, pixels[photo.pixels_sha256], "pixels"))
        else:
            distinct.append(photo)
        files.setdefault(photo.sha256, photo.id)
        pixels.setdefault(photo.pixels_sha256, photo.id)
    return distinct, copies


def near_duplicates(photos: Sequence[Photo]) -> list[Match]:
    """Pairs whose difference hashes are at most NEAR bits apart, each pair once, the earlier id second.

    Images of one known reference are left out: they are meant to be alike.
    """
    hashed = sorted((p for p in photos if p.difference_hash), key=lambda photo: photo.id)
    pairs = _near(hashed, hashed)
    return [
        Match(hashed[i].id, hashed[j].id, "near")
        for i, j in pairs
        if j < i and (not hashed[i].reference or hashed[i].reference != hashed[j].reference)
    ]


def leaks(photos: Sequence[Photo], test: Sequence[Photo]) -> list[Match]:
    """For every photo that the test split knows, the strongest evidence: file, pixels, reference, name, near."""
    near: dict[str, str] = {}
    hashed, tested = ([p for p in side if p.difference_hash] for side in (photos, test))
    for i, j in _near(hashed, tested):
        near.setdefault(hashed[i].id, tested[j].id)
    tables = {
        "file": {photo.sha256: photo.id for photo in test},
        "pixels": {photo.pixels_sha256: photo.id for photo in test},
        "reference": {_content(photo): photo.id for photo in test},
        "name": {photo.stem: photo.id for photo in test},
    }
    matches = []
    for photo in photos:
        keys = {"file": photo.sha256, "pixels": photo.pixels_sha256, "reference": _content(photo)}
        keys["name"] = photo.stem
        kinds = [kind for kind, key in keys.items() if key in tables[kind]]
        if kinds:
            kind = _named(kinds[0], photo)
            matches.append(Match(photo.id, tables[kinds[0]][keys[kinds[0]]], kind))
        elif photo.id in near:
            matches.append(Match(photo.id, near[photo.id], "near"))
    return matches


def _content(photo: Photo) -> str:
    """What the picture shows: its reference, or itself where it has none (so that a reference is found)."""
    return Path(photo.reference).stem.lower() if photo.reference else photo.stem


def _named(kind: str, photo: Photo) -> str:
    """Two images without references that are called the same share a name, not a known reference."""
    return "name" if kind == "reference" and not photo.reference else kind


def _near(first: Sequence[Photo], second: Sequence[Photo]) -> list[tuple[int, int]]:
    """Index pairs at most NEAR bits apart."""
    if not first or not second:
        return []
    rows, columns = _bits(first), _bits(second)
    pairs = []
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        distance = part @ (1 - columns).T + (1 - part) @ columns.T
        pairs += [(start + int(i), int(j)) for i, j in np.argwhere(distance <= NEAR)]
    return pairs


def _bits(photos: Sequence[Photo]) -> NDArray[np.float32]:
    """(N, 128), 0 or 1; counts up to 128 are exact in float32."""
    packed = np.array([list(bytes.fromhex(photo.difference_hash)) for photo in photos], np.uint8)
    return np.unpackbits(packed, axis=1).astype(np.float32)
