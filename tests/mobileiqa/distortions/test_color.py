import colorsys

import numpy as np
import pytest
from scipy import ndimage

from mobileiqa.distortions.color import (
    color_diffusion,
    color_shift,
    edge_weight,
    saturation_hsv,
    saturation_lab,
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
