"""Shared by the tests of single distortions."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of 8-bit sRGB (..., 3), float64, by the standard's formulas: independent of OpenCV."""
    s = np.asarray(rgb, np.float64) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    t = linear @ (to_xyz / to_xyz.sum(1, keepdims=True)).T
    f = np.where(t > 216 / 24389, np.cbrt(t), t * 841 / 108 + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.fixture(scope="session")
def lab() -> Callable[[np.ndarray], np.ndarray]:
    return lab_of


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """A picture (192, 256, 3) of blobs of many sizes, warm in colour, without grain and without a period."""
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((192, 256, 3))
    layers = [ndimage.gaussian_filter(noise, (sigma, sigma, 0)) for sigma in (2, 8, 32)]
    pixels = 120 + np.array([50, 0, -40]) + 35 * sum(layer / layer.std() for layer in layers)
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def muted(photo) -> np.ndarray:
    """A picture (80, 96, 3) of weak colours, which stay inside sRGB when they are made stronger."""
    pixels = np.asarray(photo(3, 96, 80)).astype(np.float64)
    grey = pixels.mean(-1, keepdims=True)
    return np.rint(90 + 0.3 * grey + 0.04 * (pixels - grey)).astype(np.uint8)
