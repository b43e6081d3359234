"""Distortions of colours and levels: diffusion, shift, saturation, brightness, contrast, fewer colours or levels.

Brighten, darken, mean shift and contrast are one curve for every pixel.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import CubicSpline

from mobileiqa.distortions.pixels import Floats, Pixels, from_lab, gaussian, to_bytes, to_lab

_EDGE_SIGMA = 4.0  # how far the colour shift reaches around an edge
_EDGE_FLOOR = 0.1  # weaker edges, of the strongest, do not count
_EDGE_TAIL = 1  # % at either end that is clipped
_GREEN = 1


def color_diffusion(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """4: Lab's a and b blurred by sigma 1.5 amount + 2, then multiplied by `amount`."""
    lab = to_lab(rgb)
    lab[..., 1:] = gaussian(lab[..., 1:], 1.5 * amount + 2) * np.float32(amount)
    return from_lab(lab)


def color_shift(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """5: green moved by `amount` pixels, right and down in a random direction, where there are edges."""
    direction = rng.random(2)
    down, right = np.rint(direction / np.linalg.norm(direction) * amount).astype(int)
    green = rgb[..., _GREEN]
    padded = cv2.copyMakeBorder(green, down, 0, right, 0, cv2.BORDER_REFLECT)
    moved = padded[: green.shape[0], : green.shape[1]].astype(np.float32)
    out = rgb.copy()
    out[..., _GREEN] = to_bytes(green + edge_weight(rgb) * (moved - green))
    return out


def edge_weight(rgb: Pixels) -> Floats:
    """(H, W), 0..1: the blurred gradient of brightness, stretched; all 0 where there is no edge."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.array([[-0.5, 0, 0.5]], np.float32)
    across = cv2.filter2D(grey, -1, slope, borderType=cv2.BORDER_REPLICATE)
    down = cv2.filter2D(grey, -1, slope.T, borderType=cv2.BORDER_REPLICATE)
    edges = _stretched(gaussian(cv2.magnitude(across, down), _EDGE_SIGMA))
    edges = _stretched(np.maximum(edges, _EDGE_FLOOR))
    low, high = np.percentile(edges, (_EDGE_TAIL, 100 - _EDGE_TAIL))
    return _stretched(np.clip(edges, low, high))


def _stretched(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def saturation_hsv(rgb: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """7: HSV's S times `factor`, hue and V kept. A negative factor gives complementary colours.

    c = V (1 - S w) with a weight w of the hue alone, so V - c scales with S: HSV itself is not needed.
    """
    red, green, blue = cv2.split(rgb)
    value = cv2.max(cv2.max(red, green), blue)[..., None].astype(np.float32)
    return to_bytes(value - np.float32(factor) * (value - rgb))


def saturation_lab(rgb: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """8: Lab's a and b times `factor`; 1 changes nothing."""
    lab = to_lab(rgb)
    lab[..., 1:] *= np.float32(factor)
    return from_lab(lab)


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


_PALETTE_SAMPLES = (
    128**2
)  # pixels that a palette is fitted to: it takes ten times as long with all of 512x512


def color_quantization(rgb: Pixels, colors: float, rng: np.random.Generator) -> Pixels:
    """6: a palette of at most `colors`, fitted to the image, with Floyd-Steinberg dithering."""
    dithered = Image.fromarray(rgb).quantize(
        palette=palette(rgb, int(colors)), dither=Image.Dither.FLOYDSTEINBERG
    )
    return np.array(dithered.convert("RGB"))


def palette(rgb: Pixels, colors: int) -> Image.Image:
    """An image of mode P whose palette is the median cut of the colours; large images are sampled for it."""
    step = max(1, round((rgb.shape[0] * rgb.shape[1] / _PALETTE_SAMPLES) ** 0.5))
    sample = Image.fromarray(np.ascontiguousarray(rgb[::step, ::step]))
    return sample.quantize(colors, method=Image.Quantize.MEDIANCUT)


def quantization(rgb: Pixels, count: float, rng: np.random.Generator) -> Pixels:
    """22: `count` thresholds, by Otsu's criterion over R, G and B together, so count + 1 levels.

    The lowest class becomes 0, the highest 255, the others the top of their class, as in KADID-10k. An image
    of no more levels than that stays as it is.
    """
    histogram = np.bincount(rgb.ravel(), minlength=256)
    if np.count_nonzero(histogram) <= count + 1:
        return rgb.copy()
    tops = thresholds(histogram, int(count))
    levels = np.concatenate([[0], tops[1:], [255]]).astype(np.uint8)
    return levels[np.searchsorted(tops, np.arange(256))][rgb]


def thresholds(histogram: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """The `count` values, each the top of its class, that divide a histogram (256,) best, ascending.

    Best is Otsu's criterion for many classes: the sum over classes of sum^2 / n is largest, so the variance
    within classes is least. Found exactly, by dynamic programming over where the last class begins. More than
    `count` values have to occur in the histogram.
    """
    gain = _gains(histogram)
    best = gain[:, 0]  # best[j]: of everything below value j, in one class so far
    starts = []
    for _ in range(count):
        total = best + gain
        starts.append(total.argmax(1))
        best = total.max(1)
    start, tops = len(histogram), []
    for begins in reversed(starts):
        start = int(begins[start])
        tops.append(start - 1)
    return np.array(tops[::-1])


def _gains(histogram: NDArray[np.integer]) -> NDArray[np.float64]:
    """(257, 257): [j, i] is sum^2 / n of the values i..j-1; -inf where i > j."""
    values = np.arange(len(histogram))
    below = np.concatenate([[0], np.cumsum(histogram)]).astype(np.float64)
    sums = np.concatenate([[0], np.cumsum(histogram * values)]).astype(np.float64)
    n = below[:, None] - below
    gain = (sums[:, None] - sums) ** 2 / np.maximum(n, 1)
    return np.where(np.tri(len(below), dtype=bool), gain, -np.inf)
