"""Distortions of detail: blur, too much sharpening, JPEG and JPEG2000, noise, pixels in the wrong place.

Blur's kernels are as MATLAB's fspecial makes them; edges repeat. Compression is Pillow's own encoders: libjpeg-turbo
and OpenJPEG. Variances of noise are of values in 0..1.
"""

import io
from functools import cache
from math import ceil

import cv2
import numpy as np
from PIL import Image

from mobileiqa.distortions.pixels import Floats, Pixels, from_lab, gaussian, to_bytes, to_lab

_SLICES = 1024  # per pixel, to find how much of it a disk covers


def gaussian_blur(rgb: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """1: sigma in pixels; 0.1 changes nothing."""
    return gaussian(rgb, sigma)


def lens_blur(rgb: Pixels, radius: float, rng: np.random.Generator) -> Pixels:
    """2: mean over a disk of `radius` pixels."""
    return cv2.filter2D(rgb, -1, disk(radius), borderType=cv2.BORDER_REPLICATE)


def motion_blur(rgb: Pixels, length: float, rng: np.random.Generator) -> Pixels:
    """3: mean along a line of `length` pixels, at a random angle; 1 changes nothing."""
    return cv2.filter2D(rgb, -1, line(length, rng.uniform(0, np.pi)), borderType=cv2.BORDER_REPLICATE)


@cache
def disk(radius: float) -> Floats:
    """Square kernel, sum 1: each weight is the share of its pixel inside the circle."""
    reach = ceil(radius - 0.5)
    x = (np.arange((2 * reach + 1) * _SLICES) + 0.5) / _SLICES - reach - 0.5
    top = np.sqrt(np.maximum(radius**2 - x**2, 0))  # the circle's, above each slice
    y = np.arange(-reach, reach + 1)[:, None]
    inside = np.maximum(np.minimum(y + 0.5, top) - np.maximum(y - 0.5, -top), 0)
    covered = inside.reshape(len(y), -1, _SLICES).mean(-1)
    return (covered / covered.sum()).astype(np.float32)


def line(length: float, angle: float) -> Floats:
    """Square kernel, sum 1: weights fall to 0 at one pixel's distance from a line; angle in radians."""
    half = (length - 1) / 2
    reach = int(half) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = np.clip(x * np.cos(angle) - y * np.sin(angle), -half, half)
    distance = np.hypot(x - along * np.cos(angle), y + along * np.sin(angle))
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum()).astype(np.float32)


_RADIUS = 3.0  # sigma


def high_sharpen(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """24: unsharp mask on Lab's L: L + amount (L - L blurred by sigma 3)."""
    lab = to_lab(rgb)
    light = lab[..., 0]
    sharp = light + np.float32(amount) * (light - gaussian(light, _RADIUS))
    lab[..., 0] = np.clip(sharp, 0, 100)
    return from_lab(lab)


def jpeg2000(rgb: Pixels, ratio: float, rng: np.random.Generator) -> Pixels:
    """9: compressed to 1/ratio of the raw size, with the irreversible 9/7 wavelet."""
    return decode(encode_jpeg2000(rgb, ratio), "JPEG2000")


def jpeg(rgb: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """10: quality 1..100, colour at half resolution (4:2:0)."""
    return decode(encode_jpeg(rgb, int(quality)), "JPEG")


def encode_jpeg2000(rgb: Pixels, ratio: float) -> bytes:
    """The file's bytes."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(
        file, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[ratio]
    )
    return file.getvalue()


def encode_jpeg(rgb: Pixels, quality: int) -> bytes:
    """The file's bytes."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality)
    return file.getvalue()


def decode(data: bytes, form: str) -> Pixels:
    """A file's pixels, where its format is Pillow's `form`."""
    return np.array(Image.open(io.BytesIO(data), formats=(form,)))


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


PATCH_PX = 16
PATCH_REACH_PX = 8
BLOCK_PX = 32
_JITTER_PASSES = 5


def jitter(rgb: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """19: five times, every pixel is read (bicubic) from where N(0, sigma) pixels lead, down and across."""
    height, width = rgb.shape[:2]
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    pixels = rgb.astype(np.float32)
    for _ in range(_JITTER_PASSES):
        down, across = rng.standard_normal((2, height, width), np.float32) * np.float32(sigma)
        pixels = cv2.remap(pixels, x + across, y + down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return to_bytes(pixels)


def non_eccentricity_patch(rgb: Pixels, count: float, rng: np.random.Generator) -> Pixels:
    """20: one after the other, `count` patches of 16x16 are copied up to 8 pixels away, down and across."""
    out = rgb.copy()
    high = np.array(rgb.shape[:2]) - PATCH_PX - PATCH_REACH_PX
    sources = rng.integers(PATCH_REACH_PX, high, (int(count), 2), endpoint=True)
    targets = sources + rng.integers(-PATCH_REACH_PX, PATCH_REACH_PX, sources.shape, endpoint=True)
    for (y, x), (to_y, to_x) in zip(sources.tolist(), targets.tolist(), strict=True):
        patch = out[y : y + PATCH_PX, x : x + PATCH_PX].copy()  # the two may overlap
        out[to_y : to_y + PATCH_PX, to_x : to_x + PATCH_PX] = patch
    return out


def pixelate(rgb: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """21: nearest neighbour down by .95 - strength^.6, and up again."""
    height, width = rgb.shape[:2]
    factor = 0.95 - strength**0.6
    size = int(np.ceil(width * factor)), int(np.ceil(height * factor))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def color_block(rgb: Pixels, count: float, rng: np.random.Generator) -> Pixels:
    """23: `count` blocks of 32x32, each of one random colour, anywhere."""
    out = rgb.copy()
    corners = rng.integers(0, np.array(rgb.shape[:2]) - BLOCK_PX, (int(count), 2), endpoint=True)
    for (y, x), color in zip(corners.tolist(), rng.integers(0, 256, (int(count), 3)), strict=True):
        out[y : y + BLOCK_PX, x : x + BLOCK_PX] = color
    return out
