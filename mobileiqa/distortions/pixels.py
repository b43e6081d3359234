"""What every distortion shares: its type, 8-bit rounding, Gaussian blur, and CIE Lab."""

from collections.abc import Callable
from functools import cache
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Floats = NDArray[np.float32]

# distortion(rgb, amount, rng) -> new pixels of the same shape; most of them need no random numbers.
Function = Callable[[Pixels, float, np.random.Generator], Pixels]

_LIGHT_STEPS = 65535


def to_bytes(values: NDArray[np.floating]) -> Pixels:
    """Values in 0..255, rounded and clipped to uint8."""
    rounded = np.rint(values)
    return np.clip(rounded, 0, 255, out=rounded).astype(np.uint8)


def gaussian(values: NDArray, sigma: float) -> NDArray:
    """Blurred (H, W) or (H, W, C), same type; the window reaches 2 sigma, edges repeat (as MATLAB imgaussfilt)."""
    size = 2 * ceil(2 * sigma) + 1
    return cv2.GaussianBlur(values, (size, size), sigma, borderType=cv2.BORDER_REPLICATE)


def to_lab(rgb: Pixels) -> Floats:
    """RGB -> float32 L (0..100), a, b: sRGB under D65, not rounded.

    From linear light: OpenCV's own way from sRGB interpolates, and is off by up to half a unit.
    """
    return cv2.cvtColor(cv2.LUT(rgb, linear_light()), cv2.COLOR_LRGB2Lab)


def from_lab(lab: Floats) -> Pixels:
    """The inverse of to_lab, exact for every colour; colours outside sRGB are clipped."""
    linear = cv2.cvtColor(lab, cv2.COLOR_Lab2LRGB)
    steps = np.clip(linear * _LIGHT_STEPS + np.float32(0.5), 0, _LIGHT_STEPS)
    return _gamma()[steps.astype(np.uint16)]


@cache
def linear_light() -> Floats:
    """Byte -> linear light, 0..1 (IEC 61966-2-1)."""
    s = np.arange(256) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _gamma() -> NDArray[np.uint8]:
    """Linear light in steps of 1 / _LIGHT_STEPS -> byte; a step is at most 0.05 of a byte."""
    light = np.arange(_LIGHT_STEPS + 1) / _LIGHT_STEPS
    return to_bytes(255 * gamma_encoded(light))


def gamma_encoded(light: Floats) -> Floats:
    """Linear light -> sRGB's values, both 0..1 (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
