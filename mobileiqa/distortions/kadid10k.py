"""KADID-10k's 25 distortions at five levels each: numbers, amounts and what they do.

Definitions follow the authors' published generator, so that the scores people gave KADID-10k's images hold
for other images, too. Left out: it stretched every image to the full 0..255 before and after, which makes an
image's contrast depend on its one darkest and one brightest sample, and undoes part of a mean shift.
"""

from dataclasses import dataclass

from mobileiqa.distortions import (
    blur,
    brightness,
    color,
    compression,
    noise,
    quantization,
    sharpness,
    spatial,
)
from mobileiqa.distortions.pixels import Function

LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion; `function(rgb, levels[level - 1], rng)` applies it.

    monotone: people rate every level below the one before. Two distortions have their best level in the middle.
    """

    number: int  # KADID-10k's
    name: str
    levels: tuple[float, float, float, float, float]
    function: Function
    monotone: bool = True


_ALL = (
    Distortion(1, "Gaussian blur", (0.1, 0.5, 1, 2, 5), blur.gaussian_blur),
    Distortion(2, "lens blur", (1, 2, 4, 6, 8), blur.lens_blur),
    Distortion(3, "motion blur", (1, 2, 4, 6, 10), blur.motion_blur),
    Distortion(4, "colour diffusion", (1, 3, 6, 8, 12), color.color_diffusion),
    Distortion(5, "colour shift", (1, 3, 6, 8, 12), color.color_shift),
    Distortion(6, "colour quantization", (64, 48, 32, 16, 8), quantization.color_quantization),
    Distortion(7, "saturation (HSV)", (0.4, 0.2, 0.1, 0, -0.4), color.saturation_hsv),
    Distortion(8, "saturation (Lab)", (1, 2, 3, 6, 9), color.saturation_lab),
    Distortion(9, "JPEG2000", (16, 32, 45, 120, 400), compression.jpeg2000),
    Distortion(10, "JPEG", (43, 36, 24, 7, 4), compression.jpeg),
    Distortion(11, "white noise", (0.001, 0.002, 0.003, 0.005, 0.01), noise.white_noise),
    Distortion(12, "noise in YCbCr", (0.0001, 0.0005, 0.001, 0.002, 0.003), noise.ycbcr_noise),
    Distortion(13, "impulse noise", (0.001, 0.005, 0.01, 0.02, 0.03), noise.impulse_noise),
    Distortion(14, "multiplicative noise", (0.001, 0.005, 0.01, 0.02, 0.05), noise.multiplicative_noise),
    Distortion(15, "denoise", (0.01, 0.03, 0.05, 0.1, 0.15), noise.denoise),
    Distortion(16, "brighten", (0.1, 0.2, 0.4, 0.7, 1.1), brightness.brighten),
    Distortion(17, "darken", (0.05, 0.1, 0.2, 0.4, 0.8), brightness.darken),
    Distortion(18, "mean shift", (0.15, 0.08, 0, -0.08, -0.15), brightness.mean_shift, monotone=False),
    Distortion(19, "jitter", (0.05, 0.1, 0.2, 0.5, 1), spatial.jitter),
    Distortion(20, "non-eccentricity patch", (20, 40, 60, 80, 100), spatial.non_eccentricity_patch),
    Distortion(21, "pixelate", (0.01, 0.05, 0.1, 0.2, 0.5), spatial.pixelate),
    Distortion(22, "quantization", (20, 16, 13, 10, 7), quantization.quantization),
    Distortion(23, "colour block", (2, 4, 6, 8, 10), spatial.color_block),
    Distortion(24, "high sharpen", (1, 2, 3, 6, 12), sharpness.high_sharpen),
    Distortion(25, "contrast change", (0.3, 0.15, 0, -0.4, -0.6), brightness.contrast_change, monotone=False),
)
DISTORTIONS: dict[int, Distortion] = {distortion.number: distortion for distortion in _ALL}
