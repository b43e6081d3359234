"""Where training pixels come from: image files, pristine images distorted on the fly, or a pack of either.

A source is a function from an index to uint8 pixels (H, W, 3). A pack holds one window of every image,
decoded and distorted once, in one memory-mapped file: two cores train faster than they can decode.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli, distortions
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.distortions.kadid10k import SCORE_NAME, SCORE_RANGE
from mobileiqa.errors import UserError
from mobileiqa.photos.loading import decoding_sha256, load_image
from mobileiqa.photos.search import search_images
from mobileiqa.spec import ColorManagement
from mobileiqa.training_record import listing_key
from mobileiqa.workers import process_pool

Pixels = NDArray[np.uint8]
Source = Callable[[int], Pixels]

SYNTHETIC = "pristine"  # the name of a Dataset whose samples are distorted when they are read


def synthetic(
    folder: Path,
    severity: dict[tuple[int, int], float],
    seed: int,
    share: float = 0.1,
    exclude: Sequence[str] = (),
) -> Dataset:
    """Every distortion and level of `severity` of every pristine image; `share` of the images validate.

    Images whose names are in `exclude` are left out; who validates does not depend on it.

    Scores are transferred KADID scores: the mean human score of that distortion and level on other images.
    """
    search = search_images([folder])
    if search.left_out:
        cli.note(f"{folder}: {search}")
    paths = search.images
    order = np.random.default_rng(seed).permutation(len(paths))
    held_out = {paths[i].stem for i in order[: max(1, round(share * len(paths)))]} if share else set()
    if len({path.stem for path in paths}) != len(paths):
        raise UserError(f"different file names in {folder}", "two images of one name", "rename one")
    unknown = set(exclude) - {path.name for path in paths}
    if unknown:
        raise UserError(f"images of {folder} to leave out", ", ".join(sorted(unknown)), "correct --exclude")
    paths = [path for path in paths if path.name not in exclude]
    low, high = SCORE_RANGE
    samples = tuple(
        Sample(
            path=path, score=(score - low) / (high - low), raw_score=score,
            split="validation" if path.stem in held_out else "train",
            reference=path.stem, distortion=number, level=level,
        )
        for path in paths
        for (number, level), score in sorted(severity.items())
    )  # fmt: skip
    rule = f"{share:.0%} of the pristine images, by seed {seed}, validate"
    listing = listing_key(path.name for path in paths)
    originals = {path.stem: path for path in paths}
    return Dataset(
        SYNTHETIC,
        samples,
        SCORE_RANGE,
        SCORE_NAME,
        rule,
        split_seed=seed,
        listing=listing,
        reference_files=originals,
    )


def pixels_of(
    sample: Sample, distorted: bool, seed: int = 0, colors: ColorManagement = ColorManagement.SRGB
) -> Pixels:
    """The sample's image, (H, W, 3); distorted here where the file is the pristine one."""
    pixels = np.asarray(load_image(sample.path, colors))
    if not distorted:
        return pixels
    from mobileiqa.distortions.kadid10k import distort

    return distort(pixels, sample.distortion, sample.level, seed)


@dataclass(frozen=True)
class FromFiles:
    """Reads and decodes on every call. Picklable, for loader workers."""

    samples: tuple[Sample, ...]
    distorted: bool
    colors: ColorManagement = ColorManagement.SRGB

    def __call__(self, index: int) -> Pixels:
        """The pixels of samples[index]."""
        return pixels_of(self.samples[index], self.distorted, colors=self.colors)


@dataclass(frozen=True)
class FromDecoded:
    """Whole images, each decoded (and distorted) at its first reading and kept in `folder`: 3 bytes a pixel."""

    files: FromFiles
    folder: Path
    keys: tuple[str, ...]

    def __call__(self, index: int) -> Pixels:
        """The pixels of samples[index], a memory map."""
        path = self.folder / f"{self.keys[index]}.npy"
        if not path.exists():
            pixels = self.files(index)
            with cli.atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, pixels)
        return np.load(path, mmap_mode="r")


