import numpy as np
import pytest

from mobileiqa.distortions.brightness import brighten, contrast_change, curve, darken, mean_shift

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
    found = brighten(RAMP, amount, rng)[0] / 255
    assert found == pytest.approx(np.repeat(expected[:, None], 3, axis=1), abs=1.1 / 255)


@pytest.mark.parametrize("amount", [0.15, 0.08, 0, -0.08, -0.15])
def test_mean_shift_adds_its_amount_and_clips(rng, amount):
    assert row(mean_shift(RAMP, amount, rng)) == pytest.approx((X + amount).clip(0, 1), abs=0.51 / 255)
    grey = np.full((32, 32, 3), 128, np.uint8)
    assert mean_shift(grey, amount, rng).mean() - 128 == pytest.approx(255 * amount, abs=0.51)


@pytest.mark.parametrize("amount", [0.3, 0.15, 0, -0.4, -0.6])
def test_contrast_goes_through_its_points(rng, amount):
    found = row(contrast_change(RAMP, amount, rng))
    for x, y in ((0, 0), (0.3, 0.25 - amount / 4), (0.5, 0.5), (0.7, 0.75 + amount / 4), (1, 1)):
        assert np.interp(x, X, found) == pytest.approx(y, abs=0.6 / 255)
    assert found + found[::-1] == pytest.approx(np.ones(256), abs=1.1 / 255)  # dark and bright alike


def test_contrast_rises_and_falls_with_its_sign(photo, rng):
    rgb = np.asarray(photo(0, 64, 64))
    spread = [contrast_change(rgb, amount, rng).std() for amount in (0.3, 0.15, 0, -0.4, -0.6)]
    assert spread == sorted(spread, reverse=True)
    assert spread[2] > rgb.std() > spread[3]  # 0 is a little more contrast, not the identity


def test_curve_of_the_identitys_points_is_the_identity():
    assert curve(X, (0.3, 0.3), (0.5, 0.5), (0.7, 0.7)) == pytest.approx(X)
