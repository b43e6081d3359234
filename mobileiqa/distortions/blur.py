"""Gaussian, lens and motion blur. Kernels as MATLAB's fspecial makes them; edges repeat."""

from functools import cache
from math import ceil

import cv2
import numpy as np

from mobileiqa.distortions.pixels import Floats, Pixels, gaussian

_SLICES = 1024  # per pixel, to find how much of it a disk covers


def gaussian_blur(rgb: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """1: sigma in pixels; 0.1 changes nothing."""
    return gaussian(rgb, sigma)


def lens_blur(rgb: Pixels, radius: float, rng: np.random.Generator) -> Pixels:
    """2: mean over a disk of `radius` pixels."""
    return cv2.filter2D(rgb, -1, disk(radius), borderType=cv2.BORDER_REPLICATE)


def motion_blur(rgb: Pixels, length: float, rng: np.random.Generator) -> Pixels:
    """3: mean along a line of `length` pixels, at a random angle; 1 changes nothing."""
    return cv2.filter2D(rgb, -1, line(length, rng.uniform(0, np.pi)), borderType=cv2.BORDER_REPLICATE)


@cache
def disk(radius: float) -> Floats:
    """Square kernel, sum 1: each weight is the share of its pixel inside the circle."""
    reach = ceil(radius - 0.5)
    x = (np.arange((2 * reach + 1) * _SLICES) + 0.5) / _SLICES - reach - 0.5
    top = np.sqrt(np.maximum(radius**2 - x**2, 0))  # the circle's, above each slice
    y = np.arange(-reach, reach + 1)[:, None]
    inside = np.maximum(np.minimum(y + 0.5, top) - np.maximum(y - 0.5, -top), 0)
    covered = inside.reshape(len(y), -1, _SLICES).mean(-1)
    return (covered / covered.sum()).astype(np.float32)


def line(length: float, angle: float) -> Floats:
    """Square kernel, sum 1: weights fall to 0 at one pixel's distance from a line; angle in radians."""
    half = (length - 1) / 2
    reach = int(half) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = np.clip(x * np.cos(angle) - y * np.sin(angle), -half, half)
    distance = np.hypot(x - along * np.cos(angle), y + along * np.sin(angle))
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum()).astype(np.float32)
