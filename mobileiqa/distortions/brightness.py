"""Brighten, darken, mean shift and contrast: one curve for every pixel."""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from mobileiqa.distortions.pixels import Pixels, from_lab, to_bytes, to_lab

_BYTES = np.arange(256) / 255


def brighten(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """16: a curve through (.5, .5 + amount/2); two parts on R, G and B, one part on Lab's L."""
    point = (0.5, 0.5 + amount / 2)
    lab = to_lab(rgb)
    lab[..., 0] = 100 * curve(lab[..., 0] / 100, point)
    by_channel = (255 * curve(_BYTES, point)).astype(np.float32)[rgb]
    return to_bytes((2 * by_channel + from_lab(lab)) / 3)


def darken(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """17: a curve through (.5, .5 - amount/2), on R, G and B."""
    return _mapped(rgb, curve(_BYTES, (0.5, 0.5 - amount / 2)))


def mean_shift(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """18: adds `amount`, of a range of 0..1; 0 changes nothing."""
    return _mapped(rgb, _BYTES + amount)


def contrast_change(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """25: a curve through (.3, .25 - amount/4), (.5, .5) and (.7, .75 + amount/4), on R, G and B.

    At .3 and .7, as in KADID-10k: 0 is not the identity but a little more contrast.
    """
    points = (0.3, 0.25 - amount / 4), (0.5, 0.5), (0.7, 0.75 + amount / 4)
    return _mapped(rgb, curve(_BYTES, *points))


def curve(values: NDArray, *points: tuple[float, float]) -> NDArray[np.float64]:
    """`values` (0..1) through the cubic spline (not-a-knot) that meets (0, 0), `points` and (1, 1); clipped."""
    x, y = zip((0.0, 0.0), *points, (1.0, 1.0), strict=True)
    return np.clip(CubicSpline(x, y)(values), 0, 1)


def _mapped(rgb: Pixels, table: NDArray[np.float64]) -> Pixels:
    """Every byte through a table (256,) of values in 0..1."""
    return to_bytes(255 * table)[rgb]
