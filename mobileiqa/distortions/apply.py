"""distort: one image, one distortion, one level; the same input always gives the same output."""

import zlib

import numpy as np

from mobileiqa.distortions.kadid10k import DISTORTIONS, LEVELS
from mobileiqa.distortions.pixels import Pixels
from mobileiqa.distortions.spatial import BLOCK_PX

MIN_PX = BLOCK_PX  # per side: the smallest image that holds a colour block


def distort(rgb: Pixels, number: int, level: int, seed: int = 0) -> Pixels:
    """A distorted copy of `rgb`, uint8 (H, W, 3), of the same shape; `number` 1..25, `level` 1..5.

    Random numbers depend on the pixels, the number, the level and the seed (0 or more), and on nothing else.
    KADID-10k's images are 512x384: amounts in pixels look as strong there as they were rated.
    Raises ValueError for another type or shape, a side below MIN_PX, an unknown number or level.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or min(rgb.shape[:2]) < MIN_PX:
        raise ValueError(
            f"expected uint8 (height, width, 3) of {MIN_PX} pixels or more; found {rgb.dtype} {rgb.shape}"
        )
    if number not in DISTORTIONS:
        raise ValueError(f"expected a distortion of 1..{len(DISTORTIONS)}; found {number}")
    if level not in LEVELS:
        raise ValueError(f"expected a level of {LEVELS[0]}..{LEVELS[-1]}; found {level}")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more; found {seed}")
    rgb = np.ascontiguousarray(rgb)
    rng = np.random.default_rng([seed, zlib.crc32(rgb), number, level])
    distortion = DISTORTIONS[number]
    return distortion.function(rgb, distortion.levels[level - 1], rng)
