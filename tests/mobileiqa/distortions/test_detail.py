"""None"""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mobileiqa.distortions.detail import (
    color_block,
    denoise,
    disk,
    encode_jpeg,
    encode_jpeg2000,
    gaussian_blur,
    high_sharpen,
    impulse_noise,
    jitter,
    jpeg,
    jpeg2000,
    lens_blur,
    line,
    motion_blur,
    multiplicative_noise,
    non_eccentricity_patch,
    pixelate,
    white_noise,
    ycbcr_noise,
)


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


@pytest.mark.parametrize("amount", [1, 2, 3, 6, 12])
def test_sharpen_is_an_unsharp_mask_on_lightness(muted, rng, lab, amount):
    light = lab(muted)[..., 0]
    blurred = ndimage.gaussian_filter(light, 3, truncate=2.0, mode="nearest")
    expected = (light + amount * (light - blurred)).clip(0, 100)
    result = lab(high_sharpen(muted, amount, rng))
    inside = (expected > 5) & (expected < 95)  # where a and b still fit into sRGB
    assert inside.mean() > 0.4
    assert result[..., 0][inside] == pytest.approx(expected[inside], abs=0.6)
    assert result[inside][:, 1:] == pytest.approx(lab(muted)[inside][:, 1:], abs=1.5)


def test_flat_stays_flat(rng):
    flat = np.full((48, 48, 3), (180, 90, 40), np.uint8)
    assert np.abs(high_sharpen(flat, 12, rng).astype(int) - flat).max() <= 1


@pytest.mark.parametrize("quality", [43, 36, 24, 7, 4])
def test_jpeg_is_pillows_at_that_quality(photo, rng, quality):
    image = photo(0, 128, 96)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    rgb = np.asarray(image)
    assert encode_jpeg(rgb, quality) == file.getvalue()
    assert np.array_equal(jpeg(rgb, quality, rng), np.asarray(Image.open(file)))


def test_jpeg_has_the_standards_table_and_half_resolution_colour(photo):
    data = encode_jpeg(np.asarray(photo(0, 64, 64)), 24)
    image = Image.open(io.BytesIO(data))
    scale = 5000 / 24  # Annex K's first entry is 16; libjpeg scales it by 5000 / quality below 50
    assert image.quantization[0][0] == int((16 * int(scale) + 50) / 100)
    assert [component[1:3] for component in image.layer] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("ratio", [16, 32, 45, 120, 400])
def test_jpeg2000_has_its_ratio(photo, rng, ratio):
    rgb = np.asarray(photo(0, 512, 384))
    data = encode_jpeg2000(rgb, ratio)
    assert 0.98 * ratio <= rgb.nbytes / len(data) < 1.08 * ratio
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(jpeg2000(rgb, ratio, rng).astype(int) - decoded).max() <= 1


def test_jpeg2000_uses_the_irreversible_wavelet(photo):
    data = encode_jpeg2000(np.asarray(photo(0, 64, 64)), 16)
    coding_style = data.index(b"\xff\x52")  # COD, ISO/IEC 15444-1 A.6.1
    assert data[coding_style + 13] == 0  # 9-7 irreversible; 1 is 5-3 reversible


GREY = np.full((256, 256, 3), 128, np.uint8)
ROUNDING = 1 / 12 / 255**2  # variance of rounding to bytes


@pytest.mark.parametrize("variance", [0.001, 0.002, 0.003, 0.005, 0.01])
def test_white_noise_has_its_variance_in_every_channel_by_itself(rng, variance):
    noise = white_noise(GREY, variance, rng) / 255 - GREY / 255
    assert noise.mean() == pytest.approx(0, abs=3e-3 * np.sqrt(variance) + 1e-4)
    spread = np.cov(noise.reshape(-1, 3).T)
    assert np.diag(spread) == pytest.approx(variance + ROUNDING, rel=0.03)
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("variance", [0.0001, 0.0005, 0.001, 0.002, 0.003])
def test_ycbcr_noise_has_its_variance_in_8_bit_ycbcr(rng, variance):
    noise = (ycbcr_noise(GREY, variance, rng).astype(np.float64) - 128) / 255
    r, g, b = np.moveaxis(noise, -1, 0)
    # BT.601, as JPEG 2000 part 1 and ITU-R BT.601-7 give it, scaled to 16..235 and 16..240
    y = (0.299 * r + 0.587 * g + 0.114 * b) * 219 / 255
    cb, cr = (b - y * 255 / 219) / 1.772 * 224 / 255, (r - y * 255 / 219) / 1.402 * 224 / 255
    spread = np.cov([y.ravel(), cb.ravel(), cr.ravel()])
    assert np.diag(spread) == pytest.approx(variance, rel=0.05)
    assert np.abs(spread - np.diag(np.diag(spread))).max() < 0.03 * variance


@pytest.mark.parametrize("density", [0.001, 0.005, 0.01, 0.02, 0.03])
def test_impulse_noise_turns_its_share_of_samples_black_or_white(rng, density):
    out = impulse_noise(GREY, density, rng)
    black, white = out == 0, out == 255
    assert (black | white | (out == 128)).all()
    n = out.size
    for share in (black.mean(), white.mean()):
        assert share == pytest.approx(density / 2, abs=4 * np.sqrt(density / 2 / n))
    assert ((out != 128).sum(-1) == 1).mean() > 0.9 * 3 * density  # channels are hit one by one


