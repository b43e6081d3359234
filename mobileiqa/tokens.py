"""MUSIQ's tokens: a photo at several scales, each cut into patches with their place and scale (numpy, no torch).

    photo -> longest side 224 -> patches of 32x32, scale 0     each row of the result is one token:
          -> longest side 384 -> patches,          scale 1     3 x 32 x 32 values, place 0..99, scale, 1
          -> as it is         -> patches,          scale 2

Scales are resized without antialiasing, as the weights were trained, and zero padded to whole patches (mid grey). The
place is a cell of a grid of 10x10 that covers every scale alike. The published code pads each resized scale with empty
tokens to a fixed number and masks them out; attention gives them the weight 0 exactly, so they are left out here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobileiqa.spec import PATCH_PX, TOKEN_COLUMNS, Resample

GRID = 10  # cells on a side of the grid of places
CUBIC = -0.75  # a of the bicubic kernel: PyTorch's; Pillow's is -0.5
GAUSSIAN_RADIUS = 1.5  # pixels; TensorFlow's, whose sigma is a third of it

Pixels = NDArray[np.floating]


def multi_scale(
    image: Pixels, scales_px: Sequence[int], resample: Resample = Resample.BICUBIC, *, padded: bool = False
) -> Pixels:
    """All tokens of an image (3, height, width) with values in -1..1: (tokens, 3075), in the image's dtype.

    scales_px: the longest sides of the resized scales. The first 3072 columns are a patch, channels first; then
    place, scale and mask. padded: with the empty tokens of the published form, whose mask is 0.
    """
    parts = []
    for scale, longest in enumerate(sorted(scales_px)):
        height, width = scaled_size(*image.shape[1:], longest)
        part = tokens_of(resized(image, height, width, resample).astype(image.dtype), scale)
        side = -(-longest // PATCH_PX)
        empty = side * side - len(part) if padded else 0
        parts.append(np.pad(part, ((0, empty), (0, 0))))
    return np.concatenate([*parts, tokens_of(image, len(scales_px))])


def scaled_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width) of an image whose longest side becomes `longest`."""
    ratio = longest / max(height, width)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def tokens_of(image: Pixels, scale: int) -> Pixels:
    """The tokens of one scale, row by row: (rows * columns, 3075)."""
    cut = patches(image)
    rows, columns, values = cut.shape
    tokens = np.empty((rows * columns, TOKEN_COLUMNS), image.dtype)
    tokens[:, :values] = cut.reshape(-1, values)
    tokens[:, values] = places(rows, columns)
    tokens[:, values + 1 :] = scale, 1
    return tokens


def places(rows: int, columns: int) -> NDArray[np.int64]:
    """The place, 0..99, of each of rows * columns patches, row by row."""
    return (GRID * cells(rows)[:, None] + cells(columns)).ravel()


def cells(count: int) -> NDArray[np.int64]:
    """The grid's cell of each of `count` patches in a row: floor(10 i / count), in float32 as PyTorch computes it.

    The float32 product differs from integers only for some counts beyond 200 (205, 235, 266, 275, 305): photos of
    more than 6500 pixels on a side.
    """
    scale = np.float32(GRID) / np.float32(count)
    return np.minimum(np.floor(np.arange(count, dtype=np.float32) * scale), GRID - 1).astype(np.int64)


def patches(image: Pixels) -> Pixels:
    """(3, height, width) -> (rows, columns, 3072): zero padded to whole patches, the odd pixel behind."""
    padded = np.pad(image, [(0, 0), *map(margins, image.shape[1:])])
    channels, height, width = padded.shape
    rows, columns = height // PATCH_PX, width // PATCH_PX
    cut = padded.reshape(channels, rows, PATCH_PX, columns, PATCH_PX).transpose(1, 3, 0, 2, 4)
    return cut.reshape(rows, columns, -1)


def margins(side: int) -> tuple[int, int]:
    """The zeros before and behind a side that make it whole patches."""
    missing = -side % PATCH_PX
    return missing // 2, missing - missing // 2


def resized(image: Pixels, height: int, width: int, resample: Resample) -> NDArray[np.float64]:
    """(3, h, w) -> (3, height, width) without antialiasing: F.interpolate's bicubic, or TensorFlow's Gaussian."""
    rows, weights = resize_weights(image.shape[1], height, resample)
    half = sum(image[:, rows[:, k]] * weights[:, k, None] for k in range(rows.shape[1]))
    columns, weights = resize_weights(image.shape[2], width, resample)
    return np.asarray(sum(half[:, :, columns[:, k]] * weights[:, k] for k in range(columns.shape[1])))


def resize_weights(size: int, out: int, resample: Resample) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of `size` pixels make each of `out`, and their weights: both (out, pixels); a pixel may come twice."""
    return {Resample.BICUBIC: _bicubic, Resample.GAUSSIAN: _gaussian}[resample](size, out)


def _bicubic(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which 4 pixels make each of `out`, and their weights: both (out, 4). Pixels outside repeat the edge's."""
    place = (np.arange(out) + 0.5) * (size / out) - 0.5
    first = np.floor(place)
    distance = np.abs((place - first)[:, None] - np.arange(-1, 3))
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    index = np.clip(first[:, None] + np.arange(-1, 3), 0, size - 1).astype(np.int64)
    return index, np.where(distance <= 1, near, far)


def _gaussian(size: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `_bicubic`, with the Gaussian in pixels of the image, cut at its radius and at the image's edge.

    Places are float32, as TensorFlow's: a pixel at exactly the radius is in or out by their rounding.
    """
    scale = np.float32(1) / (np.float32(out) / np.float32(size))
    place = (np.arange(out, dtype=np.float32) + np.float32(0.5)) * scale
    index = np.floor(place)[:, None] + np.arange(-2, 3, dtype=np.float32)
    distance = np.abs(index + np.float32(0.5) - place[:, None])
    inside = (distance < GAUSSIAN_RADIUS) & (index >= 0) & (index < size)
    weights = np.where(inside, np.exp(-0.5 * (distance.astype(np.float64) * 3 / GAUSSIAN_RADIUS) ** 2), 0)
    return np.clip(index, 0, size - 1).astype(np.int64), weights / weights.sum(1, keepdims=True)
