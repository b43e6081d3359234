"""Minimises many smooth functions of two variables at once, each in its box: damped Gauss-Newton steps.

One image is one function. What changes from model to model is only where probabilities come from; derivatives are
central differences that stay inside the box (one-sided at its ends), so a kink at an end is never stepped over.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Rows = NDArray[np.int64]
Cells = Callable[[Values], Values]  # points (R, 2) -> probabilities (R, 5)

TINY = 1e-300  # below any probability that a vote leaves at an optimum
_STEPS = 300
_DIFFERENCE = 1e-5
_EXACT = 1e-11  # the decrease a full step promises, in the function's unit, at which a row ends
_STUCK = 1e9  # damping at which no step improves any more


def likelihood_fit(counts: Values, cells: Cells, start: Values, low: Values, high: Values) -> Values:
    """Points (B, 2) of largest likelihood of counts (B, 5) near start (B, 2): Fisher scoring."""

    def value(x: Values, rows: Rows) -> Values:
        return negative_log_likelihood(counts[rows], cells(x))

    def slope(x: Values, rows: Rows) -> tuple[Values, Values]:
        n, p = counts[rows], np.maximum(cells(x), TINY)
        change = _jacobian(cells, x, low, high) / p[..., None]
        gradient = -np.einsum("bk,bkf->bf", n, change)
        return gradient, np.einsum("b,bk,bkf,bkg->bfg", n.sum(1), p, change, change)

    return _descend(value, slope, start, low, high)


def moment_fit(
    mean: Values, variance: Values, cells: Cells, start: Values, low: Values, high: Values
) -> Values:
    """Points (B, 2) whose law has mean (B,) and variance (B,), or comes nearest in least squares."""
    votes = np.arange(1.0, 6.0)
    target = np.stack([mean, variance], -1)

    def weights(rows: Rows) -> Values:
        """(R, 5, 2): what turns probabilities into the mean, and into the variance about the target's mean."""
        return np.stack([np.broadcast_to(votes, (len(rows), 5)), (votes - mean[rows, None]) ** 2], -1)

    def residual(x: Values, rows: Rows) -> Values:
        return 1e4 * (np.einsum("bk,bkf->bf", cells(x), weights(rows)) - target[rows])

    def value(x: Values, rows: Rows) -> Values:
        return (residual(x, rows) ** 2).sum(1) / 2

    def slope(x: Values, rows: Rows) -> tuple[Values, Values]:
        jacobian = 1e4 * np.einsum("bkf,bkg->bgf", _jacobian(cells, x, low, high), weights(rows))
        gradient = np.einsum("bgf,bg->bf", jacobian, residual(x, rows))
        return gradient, np.einsum("bgf,bgh->bfh", jacobian, jacobian)

    return _descend(value, slope, start, low, high)


def negative_log_likelihood(counts: Values, probabilities: Values) -> Values:
    """-sum n_k log p_k (...,) of (..., 5) and (..., 5), with 0 log 0 = 0 and no multinomial coefficient."""
    logs = np.log(np.maximum(probabilities, TINY))
    return -np.where(counts > 0, counts * logs, 0.0).sum(-1)


def _jacobian(cells: Cells, x: Values, low: Values, high: Values) -> Values:
    """(R, 5, 2): the change of each probability with each variable."""
    columns = []
    for axis in range(2):
        up, down = x.copy(), x.copy()
        up[:, axis] = np.minimum(x[:, axis] + _DIFFERENCE, high[axis])
        down[:, axis] = np.maximum(x[:, axis] - _DIFFERENCE, low[axis])
        columns.append((cells(up) - cells(down)) / (up - down)[:, axis, None])
    return np.stack(columns, -1)


def _descend(value: Callable, slope: Callable, start: Values, low: Values, high: Values) -> Values:
    x = np.clip(start, low, high)
    active = np.arange(len(x))
    level = value(x, active)
    damping = np.full(len(x), 1e-3)
    for _ in range(_STEPS):
        if not len(active):
            break
        here = x[active]
        gradient, curvature = slope(here, active)
        gradient = np.where(
            ((here <= low) & (gradient > 0)) | ((here >= high) & (gradient < 0)), 0.0, gradient
        )
        step = _step(gradient, curvature, damping[active])
        trial = np.clip(here + step, low, high)
        after = value(trial, active)
        better = after < level[active]
        x[active[better]], level[active[better]] = trial[better], after[better]
        damping[active] = np.where(better, damping[active] / 5, np.maximum(damping[active], 1e-4) * 4)
        promise = -(_step(gradient, curvature, np.zeros(len(active))) * gradient).sum(1)
        active = active[(promise > _EXACT) & (damping[active] < _STUCK)]
    return x


def _step(gradient: Values, curvature: Values, damping: Values) -> Values:
    """-(H + damping diag H)^-1 g with the variables left out whose gradient is 0; (R, 2)."""
    open_ = gradient != 0
    diagonal = np.where(open_, np.diagonal(curvature, axis1=1, axis2=2), 1.0)
    diagonal = np.maximum(diagonal, 1e-12 * diagonal.max(1, keepdims=True)) * (1 + damping[:, None]) + 1e-12
    cross = np.where(open_.all(1), curvature[:, 0, 1], 0.0)
    limit = (1 - 1e-9) * np.sqrt(diagonal.prod(1))
    cross = np.clip(cross, -limit, limit)
    determinant = diagonal.prod(1) - cross**2
    first = diagonal[:, 1] * gradient[:, 0] - cross * gradient[:, 1]
    second = diagonal[:, 0] * gradient[:, 1] - cross * gradient[:, 0]
    return -np.stack([first, second], -1) / determinant[:, None]
