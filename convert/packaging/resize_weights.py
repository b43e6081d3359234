"""Pillow's resize filters as numbers: which input pixels each output pixel reads, and with what weight.

Pillow resizes 8-bit images in fixed point: weights are rounded to 22 bits after the point, sums are shifted
back, rounded half up and clipped to 0..255, first along rows, then along columns (Resample.c, precompute_coeffs
and normalize_coeffs_8bpc). Those rounded weights have at most 23 significant bits, so float32 holds them exactly.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobileiqa.spec import Resample

FIXED_POINT = 1 << 22

Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class ResizeWeights:
    """Output i is the sum over k of weights[i, k] * input[first[i] + k]; int64 (outputs,), float64 (outputs, n)."""

    first: NDArray[np.int64]
    weights: NDArray[np.float64]

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Every `size` outputs: where the inputs that they read start, and the matrix (outputs, inputs)."""
        for start in range(0, len(self.first), size):
            first, weights = self.first[start : start + size], self.weights[start : start + size]
            used = (first + _count(weights)).max() - first[0]
            matrix = np.zeros((len(first), used), np.float32)
            for row, (offset, values) in enumerate(zip(first - first[0], weights, strict=True)):
                end = min(offset + len(values), used)
                matrix[row, offset:end] = values[: end - offset]
            yield int(first[0]), matrix


def pillow_weights(inputs: int, outputs: int, resample: Resample) -> ResizeWeights:
    """The weights with which Pillow makes `outputs` pixels of `inputs` along one axis, antialiased."""
    kernel, reach = KERNELS[resample]
    scale = inputs / outputs
    stretch = max(scale, 1.0)  # enlarging reads the nearest pixels only
    support = reach * stretch
    centre = (np.arange(outputs) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), inputs)
    position = first[:, None] + np.arange((end - first).max())
    weights = kernel((position - centre[:, None] + 0.5) * (1.0 / stretch))
    weights[position >= end[:, None]] = 0.0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # in Pillow's order of summation, to its last bit
    return ResizeWeights(first, np.trunc(weights * FIXED_POINT + np.copysign(0.5, weights)) / FIXED_POINT)


def _count(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many weights each output has, up to its last one that is not zero."""
    return weights.shape[1] - (weights[:, ::-1] != 0).argmax(axis=1)


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -1/2."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


def _sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    angle = np.where(x == 0.0, 1.0, x * math.pi)
    return np.where(x == 0.0, 1.0, np.sin(angle) / angle)


# The kernel, and how far it reaches in input pixels when nothing shrinks.
KERNELS: dict[Resample, tuple[Kernel, float]] = {
    Resample.BILINEAR: (_bilinear, 1.0),
    Resample.BICUBIC: (_bicubic, 2.0),
    Resample.LANCZOS: (_lanczos, 3.0),
}