@pytest.mark.parametrize("variance", [0.001, 0.005, 0.01, 0.02, 0.05])
def test_multiplicative_noise_is_uniform_and_grows_with_brightness(rng, variance):
    for value in (60, 150):
        flat = np.full((256, 256, 3), value, np.uint8)
        factor = multiplicative_noise(flat, variance, rng) / value - 1
        assert factor.var() == pytest.approx(variance + 1 / 12 / value**2, rel=0.02)
        assert np.abs(factor).max() <= np.sqrt(3 * variance) + 0.5 / value + 1e-6
    assert not multiplicative_noise(np.zeros((32, 32, 3), np.uint8), variance, rng).any()


@pytest.mark.parametrize("variance", [0.01, 0.03, 0.05, 0.1, 0.15])
def test_denoise_takes_most_of_the_noise_away(scene, variance):
    noisy = white_noise(scene, variance, np.random.default_rng(1))
    out = denoise(scene, variance, np.random.default_rng(1))
    left, was = (((x.astype(float) - scene) ** 2).mean() for x in (out, noisy))
    assert 0.02 * was < left < 0.35 * was


@pytest.fixture
def places():
    """Every pixel's colour says where it is: red its row, green its column."""
    y, x = np.mgrid[:256, :256]
    return np.stack([y, x, np.zeros_like(x)], axis=-1).astype(np.uint8)


SLOPE = 4  # bytes per pixel


def displacements(sigma: float) -> np.ndarray:
    """(pixels, 2): how far down and across jitter read a picture that rises evenly in both directions."""
    y, x = np.mgrid[:60, :60] * SLOPE
    ramp = np.stack([y, x, np.full_like(x, 128)], axis=-1).astype(np.uint8)
    moved = (jitter(ramp, sigma, np.random.default_rng(0)).astype(float) - ramp)[8:-8, 8:-8] / SLOPE
    assert not moved[..., 2].any()
    return moved[..., :2].reshape(-1, 2)


def test_small_jitter_adds_up_five_normal_displacements():
    moved = displacements(0.2)
    rounding = 1 / 12 / SLOPE**2
    assert moved.var(0).mean() - rounding == pytest.approx(5 * 0.2**2, rel=0.07)
    assert np.abs(moved.mean(0)).max() < 0.04
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.1


@pytest.mark.parametrize("sigma", [0.5, 1])
def test_large_jitter_loses_some_of_it_to_interpolation(sigma):
    assert 0.7 * np.sqrt(5) * sigma < displacements(sigma).std() < np.sqrt(5) * sigma


def test_one_patch_is_sixteen_pixels_square_and_moves_eight_at_most(places):
    moves = []
    for seed in range(200):
        out = non_eccentricity_patch(places, 1, np.random.default_rng(seed))
        changed = (out != places).any(-1)
        if not changed.any():
            moves.append((0, 0))  # the move may be none at all
            continue
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert (np.ptp(rows), np.ptp(columns)) == (15, 15)
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        move = (out.astype(int) - places)[box][..., :2]
        assert (move == move[0, 0]).all()
        moves.append(tuple(move[0, 0]))
    assert np.abs(moves).max() == 8
    assert len(set(moves)) > 100


@pytest.mark.parametrize("count", [20, 40, 60, 80, 100])
def test_patches_are_as_many_as_said(places, count):
    out = non_eccentricity_patch(places, count, np.random.default_rng(0))
    area = (out != places).any(-1).sum()
    share = 1 - (1 - 256 / 256**2) ** count  # of the picture, where patches fall independently
    assert area == pytest.approx(share * 256**2, rel=0.15)


@pytest.mark.parametrize("strength", [0.01, 0.05, 0.1, 0.2, 0.5])
def test_pixelate_leaves_so_many_rows_and_columns(places, rng, strength):
    out = pixelate(places, strength, rng)
    rest = int(np.ceil((0.95 - strength**0.6) * 256))
    assert len(np.unique(out[..., 0])) == len(np.unique(out[..., 1])) == rest
    assert np.abs(out.astype(int) - places).max() <= 1 / (0.95 - strength**0.6) + 1


def test_one_block_is_thirty_two_pixels_square_and_of_one_colour(places):
    corners, colors = [], []
    for seed in range(100):
        out = color_block(places, 1, np.random.default_rng(seed))
        changed = (out != places).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert (np.ptp(rows), np.ptp(columns)) == (31, 31)
        block = out[rows[0] : rows[0] + 32, columns[0] : columns[0] + 32]
        assert (block == block[0, 0]).all()
        corners.append((rows[0], columns[0]))
        colors.append(block[0, 0])
    assert np.ptp(corners, axis=0).min() > 180  # of 224
    assert np.ptp(colors, axis=0).min() > 220


@pytest.mark.parametrize("count", [2, 4, 6, 8, 10])
def test_blocks_are_as_many_as_said(photo, count):
    rgb = np.asarray(photo(0, 512, 384))
    areas = [(color_block(rgb, count, np.random.default_rng(s)) != rgb).any(-1).sum() for s in range(12)]
    assert max(areas) <= count * 32**2
    assert np.mean(areas) > 0.9 * count * 32**2
