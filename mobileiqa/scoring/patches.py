"""Test-time augmentation by patches, as MSLIQA's (arXiv 2408.16879): up to 108 patches of a photo are averaged.

3 scales x 2 patch sizes x 3x3 patches, each upright and transposed. The nine patches of a size lie on a uniform grid:
corners, edge centres and centre of the scaled image. Where the scaled image is too small for the patch, it is enlarged
until its short side equals the patch (the paper does not say); padding would show the model borders that are no part of
the photo. A window that this makes the same as another counts once, so that no part of a small image weighs more: a
512x384 image has 66 distinct patches, one of 772x772 or more all 108.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa.preprocess import byte_tables
from mobileiqa.spec import IMAGENET_MEAN, IMAGENET_STD

SCALES = (0.5, 1.0, 2.0)
SIZES_PX = (224, 384)
GRID = 3
COUNT = len(SCALES) * len(SIZES_PX) * GRID * GRID * 2
BATCH = 18  # patches at once: one scale and size

Bytes = NDArray[np.uint8]
# Normalised float32 (n, 3, size, size) -> scores (n,).
Predict = Callable[[NDArray[np.float32]], NDArray[np.floating]]


class Augmented(NamedTuple):
    """The mean score of an image, and over how many distinct patches."""

    score: float
    patches: int


def patches(image: Image.Image) -> dict[int, Bytes]:
    """The distinct patches of a mode RGB image by size: uint8 (n, size, size, 3), n at most 54.

    By scale, each scale's upright ones before its transposed ones. Memory: about that of the image at twice its
    width and height.
    """
    if image.mode != "RGB":
        raise ValueError(
            f"expected a mode RGB image (mobileiqa.photos.loading.to_rgb makes one); found mode {image.mode}"
        )
    by_size: dict[int, list[Bytes]] = {size: [] for size in SIZES_PX}
    scaled = image
    for target, size, corners in _windows(image.size):
        if scaled.size != target:
            scaled = image if target == image.size else image.resize(target, Image.Resampling.BICUBIC)
        pixels = np.asarray(scaled)
        upright = np.stack([pixels[top : top + size, left : left + size] for top, left in corners])
        by_size[size] += [upright, upright.swapaxes(1, 2)]
    return {size: np.concatenate(parts) for size, parts in by_size.items()}


def count(original: tuple[int, int]) -> int:
    """How many distinct patches an image of this (width, height) has: at most COUNT."""
    return sum(2 * len(corners) for _, _, corners in _windows(original))


def _windows(original: tuple[int, int]) -> Iterator[tuple[tuple[int, int], int, list[tuple[int, int]]]]:
    """(size of the scaled image, patch size, its corners (top, left)), each distinct window once."""
    seen: set[tuple[tuple[int, int], int]] = set()
    for scale in SCALES:
        for size in SIZES_PX:
            target = scaled_size(original, scale, size)
            if (target, size) in seen:
                continue
            seen.add((target, size))
            lefts, tops = (sorted({i * (n - size) // (GRID - 1) for i in range(GRID)}) for n in target)
            yield target, size, [(top, left) for top in tops for left in lefts]


def scaled_size(original: tuple[int, int], scale: float, patch_px: int) -> tuple[int, int]:
    """(width, height) of the image at `scale`, or at the larger scale at which its short side is patch_px."""
    scale = max(scale, patch_px / min(original))
    width, height = (max(patch_px, round(n * scale)) for n in original)
    return width, height


def score(
    image: Image.Image,
    predict: Predict,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Augmented:
    """The mean score of a mode RGB image over its patches, which `predict` gets by size."""
    scores = []
    for pixels in patches(image).values():
        for start in range(0, len(pixels), BATCH):
            scores.append(predict(_normalized(pixels[start : start + BATCH], mean, std)))
    joined = np.concatenate(scores).astype(np.float64)
    assert joined.shape == (count(image.size),), f"{joined.shape} scores for {count(image.size)} patches"
    return Augmented(float(joined.mean()), len(joined))


def _normalized(
    pixels: Bytes, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """uint8 (n, h, w, 3) -> float32 (n, 3, h, w), (pixel / 255 - mean) / std."""
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(byte_tables(mean, std))], 1)
