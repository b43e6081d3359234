"""Fewer colours, fewer levels."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa.distortions.pixels import Pixels

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
