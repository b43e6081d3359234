"""Which images a model was trained on: a part of its spec, so that no evaluation mistakes them for test images.

An image is known by its decoded pixels (a renamed or losslessly saved copy is the same image), a pristine image
also by its name, since only distorted versions of it may be there later, and so is an image of a published set: the
set is passed around in other sizes and in parts. Each is one key of 6 bytes, 8 characters here: 10,000 images add
80 to 160 kB to a checkpoint and to each file that is converted from it. Two images share a key by
chance in fewer than 1 in 100,000 evaluations. Crops, resized and lossily saved copies are other images here; the
recorded split still knows them in the set that they come from.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    from mobileiqa.datasets.core import Dataset, Sample

KEY_BYTES, KEY_CHARACTERS = 6, 8
CHUNK_KEYS = 7500  # a text of 60,000 characters: typed_json reads no longer one
GENERIC = ("folder", "pristine")  # sets whose references are known by name wherever they lie
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif")
MAX_NAME = 300
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_CHUNK = re.compile(r"(?:[A-Za-z0-9+/]{8})*")


@dataclass(frozen=True)
class TrainedSet:
    """A data set that a model was trained on: its sides follow from `split_seed`, and `listing` knows it again."""

    name: str  # in datasets.registry.READERS, or "pristine"
    split_seed: int
    train: int = field(metadata={"range": (0, 10**9)})  # images
    validation: int = field(metadata={"range": (0, 10**9)})
    listing: str  # the key of its images' names

    def __post_init__(self) -> None:
        if not _SET_NAME.fullmatch(self.name) or not _is_key(self.listing) or self.split_seed < 0:
            raise ValueError(
                "a trained set needs a data set's name, a split seed of 0 or more and a listing's key"
            )


@dataclass(frozen=True)
class TrainingRecord:
    """The sets, and the keys of every image that was trained on or that picked the best epoch.

    unrecorded: checkpoints that training started from (or was taught by) which say nothing of their own images.
    """

    sets: tuple[TrainedSet, ...]
    train: tuple[str, ...]  # keys in a row, CHUNK_KEYS a text
    validation: tuple[str, ...]
    unrecorded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for chunk in (*self.train, *self.validation):
            if not _CHUNK.fullmatch(chunk):
                raise ValueError(f"a list of image keys of {KEY_CHARACTERS} characters, not {chunk[:20]!r}")
        if not all(name.isprintable() and len(name) <= MAX_NAME for name in self.unrecorded):
            raise ValueError(f"names of checkpoints need printable characters, at most {MAX_NAME}")

    def split_seed(self, name: str, listing: str) -> int | None:
        """The split seed of this very set, else of a published set of its name; None where neither was trained on."""
        same = [trained for trained in self.sets if (trained.name, trained.listing) == (name, listing)]
        named = [trained for trained in self.sets if trained.name == name and name not in GENERIC]
        return next((trained.split_seed for trained in [*same, *named]), None)

    def keys(self, side: str) -> frozenset[str]:
        """The keys of `train` or `validation`."""
        chunks = self.train if side == "train" else self.validation
        return frozenset(key for chunk in chunks for key in _split(chunk))

    def with_earlier(self, others: "Iterable[tuple[str, TrainingRecord | None]]") -> "TrainingRecord":
        """This record and those of (file name, record): what training started from has seen its own images, too."""
        sets, unrecorded = list(self.sets), list(self.unrecorded)
        train, validation = set(self.keys("train")), set(self.keys("validation"))
        for name, other in others:
            if other is None:
                unrecorded.append(name[:MAX_NAME] if name.isprintable() else ascii(name)[:MAX_NAME])
                continue
            sets += [trained for trained in other.sets if trained not in sets]
            unrecorded += other.unrecorded
            train |= other.keys("train")
            validation |= other.keys("validation")
        return record(sets, train, validation, tuple(dict.fromkeys(unrecorded)))


def record(
    sets: Iterable[TrainedSet],
    train: Iterable[str],
    validation: Iterable[str],
    unrecorded: tuple[str, ...] = (),
) -> TrainingRecord:
    """The record of these keys; one that is in both is of training."""
    trained = set(train)
    return TrainingRecord(tuple(sets), _chunks(trained), _chunks(set(validation) - trained), unrecorded)


def pixel_key(image: "Image.Image") -> str:
    """The key of an upright mode RGB image, as images.load_image gives it: of its size and pixels."""
    return _key("pixels", f"{image.width}x{image.height}".encode(), image.tobytes())


def reference_key(dataset: str, name: str) -> str:
    """The key of a pristine image by its name, without folder, suffix and case, in the set `dataset`."""
    return _key(
        "reference",
        ("" if dataset in GENERIC else dataset).encode(),
        _stem(name).encode("utf-8", "surrogateescape"),
    )


def sample_keys(dataset: "Dataset", sample: "Sample", pixels: Mapping[Path, str]) -> frozenset[str]:
    """Every key of one image of a set; `pixels`: the pixel keys of files, also of pristine ones, that can be read."""
    keys = {pixels.get(sample.path), dataset.reference_keys.get(sample.reference)}
    if sample.reference:
        keys.add(reference_key(dataset.name, sample.reference))
        keys.add(pixels.get(dataset.reference_files.get(sample.reference, sample.path)))
    elif dataset.name not in GENERIC:
        keys.add(
            _key("image", dataset.name.encode(), _stem(sample.path.name).encode("utf-8", "surrogateescape"))
        )
    return frozenset(key for key in keys if key)


def files_of(dataset: "Dataset", samples: "Sequence[Sample]") -> list[Path]:
    """The files whose pixels tell what `samples` show, each once: their own and those of their pristine images."""
    own = {path for sample in samples if (path := dataset.reference_files.get(sample.reference))}
    return list(dict.fromkeys([*(sample.path for sample in samples), *sorted(own)]))


def _stem(name: str) -> str:
    path = PurePath(name.strip().replace("\\", "/"))
    return (path.stem if path.suffix.lower() in _SUFFIXES else path.name).lower()


def listing_key(images: Iterable[str]) -> str:
    """The key of a set: of its images' names as its labels give them, in any order."""
    return _key("listing", *sorted(name.encode("utf-8", "surrogateescape") for name in images))


def check_keys(keys: Iterable[str], source: str) -> None:
    """Raises UserError where one is no key, naming `source`."""
    bad = next((key for key in keys if not _is_key(key)), None)
    if bad is not None:
        raise UserError(f"image keys of {KEY_CHARACTERS} characters in {source}", repr(bad), "write it again")


def _is_key(text: str) -> bool:
    return len(text) == KEY_CHARACTERS and _CHUNK.fullmatch(text) is not None


def _key(*parts: str | bytes) -> str:
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return base64.b64encode(digest.digest()).decode()


def _chunks(keys: set[str]) -> tuple[str, ...]:
    rows = sorted(keys)
    return tuple("".join(rows[i : i + CHUNK_KEYS]) for i in range(0, len(rows), CHUNK_KEYS))


def _split(chunk: str) -> Iterable[str]:
    return (chunk[i : i + KEY_CHARACTERS] for i in range(0, len(chunk), KEY_CHARACTERS))
