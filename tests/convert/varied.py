"""Pictures of different quality, so that a model has something to rank, and a command's answer."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter


def varied(photo: Callable[[int, int, int], Image.Image], folder: Path, *sizes: tuple[int, int]) -> Path:
    """Sixteen photos, sharp to blurred and clean to noisy, in turn of these sizes (width, height)."""
    for i in range(16):
        width, height = sizes[i % len(sizes)]
        image = photo(i, width, height).filter(ImageFilter.GaussianBlur((i % 4) * 0.8))
        noise = np.random.default_rng(i).normal(0, 6 * (i // 4), (height, width, 3))
        Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"p{i}.png")
    return folder


def answer(main: Callable[[list[str]], int], *arguments: str) -> tuple[int, dict[str, Any]]:
    """A command's exit code and its last line."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*arguments])
    return code, json.loads(out.getvalue().strip().splitlines()[-1])
