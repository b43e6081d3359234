"""8-bit weights whose errors cancel: quantized values of least error in the operator's output, not in the weights.

Round to nearest is best for one weight alone. The output, though, is off by the sum of its weights' errors times
its inputs, and inputs are correlated: with H their second moments, the mean squared error of an output is e H e'
for the errors e of its weights. Coordinate descent lowers that: one weight after the other gets its best value for
the others as they are, from round to nearest on, so that no output gets worse. The objective is GPTQ's
(arXiv 2210.17323), the descent QuantEase's (arXiv 2309.01885).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HIGHEST = 127  # quantized values are symmetric
SWEEPS = 4  # the fifth changes one value in thousands
DAMPING = 0.01  # of the mean second moment, on the diagonal: what a few thousand samples cannot tell apart


def nearest(weights: Floats, scales: Floats) -> Floats:
    """Round to nearest. weights (groups, outputs, inputs), scales (groups, outputs): whole numbers."""
    return np.rint(weights / _divisors(scales)).clip(-HIGHEST, HIGHEST)


def least_error(weights: Floats, scales: Floats, covariance: Floats) -> Floats:
    """Quantized values (groups, outputs, inputs) of least output error: whole numbers -127..127.

    covariance: (groups, inputs, inputs), positive semidefinite: GPTQ's H, the second moments of the inputs; their
    covariance where a bias takes care of the mean.
    """
    quantized = nearest(weights, scales)
    trace = np.trace(covariance, axis1=1, axis2=2)[:, None, None]
    h = covariance + DAMPING * trace / covariance.shape[-1] * np.eye(covariance.shape[-1])
    slope = (
        quantized - weights / _divisors(scales)
    ) @ h  # half the gradient of e H e', in units of each output's scale
    for _ in range(SWEEPS):
        if not sum(_descend(quantized, slope, h, k) for k in range(h.shape[-1])):
            break
    return quantized


def _divisors(scales: Floats) -> Floats:
    """(groups, outputs, 1); that of an output whose weights are all zero can be anything."""
    return np.where(scales > 0, scales, 1.0)[..., None]


def _descend(quantized: Floats, slope: Floats, h: Floats, k: int) -> int:
    """Gives the k-th weight of every output its best value; returns how many changed. In place."""
    curvature = np.maximum(h[:, k, k, None], np.finfo(np.float64).tiny)  # zero for a dead input: slope is too
    nearest = np.rint(quantized[..., k] - slope[..., k] / curvature).clip(-HIGHEST, HIGHEST)
    groups, outputs = np.nonzero(nearest != quantized[..., k])
    change = nearest[groups, outputs] - quantized[groups, outputs, k]
    quantized[groups, outputs, k] += change
    slope[groups, outputs] += change[:, None] * h[groups, k]
    return len(change)
