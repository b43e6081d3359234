import numpy as np
import pytest
from scipy import ndimage

from mobileiqa.distortions.blur import disk, gaussian_blur, lens_blur, line, motion_blur


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1, 2, 5])
def test_gaussian_blur_is_scipys_with_a_window_of_two_sigma(photo, rng, sigma):
    rgb = np.asarray(photo(1, 96, 80))
    expected = ndimage.gaussian_filter(
        rgb.astype(np.float64), (sigma, sigma, 0), truncate=2.0, mode="nearest"
    )
    assert np.abs(gaussian_blur(rgb, sigma, rng) - expected).max() <= 1


def test_smallest_gaussian_changes_nothing(photo, rng):
    rgb = np.asarray(photo(1, 96, 80))
    assert np.array_equal(gaussian_blur(rgb, 0.1, rng), rgb)


def test_disk_of_radius_one_is_the_published_one():
    # fspecial('disk', 1), to the four digits that MATLAB prints
    corner, side, centre = 0.0251, 0.1453, 0.3183
    expected = [[corner, side, corner], [side, centre, side], [corner, side, corner]]
    assert disk(1) == pytest.approx(np.array(expected), abs=6e-5)


@pytest.mark.parametrize("radius", [2, 4, 6, 8])
def test_disk_is_flat_round_and_as_large_as_it_says(radius):
    kernel = disk(radius).astype(np.float64)
    size = len(kernel)
    assert size == 2 * radius + 1
    y, x = np.mgrid[:size, :size] - radius
    assert kernel[radius, radius] == pytest.approx(1 / (np.pi * radius**2), rel=2e-3)
    assert (kernel * (x**2 + y**2)).sum() == pytest.approx(radius**2 / 2 + 1 / 6, rel=0.04)
    assert kernel == pytest.approx(kernel.T, abs=1e-6)


def test_lens_blur_spreads_a_dot_over_the_disk(rng):
    rgb = np.zeros((48, 48, 3), np.uint8)
    rgb[24, 24] = 255
    out = lens_blur(rgb, 2, rng)
    assert np.abs(out[22:27, 22:27, 0] - 255 * disk(2)).max() <= 0.51
    assert out.astype(int).sum() == pytest.approx(3 * 255, abs=3 * 13)


@pytest.mark.parametrize(
    ("length", "row"),
    [(1, [0, 1, 0]), (4, [0.125, 0.25, 0.25, 0.25, 0.125]), (5, [0, 0.2, 0.2, 0.2, 0.2, 0.2, 0])],
)
def test_line_is_the_published_one(length, row):
    kernel = line(length, 0)
    assert kernel[len(kernel) // 2] == pytest.approx(row, abs=1e-6)
    assert line(length, np.pi / 2) == pytest.approx(kernel.T, abs=1e-6)


@pytest.mark.parametrize("degrees", [0, 30, 77, 90, 145])
def test_line_points_where_it_says(degrees):
    kernel = line(10, np.radians(degrees)).astype(np.float64)
    reach = len(kernel) // 2
    y, x = (
        reach - np.mgrid[: len(kernel), : len(kernel)][0],
        np.mgrid[: len(kernel), : len(kernel)][1] - reach,
    )
    spread = np.cov([x.ravel(), y.ravel()], aweights=kernel.ravel(), bias=True)
    values, axes = np.linalg.eigh(spread)
    assert np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180 == pytest.approx(degrees, abs=2)
    assert values[1] == pytest.approx((10**2 - 1) / 12, rel=0.1)  # of ten pixels in a row
    assert values[0] < 0.3


def test_motion_blur_of_one_pixel_changes_nothing_and_longer_ones_draw_their_angle(photo, rng):
    rgb = np.asarray(photo(1, 96, 80))
    assert np.array_equal(motion_blur(rgb, 1, rng), rgb)
    first, second = (motion_blur(rgb, 10, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(first, second)
