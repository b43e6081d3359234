"""Pixels in the wrong place: jitter, moved patches, coarse pixels, blocks."""

import cv2
import numpy as np

from mobileiqa.distortions.pixels import Pixels, to_bytes

PATCH_PX = 16
PATCH_REACH_PX = 8
BLOCK_PX = 32
_JITTER_PASSES = 5


def jitter(rgb: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """19: five times, every pixel is read (bicubic) from where N(0, sigma) pixels lead, down and across."""
    height, width = rgb.shape[:2]
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    pixels = rgb.astype(np.float32)
    for _ in range(_JITTER_PASSES):
        down, across = rng.standard_normal((2, height, width), np.float32) * np.float32(sigma)
        pixels = cv2.remap(pixels, x + across, y + down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return to_bytes(pixels)


def non_eccentricity_patch(rgb: Pixels, count: float, rng: np.random.Generator) -> Pixels:
    """20: one after the other, `count` patches of 16x16 are copied up to 8 pixels away, down and across."""
    out = rgb.copy()
    high = np.array(rgb.shape[:2]) - PATCH_PX - PATCH_REACH_PX
    sources = rng.integers(PATCH_REACH_PX, high, (int(count), 2), endpoint=True)
    targets = sources + rng.integers(-PATCH_REACH_PX, PATCH_REACH_PX, sources.shape, endpoint=True)
    for (y, x), (to_y, to_x) in zip(sources.tolist(), targets.tolist(), strict=True):
        patch = out[y : y + PATCH_PX, x : x + PATCH_PX].copy()  # the two may overlap
        out[to_y : to_y + PATCH_PX, to_x : to_x + PATCH_PX] = patch
    return out


def pixelate(rgb: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """21: nearest neighbour down by .95 - strength^.6, and up again."""
    height, width = rgb.shape[:2]
    factor = 0.95 - strength**0.6
    size = int(np.ceil(width * factor)), int(np.ceil(height * factor))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def color_block(rgb: Pixels, count: float, rng: np.random.Generator) -> Pixels:
    """23: `count` blocks of 32x32, each of one random colour, anywhere."""
    out = rgb.copy()
    corners = rng.integers(0, np.array(rgb.shape[:2]) - BLOCK_PX, (int(count), 2), endpoint=True)
    for (y, x), color in zip(corners.tolist(), rng.integers(0, 256, (int(count), 3)), strict=True):
        out[y : y + BLOCK_PX, x : x + BLOCK_PX] = color
    return out
