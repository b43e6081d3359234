"""KADID-10k's 25 distortions at five levels each: numbers, amounts and what they do.

Definitions follow the authors' published generator, so that the scores people gave KADID-10k's images hold
for other images, too. Left out: it stretched every image to the full 0..255 before and after, which makes an
image's contrast depend on its one darkest and one brightest sample, and undoes part of a mean shift.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobileiqa.datasets.label_files import Row, read_csv
from mobileiqa.distortions import color, detail
from mobileiqa.distortions.detail import BLOCK_PX
from mobileiqa.distortions.pixels import Function, Pixels
from mobileiqa.errors import UserError

LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion; `function(rgb, levels[level - 1], rng)` applies it.

    monotone: people rate every level below the one before. Two distortions have their best level in the middle.
    """

    number: int  # KADID-10k's
    name: str
    levels: tuple[float, float, float, float, float]
    function: Function
    monotone: bool = True


_ALL = (
    Distortion(1, "Gaussian blur", (0.1, 0.5, 1, 2, 5), detail.gaussian_blur),
    Distortion(2, "lens blur", (1, 2, 4, 6, 8), detail.lens_blur),
    Distortion(3, "motion blur", (1, 2, 4, 6, 10), detail.motion_blur),
    Distortion(4, "colour diffusion", (1, 3, 6, 8, 12), color.color_diffusion),
    Distortion(5, "colour shift", (1, 3, 6, 8, 12), color.color_shift),
    Distortion(6, "colour quantization", (64, 48, 32, 16, 8), color.color_quantization),
    Distortion(7, "saturation (HSV)", (0.4, 0.2, 0.1, 0, -0.4), color.saturation_hsv),
    Distortion(8, "saturation (Lab)", (1, 2, 3, 6, 9), color.saturation_lab),
    Distortion(9, "JPEG2000", (16, 32, 45, 120, 400), detail.jpeg2000),
    Distortion(10, "JPEG", (43, 36, 24, 7, 4), detail.jpeg),
    Distortion(11, "white noise", (0.001, 0.002, 0.003, 0.005, 0.01), detail.white_noise),
    Distortion(12, "noise in YCbCr", (0.0001, 0.0005, 0.001, 0.002, 0.003), detail.ycbcr_noise),
    Distortion(13, "impulse noise", (0.001, 0.005, 0.01, 0.02, 0.03), detail.impulse_noise),
    Distortion(14, "multiplicative noise", (0.001, 0.005, 0.01, 0.02, 0.05), detail.multiplicative_noise),
    Distortion(15, "denoise", (0.01, 0.03, 0.05, 0.1, 0.15), detail.denoise),
    Distortion(16, "brighten", (0.1, 0.2, 0.4, 0.7, 1.1), color.brighten),
    Distortion(17, "darken", (0.05, 0.1, 0.2, 0.4, 0.8), color.darken),
    Distortion(18, "mean shift", (0.15, 0.08, 0, -0.08, -0.15), color.mean_shift, monotone=False),
    Distortion(19, "jitter", (0.05, 0.1, 0.2, 0.5, 1), detail.jitter),
    Distortion(20, "non-eccentricity patch", (20, 40, 60, 80, 100), detail.non_eccentricity_patch),
    Distortion(21, "pixelate", (0.01, 0.05, 0.1, 0.2, 0.5), detail.pixelate),
    Distortion(22, "quantization", (20, 16, 13, 10, 7), color.quantization),
    Distortion(23, "colour block", (2, 4, 6, 8, 10), detail.color_block),
    Distortion(24, "high sharpen", (1, 2, 3, 6, 12), detail.high_sharpen),
    Distortion(25, "contrast change", (0.3, 0.15, 0, -0.4, -0.6), color.contrast_change, monotone=False),
)
DISTORTIONS: dict[int, Distortion] = {distortion.number: distortion for distortion in _ALL}


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


SCORE_NAME = "transferred KADID score"  # people scored other images with these distortions: never call it MOS
SCORE_RANGE = (1.0, 5.0)  # KADID-10k's rating scale, higher is better
HOW_TO_MAKE = "make one from KADID-10k: python -m mobileiqa.data severity KADID_PATH --out severity.csv"

_COLUMNS = ("distortion", "level", "mean_score")
_NUMBERS, _LEVELS = range(1, 26), range(1, 6)


def read_labels(path: Path) -> dict[tuple[int, int], float]:
    """`read_severity` as a share of the rating scale, 0..1."""
    low, high = SCORE_RANGE
    return {cell: (score - low) / (high - low) for cell, score in read_severity(path).items()}


def read_severity(path: Path) -> dict[tuple[int, int], float]:
    """(distortion 1..25, level 1..5) -> mean human score, 1..5, all 125 of them, in order.

    Columns distortion, level and mean_score; others are not read. Raises UserError, naming the line, for a
    file that is not such a table, and for missing, doubled or unknown rows.
    """
    try:
        rows = read_csv(path, _COLUMNS)
        scores: dict[tuple[int, int], float] = {}
        for row in rows:
            key, score = _entry(row)
            if key in scores:
                raise UserError("one row per distortion and level", f"a second one in {row.where}", "")
            scores[key] = score
    except UserError as error:
        raise UserError(error.expected, error.actual, HOW_TO_MAKE) from error
    missing = [(n, level) for n in _NUMBERS for level in _LEVELS if (n, level) not in scores]
    if missing:
        number, level = missing[0]
        raise UserError(
            f"a row for each of {len(_NUMBERS) * len(_LEVELS)} distortions and levels in {path}",
            f"{len(missing)} missing (distortion {number}, level {level}...)",
            HOW_TO_MAKE,
        )
    return dict(sorted(scores.items()))


def _entry(row: Row) -> tuple[tuple[int, int], float]:
    number, level, score = row.count("distortion"), row.count("level"), row.number("mean_score")
    low, high = SCORE_RANGE
    if number not in _NUMBERS or level not in _LEVELS or not low <= score <= high:
        raise UserError(
            f"distortion 1..25, level 1..5 and a score of {low:g}..{high:g} in {row.where}",
            f"{number}, {level} and {score:g}",
            "",
        )
    return (number, level), score
