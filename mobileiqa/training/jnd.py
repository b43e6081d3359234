"""JNDMix (arXiv 2302.09838): training images with noise that nobody sees, under their old label.

The noise is +-1 times a just-noticeable-difference map: how much a pixel's luminance may change unseen, by
Yang et al.'s nonlinear additivity model (IEEE TCSVT 15(6), 2005) of luminance adaptation and texture masking
(Chou and Li, IEEE TCSVT 5(6), 1995). Each pixel's R, G and B have signs of their own and share the luminance's map:
Yang's maps of the colour differences are left out. Noise belongs on what the model reads, after any resizing, which
would average most of it away.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.3  # C: what adaptation and masking hide twice (Yang, luminance)
TEXTURE_GAIN = 0.117  # eta: threshold per unit of gradient (Yang, luminance)
EDGE_WEIGHT = 0.1  # noise on a clear edge shows sooner than in texture
EDGE_BLUR_PX, EDGE_SIGMA = 7, 0.8
CANNY = (100, 200)  # hysteresis thresholds, ours: a step of 50 grey levels starts an edge

_BACKGROUND = np.array(
    [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]], np.float32
) / 32  # fmt: skip
# Weighted differences over 5x5 pixels, horizontal and falling diagonal; the other two are their turns.
_STRAIGHT = np.array(
    [[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]], np.float32
) / 16  # fmt: skip
_DIAGONAL = np.array(
    [[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]], np.float32
) / 16  # fmt: skip
_GRADIENTS = (_STRAIGHT, _STRAIGHT.T, _DIAGONAL, _DIAGONAL[:, ::-1])

Map = NDArray[np.float32]


def jnd_mix(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """rgb (H, W, 3) with each value moved up or down by its pixel's JND, rounded down and clipped to 0..255."""
    step = jnd_map(rgb).astype(np.int16)[..., None]  # rounds down: never more than the map
    sign = 1 - 2 * rng.integers(0, 2, rgb.shape, np.int16)
    return np.clip(rgb + sign * step, 0, 255).astype(np.uint8)


def jnd_map(rgb: NDArray[np.uint8]) -> Map:
    """rgb (H, W, 3) -> (H, W) float32: the luminance change, in grey levels, that is just not seen."""
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    adaptation, texture = luminance_adaptation(luma), texture_masking(luma)
    return adaptation + texture - OVERLAP * np.minimum(adaptation, texture)


def luminance_adaptation(luma: NDArray[np.uint8]) -> Map:
    """(H, W) -> threshold by the 5x5 surroundings' brightness: 20 on black, 3 on mid-grey, 6 on white."""
    background = cv2.filter2D(luma, cv2.CV_32F, _BACKGROUND)
    dark = 17 * (1 - np.sqrt(np.minimum(background, 127) / 127))
    return dark + np.maximum(background - 127, 0) * np.float32(3 / 128) + 3


def texture_masking(luma: NDArray[np.uint8]) -> Map:
    """(H, W) -> threshold by the largest of four 5x5 gradients, lowered near clear edges; 0 where flat."""
    gradient = np.max([np.abs(cv2.filter2D(luma, cv2.CV_32F, k)) for k in _GRADIENTS], axis=0)
    off_edge = np.where(cv2.Canny(luma, *CANNY) > 0, EDGE_WEIGHT, 1).astype(np.float32)
    weight = cv2.GaussianBlur(off_edge, (EDGE_BLUR_PX, EDGE_BLUR_PX), EDGE_SIGMA)
    return np.float32(TEXTURE_GAIN) * gradient * weight
