"""Noise, and what a denoiser leaves of it. Variances are of values in 0..1."""

import cv2
import numpy as np

from mobileiqa.distortions.pixels import Floats, Pixels, to_bytes

# 8-bit YCbCr (BT.601, 16..235) to RGB: noise is amplified, more in red and blue than in green.
_FROM_YCBCR = np.linalg.inv(
    np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
).astype(np.float32)

_DENOISER_LIMIT = (
    55.0  # the noise, in 8-bit steps, that KADID-10k's denoiser (MATLAB's DnCNN) was trained up to
)
_PATCH_PX, _SEARCH_PX = 5, 11


def white_noise(rgb: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """11: Gaussian, independent in every pixel and channel."""
    return to_bytes(rgb + _normal(rgb, variance, rng))


def ycbcr_noise(rgb: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """12: Gaussian, independent in Y, Cb and Cr."""
    return to_bytes(rgb + cv2.transform(_normal(rgb, variance, rng), _FROM_YCBCR))


def impulse_noise(rgb: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """13: a share `density` of the samples (R, G, B each by itself) becomes 0 or 255, half each."""
    chance = rng.random(rgb.shape, np.float32)
    out = rgb.copy()
    out[chance < density] = 255
    out[chance < density / 2] = 0
    return out


def multiplicative_noise(rgb: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """14: every sample times 1 + n, n uniform with mean 0 (MATLAB's speckle)."""
    uniform = rng.random(rgb.shape, np.float32) - np.float32(0.5)
    return to_bytes(rgb * (1 + np.float32(np.sqrt(12 * variance)) * uniform))


def denoise(rgb: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """15: white noise, removed again channel by channel by non-local means.

    KADID-10k used MATLAB's DnCNN, whose weights are not free; like it, this smooths weak noise away with the
    texture and leaves blotches of strong noise.
    """
    noisy = white_noise(rgb, variance, rng)
    strength = min(255 * float(np.sqrt(variance)), _DENOISER_LIMIT)
    channels = [
        cv2.fastNlMeansDenoising(channel, None, strength, _PATCH_PX, _SEARCH_PX)
        for channel in cv2.split(noisy)
    ]
    return cv2.merge(channels)


def _normal(rgb: Pixels, variance: float, rng: np.random.Generator) -> Floats:
    return rng.standard_normal(rgb.shape, np.float32) * np.float32(255 * np.sqrt(variance))