@dataclass(frozen=True)
class FromPack:
    """Reads from a pack's memory map."""

    path: Path

    def __call__(self, index: int) -> Pixels:
        """The packed window of samples[index]."""
        return _map(self.path)[index]


_maps: dict[Path, Pixels] = {}  # one memory map per process: workers open their own


def _map(path: Path) -> Pixels:
    if path not in _maps:
        _maps[path] = np.load(path, mmap_mode="r")
    return _maps[path]


def source(
    dataset: Dataset,
    samples: Sequence[Sample],
    pack_folder: Path | None,
    window_px: int,
    colors: ColorManagement = ColorManagement.SRGB,
) -> Source:
    """The source of `samples`: straight from the files, or from a pack in `pack_folder` (made if missing).

    window_px 0: whole images, kept one by one as they are read.
    """
    distorted = dataset.name == SYNTHETIC
    files = FromFiles(tuple(samples), distorted, colors)
    if pack_folder is None:
        return files
    if not window_px:
        pack_folder.mkdir(parents=True, exist_ok=True)
        return FromDecoded(files, pack_folder, _image_keys(samples, distorted, colors))
    path = pack_folder / f"{_key(samples, distorted, window_px, colors)}.npy"
    if not path.exists():
        _pack(path, samples, distorted, window_px, colors)
    return FromPack(path)


def _key(samples: Sequence[Sample], distorted: bool, window_px: int, colors: ColorManagement) -> str:
    """Changes with the files (name, size, time), the window, and the code that decodes and distorts them."""
    rows = [(sample.path.name, *_stamp(sample)) for sample in samples]
    code = _distortion_code() if distorted else ""
    return _digest([rows, code, window_px, colors, decoding_sha256()])


def _image_keys(samples: Sequence[Sample], distorted: bool, colors: ColorManagement) -> tuple[str, ...]:
    """The same for each image by itself, wherever its name is used twice."""
    code = [_distortion_code() if distorted else "", colors, decoding_sha256()]
    return tuple(_digest([str(sample.path.resolve()), *_stamp(sample), *code]) for sample in samples)


def _stamp(sample: Sample) -> tuple[int, int, int, int]:
    stat = sample.path.stat()
    return stat.st_size, stat.st_mtime_ns, sample.distortion, sample.level


def _digest(content: list[object]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _distortion_code() -> str:
    """Of every source file of mobileiqa.distortions: a pack of other distortions must not be found."""
    digest = hashlib.sha256()
    for path in sorted(Path(distortions.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _pack(
    path: Path, samples: Sequence[Sample], distorted: bool, window_px: int, colors: ColorManagement
) -> None:
    """Writes (N, window_px, window_px, 3) uint8 in a .npy file, atomically."""
    from numpy.lib.format import open_memmap

    with cli.atomic(path) as temporary, process_pool() as pool:
        out = open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(len(samples), window_px, window_px, 3))
        windows = pool.map(partial(_window, distorted, window_px, colors), enumerate(samples), chunksize=16)
        for index, window in enumerate(cli.progress(windows, "packing images", len(samples))):
            out[index] = window
        out.flush()


def _window(distorted: bool, window_px: int, colors: ColorManagement, numbered: tuple[int, Sample]) -> Pixels:
    """A seeded random square window; an image that is too small is mirrored at its edges."""
    index, sample = numbered
    return crop(
        pixels_of(sample, distorted, colors=colors), window_px, np.random.default_rng([window_px, index])
    )


def crop(pixels: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """A random size x size window of (H, W, 3) pixels, mirrored beyond the edges where they are smaller."""
    short = [max(0, size - n) for n in pixels.shape[:2]]
    if any(short):
        pixels = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
    top, left = (int(rng.integers(n - size + 1)) for n in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]
