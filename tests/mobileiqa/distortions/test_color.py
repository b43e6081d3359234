"""None"""

import colorsys
from itertools import combinations, pairwise

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mobileiqa.distortions.color import (
    brighten,
    color_diffusion,
    color_quantization,
    color_shift,
    contrast_change,
    curve,
    darken,
    edge_weight,
    mean_shift,
    palette,
    quantization,
    saturation_hsv,
    saturation_lab,
    thresholds,
)


@pytest.fixture
def grey(photo):
    return np.repeat(np.asarray(photo(2, 96, 80))[..., :1], 3, axis=-1)


@pytest.mark.parametrize("factor", [0.4, 0.2, 0.1, 0])
def test_saturation_is_hsvs_s_times_a_factor(photo, rng, factor):
    rgb = np.asarray(photo(0, 32, 32))
    out = saturation_hsv(rgb, factor, rng)
    for before, after in zip(rgb.reshape(-1, 3)[::17], out.reshape(-1, 3)[::17], strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(h, s * factor, v))
        assert np.abs(after - expected).max() <= 0.51


def test_negative_saturation_gives_the_complementary_colour(rng):
    rgb = np.full((32, 32, 3), (200, 100, 100), np.uint8)
    assert (saturation_hsv(rgb, -0.4, rng) == (200, 240, 240)).all()


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_lab_saturation_multiplies_a_and_b_and_keeps_l(muted, rng, lab, factor):
    before, after = lab(muted), lab(saturation_lab(muted, factor, rng))
    assert after[..., 0] == pytest.approx(before[..., 0], abs=0.6)
    assert after[..., 1:] == pytest.approx(factor * before[..., 1:], abs=0.9)


def test_lab_saturation_of_one_changes_nothing(photo, rng):
    rgb = np.asarray(photo(0, 96, 80))
    assert np.array_equal(saturation_lab(rgb, 1, rng), rgb)


@pytest.mark.parametrize(
    ("function", "amount"), [(saturation_hsv, -0.4), (saturation_lab, 9), (color_diffusion, 12)]
)
def test_grey_stays_grey(grey, rng, function, amount):
    assert np.abs(function(grey, amount, rng).astype(int) - grey).max() <= 1


@pytest.mark.parametrize("amount", [1, 3])
def test_diffusion_blurs_a_and_b_and_multiplies_them(muted, rng, lab, amount):
    before, after = lab(muted), lab(color_diffusion(muted, amount, rng))
    sigma = 1.5 * amount + 2
    blurred = ndimage.gaussian_filter(before[..., 1:], (sigma, sigma, 0), truncate=2.0, mode="nearest")
    assert after[..., 0] == pytest.approx(before[..., 0], abs=0.6)
    assert after[..., 1:] == pytest.approx(amount * blurred, abs=0.9)


@pytest.fixture
def corner():
    """Black, with a white quarter at the lower right."""
    rgb = np.zeros((128, 128, 3), np.uint8)
    rgb[64:, 64:] = 255
    return rgb


@pytest.mark.parametrize("seed", range(4))
def test_shift_moves_green_alone_by_its_amount(corner, seed):
    out = color_shift(corner, 6, np.random.default_rng(seed))
    assert np.array_equal(out[..., ::2], corner[..., ::2])
    changed = out[..., 1] != corner[..., 1]
    right, down = changed[110].sum(), changed[:, 110].sum()  # how far each edge has moved
    assert np.hypot(right, down) == pytest.approx(6, abs=0.75)
    assert (out[..., 1] <= corner[..., 1]).all()  # black came in from the left and from above


def test_shift_works_on_edges_only(corner, rng):
    weight = edge_weight(corner)
    assert weight.min() == 0
    assert weight.max() == 1
    assert weight[100, 63:65].min() > 0.9
    assert weight[100, :40].max() == 0
    flat = np.full((64, 64, 3), (10, 200, 90), np.uint8)
    assert np.array_equal(color_shift(flat, 12, rng), flat)


RAMP = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (32, 1))[..., None], 3, axis=-1)
X = np.arange(256) / 255


def row(out: np.ndarray) -> np.ndarray:
    """The ramp's values after a distortion, 0..1; the same in every row and channel."""
    assert (out == out[:1, :, :1]).all()
    return out[0, :, 0] / 255


@pytest.mark.parametrize("amount", [0.05, 0.1, 0.2, 0.4, 0.8])
def test_darken_is_the_parabola_through_its_point(rng, amount):
    middle = 0.5 - amount / 2
    expected = (4 * middle - 1) * X + (2 - 4 * middle) * X**2
    assert row(darken(RAMP, amount, rng)) == pytest.approx(expected.clip(0, 1), abs=0.51 / 255)


@pytest.mark.parametrize("amount", [0.1, 0.2, 0.4, 0.7, 1.1])
def test_brighten_is_two_parts_rgb_and_one_part_lightness(rng, lab, amount):
    middle = 0.5 + amount / 2

    def parabola(x):
        return ((4 * middle - 1) * x + (2 - 4 * middle) * x**2).clip(0, 1)

    lightness = lab(RAMP[0])[:, 0] / 100
    by_lightness = np.interp(parabola(lightness), lightness, X)  # the grey of that lightness
    expected = (2 * parabola(X) + by_lightness) / 3
    result = brighten(RAMP, amount, rng)[0] / 255
    assert result == pytest.approx(np.repeat(expected[:, None], 3, axis=1), abs=1.1 / 255)


@pytest.mark.parametrize("amount", [0.15, 0.08, 0, -0.08, -0.15])
def test_mean_shift_adds_its_amount_and_clips(rng, amount):
    assert row(mean_shift(RAMP, amount, rng)) == pytest.approx((X + amount).clip(0, 1), abs=0.51 / 255)
    grey = np.full((32, 32, 3), 128, np.uint8)
    assert mean_shift(grey, amount, rng).mean() - 128 == pytest.approx(255 * amount, abs=0.51)


@pytest.mark.parametrize("amount", [0.3, 0.15, 0, -0.4, -0.6])
def test_contrast_goes_through_its_points(rng, amount):
    result = row(contrast_change(RAMP, amount, rng))
    for x, y in ((0, 0), (0.3, 0.25 - amount / 4), (0.5, 0.5), (0.7, 0.75 + amount / 4), (1, 1)):
        assert np.interp(x, X, result) == pytest.approx(y, abs=0.6 / 255)
    assert result + result[::-1] == pytest.approx(np.ones(256), abs=1.1 / 255)  # dark and bright alike


def test_contrast_rises_and_falls_with_its_sign(photo, rng):
    rgb = np.asarray(photo(0, 64, 64))
    spread = [contrast_change(rgb, amount, rng).std() for amount in (0.3, 0.15, 0, -0.4, -0.6)]
    assert spread == sorted(spread, reverse=True)
    assert spread[2] > rgb.std() > spread[3]  # 0 is a little more contrast, not the identity


def test_curve_of_the_identitys_points_is_the_identity():
    assert curve(X, (0.3, 0.3), (0.5, 0.5), (0.7, 0.7)) == pytest.approx(X)


@pytest.mark.parametrize("colors", [64, 48, 32, 16, 8])
def test_palette_has_its_size(photo, rng, colors):
    out = color_quantization(np.asarray(photo(0, 128, 96)), colors, rng)
    result = len(np.unique(out.reshape(-1, 3), axis=0))
    assert 0.8 * colors <= result <= colors


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
