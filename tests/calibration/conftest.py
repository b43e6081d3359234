"""A small library of generated photos of every brightness and two sizes, and the spec of a small model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calibration import stratified_sampling as sampling
from calibration.inference import prepared_sha256
from calibration.photos import Photo, read_photos
from calibration.sets import CalibrationSet
from mobileiqa.photos.loading import find_images
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS

GAINS = (0.15, 0.5, 0.8, 1.2, 2.2)  # from dark to bright


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    """MobileNet-IQA at 64x48."""
    return MODELS["mobilenet-iqa"].spec.resized(64, 48)


@pytest.fixture(scope="session")
def make_photos(photo) -> Callable[..., Path]:
    """make_photos(folder, count, gains): `count` PNG files p00.png..., their brightness by the gains in turn."""

    def make(folder: Path, count: int, gains: Sequence[float] = GAINS, first_seed: int = 0) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            size = (80, 60) if i % 2 else (48, 72)
            pixels = np.asarray(photo(first_seed + i, *size), np.float64) * gains[i % len(gains)]
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"p{i:02d}.png")
        return folder

    return make


@pytest.fixture(scope="session")
def library(tmp_path_factory, make_photos) -> Path:
    """Forty photos; read only."""
    return make_photos(tmp_path_factory.mktemp("library") / "photos", 40)


@pytest.fixture(scope="session")
def set_of(spec) -> Callable[..., CalibrationSet]:
    """set_of(folder): every image of the folder as a calibration set, chosen by nobody."""

    def make(folder: Path, expected: ModelSpec = spec) -> CalibrationSet:
        photos, broken = read_photos(find_images([folder]), folder, "test")
        assert not broken
        return CalibrationSet(
            expected, 0, tuple(_with_digest(p, folder, expected) for p in sampling.assign(photos)), folder
        )

    return make


def _with_digest(photo: Photo, folder: Path, spec: ModelSpec) -> Photo:
    return replace(photo, prepared_sha256=prepared_sha256(prepare(folder / photo.id, spec)))


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, dict[str, Any]]]:
    """run(main, *args): exit code, text on stdout, and the last line's object."""

    def call(main: Callable[[list[str]], int], *args: object) -> tuple[int, str, dict[str, Any]]:
        code = main([str(arg) for arg in args])
        *lines, last = capsys.readouterr().out.splitlines() or ["{}"]
        return code, "\n".join(lines), json.loads(last)

    return call


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """refused(main, *args): the last line on stderr of a run that ended in exit code 2 without output."""

    def call(main: Callable[[list[str]], int], *args: object) -> str:
        assert main([str(arg) for arg in args]) == 2
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        return err.splitlines()[-1]

    return call
