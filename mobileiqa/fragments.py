"""Fragments: a mosaic of small patches at native scale, from a grid over the whole photo (FAST-VQA, UIQA).

Row i of n patches of p pixels begins at clamp(((2 i + 1) H) // (2 n) - p // 2, 0, H - p): each patch lies in the
middle of its cell. Where cells are smaller than patches, neighbours overlap. A 512x512 photo is its own 8x8 mosaic
of 64 pixels.
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def starts(length: int, count: int, patch_px: int) -> list[int]:
    """Where each of `count` patches begins along a side of `length` >= patch_px pixels."""
    return [
        min(max((2 * i + 1) * length // (2 * count) - patch_px // 2, 0), length - patch_px)
        for i in range(count)
    ]


def fragments(pixels: Pixels, rows: int, columns: int, patch_px: int) -> Pixels:
    """(H, W, C) -> (rows * patch_px, columns * patch_px, C); a side below patch_px is mirrored first."""
    short = [max(0, patch_px - side) for side in pixels.shape[:2]]
    if any(short):
        pixels = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
    height, width = pixels.shape[:2]
    tops, lefts = starts(height, rows, patch_px), starts(width, columns, patch_px)
    bands = (
        np.concatenate([pixels[top : top + patch_px, left : left + patch_px] for left in lefts], 1)
        for top in tops
    )
    return np.concatenate(list(bands), 0)
