import numpy as np
import pytest

from mobileiqa.distortions.noise import denoise, impulse_noise, multiplicative_noise, white_noise, ycbcr_noise

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
