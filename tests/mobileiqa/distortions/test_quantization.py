from itertools import combinations, pairwise

import cv2
import numpy as np
import pytest
from PIL import Image

from mobileiqa.distortions.quantization import color_quantization, palette, quantization, thresholds


@pytest.mark.parametrize("colors", [64, 48, 32, 16, 8])
def test_palette_has_its_size(photo, rng, colors):
    out = color_quantization(np.asarray(photo(0, 128, 96)), colors, rng)
    found = len(np.unique(out.reshape(-1, 3), axis=0))
    assert 0.8 * colors <= found <= colors


def test_dithering_keeps_local_means(rng):
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (64, 1))[..., None], 3, axis=-1)
    plain = Image.fromarray(ramp).quantize(palette=palette(ramp, 8), dither=Image.Dither.NONE)
    errors = [
        np.abs(cv2.blur(np.asarray(out), (9, 9)).astype(float) - ramp)[8:-8, 24:-24].mean()
        for out in (color_quantization(ramp, 8, rng), plain.convert("RGB"))
    ]
    assert errors[0] < 2 < 5 < errors[1]


def test_one_threshold_is_opencvs(photo):
    grey = np.asarray(photo(5, 128, 96).convert("L"))
    expected, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    assert thresholds(np.bincount(grey.ravel(), minlength=256), 1).tolist() == [int(expected)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_thresholds_leave_the_least_variance_within_classes(rng, count):
    histogram = rng.integers(1, 50, 12)
    values = np.arange(12)

    def within(tops) -> float:
        edges = [0, *(t + 1 for t in tops), 12]
        return sum(
            np.cov(values[a:b], fweights=histogram[a:b], bias=True) * histogram[a:b].sum()
            for a, b in pairwise(edges)
        )

    best = min(combinations(range(11), count), key=within)
    assert thresholds(histogram, count).tolist() == list(best)


@pytest.mark.parametrize("count", [20, 16, 13, 10, 7])
def test_quantization_has_one_level_more_than_thresholds(photo, rng, count):
    rgb = np.asarray(photo(0, 128, 96))
    out = quantization(rgb, count, rng)
    levels = np.unique(out)
    assert len(levels) == count + 1
    assert (levels[0], levels[-1]) == (0, 255)
    order = np.argsort(rgb, axis=None)
    assert (np.diff(out.ravel()[order].astype(int)) >= 0).all()  # brighter stays brighter
    inner = (out > 0) & (out < 255)
    assert (out[inner] >= rgb[inner]).all()  # the top of its class


def test_few_levels_stay_as_they_are(rng):
    rgb = rng.choice(np.array([3, 90, 91, 200], np.uint8), (64, 64, 3))
    assert np.array_equal(quantization(rgb, 7, rng), rgb)
    flat = np.full((32, 32, 3), 100, np.uint8)
    assert np.array_equal(quantization(flat, 7, rng), flat)
