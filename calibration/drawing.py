"""Generated pictures for calibration without photos: they exercise a network, they do not resemble its work.

Each kind reaches values that another does not: flat, dark and bright pictures the ends of the range, noise and
textures the largest responses of small filters, gradients and blur the smallest.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mobileiqa.errors import UserError

Draw = Callable[
    [np.random.Generator, int, int], NDArray[np.float64]
]  # rng, height, width -> 0..255, (H, W, 3)

SIZES = ((1024, 768), (768, 1024), (800, 800), (1280, 720))  # (width, height), in turn


def _gradient(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    across, down = np.linspace(0, 1, width)[:, None], np.linspace(0, 1, height)[:, None, None]
    corners = rng.uniform(0, 255, (4, 3))
    top, bottom = (corners[i] * (1 - across) + corners[i + 1] * across for i in (0, 2))
    return top * (1 - down) + bottom * down


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Six waves of different direction, from coarse to one period in three pixels, each with a colour."""
    x, y = np.arange(width), np.arange(height)[:, None]
    pixels = np.full((height, width, 3), 127.5)
    for frequency in np.geomspace(0.02, 2, 6):
        angle, color = rng.uniform(0, np.pi), rng.uniform(-40, 40, 3)
        wave = np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + rng.uniform(0, 6))
        pixels += wave[..., None] * color
    return pixels


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    return rng.normal(rng.uniform(80, 180, 3), rng.uniform(20, 80), (height, width, 3))


def _blur(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Blocks of colour, blurred."""
    blocks = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    sharp = blocks.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(sharp.filter(ImageFilter.GaussianBlur(float(rng.uniform(4, 16))))).astype(np.float64)


def _flat(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    return np.broadcast_to(rng.uniform(0, 255, 3), (height, width, 3))


def _dark(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A picture as noisy in the shadows as a night shot."""
    return 0.15 * _texture(rng, height, width) + rng.normal(0, 5, (height, width, 3))


def _bright(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """An overexposed picture: much of it is clipped to 255."""
    return 170 + 0.6 * _texture(rng, height, width)


KINDS: dict[str, Draw] = {
    "gradient": _gradient,
    "texture": _texture,
    "noise": _noise,
    "blur": _blur,
    "flat": _flat,
    "dark": _dark,
    "bright": _bright,
}


def name_of(index: int) -> str:
    """The id of the index-th generated picture, such as generated/texture-1."""
    return f"generated/{list(KINDS)[index % len(KINDS)]}-{index}"


def draw(index: int, seed: int) -> Image.Image:
    """The index-th picture of a seed, mode RGB, about 0.6 to 0.9 megapixels; kinds and sizes take turns."""
    if index < 0 or seed < 0:
        raise UserError("an index and a seed of 0 or more", f"{index} and {seed}", "correct them")
    rng = np.random.default_rng([seed, index])
    width, height = SIZES[index % len(SIZES)]
    pixels = list(KINDS.values())[index % len(KINDS)](rng, height, width)
    return Image.fromarray(np.round(pixels).clip(0, 255).astype(np.uint8))
