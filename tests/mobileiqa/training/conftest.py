"""A small labelled set on disk, and the command that trains on it."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.mobileiqa.training import replicas

ROOT = Path(__file__).resolve().parents[3]
# A real model, made quick: 64-pixel crops, 8 images a batch.
QUICK = ("crop_px=64", "batch=8", "group=1", "epochs=2", "warmup_epochs=0", "lr=0.001")


@pytest.fixture(scope="session")
def labelled(photo: Callable[..., Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder set: six generated photos, each at four brightnesses, the darker the worse."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for seed in range(6):
        pixels = np.asarray(photo(seed, 96, 80))
        for level in range(1, 5):
            name = f"p{seed}_{level}.png"
            Image.fromarray((pixels * (1 - 0.2 * (level - 1))).astype(np.uint8)).save(folder / name)
            split = "validation" if seed >= 4 else "train"
            rows.append((name, 1.1 - 0.25 * level + 0.02 * seed, f"p{seed}", 17, level, split))
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "score", "reference", "distortion", "level", "split"))
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def sets(photo: Callable[..., Image.Image], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small replicas of published sets, by name; tests copy what they change."""
    root = tmp_path_factory.mktemp("replicas")
    return {name: make(root / name, photo) for name, make in replicas.SETS.items()}


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """command(data, out, *more): the training command on a folder set, with a real model made quick."""

    def make(
        data: Path, out: Path, *more: str, recipe: str = "reference", settings: tuple[str, ...] = QUICK
    ) -> list[str]:
        return [
            sys.executable, "-m", "mobileiqa.train", "--recipe", recipe, "--data", "folder", str(data),
            "--size", "64x64", "--from-scratch", "--out", str(out), "--set", *settings, *more,
        ]  # fmt: skip

    return make


@pytest.fixture(scope="session")
def train(command: Callable[..., list[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """train(data, out, *more): runs that command to its end."""

    def run(*args: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*args, **options), cwd=ROOT, capture_output=True, text=True)

    return run
