"""GSD, the generalised score distribution for five categories: mean psi exactly, variance linear in rho.

Vmin = (ceil psi - psi)(psi - floor psi) and Vmax = (psi - 1)(5 - psi) are the smallest and largest variances that
votes of mean psi can have; rho = 1 gives the first, 0 the second. C = .75 Vmax / (Vmax - Vmin) is where the law is
binomial: below, it is beta-binomial; above, a mixture of the binomial and of the two votes next to psi.

The likelihood is smooth in eight pieces, psi between two whole votes times rho below or above C(psi), and has kinks
where they meet: ascent by gradients stalls there. So a piece is fitted by itself, ends included. Source: Cwiek et
al., public code gsd (Apache-2.0, its ref_prob.py agrees to 2e-16); written anew from the formulas.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
VOTES = np.arange(1.0, 6.0)
PIECES = tuple((low, upper) for low in (1, 2, 3, 4) for upper in (False, True))


def variances(psi: Values) -> tuple[Values, Values]:
    """The smallest and largest variance of votes with mean psi: (...) -> (...), (...)."""
    low = np.clip(np.floor(psi), 1, 4)
    return (low + 1 - psi) * (psi - low), (psi - 1) * (5 - psi)


def rho_of(psi: Values, variance: Values) -> Values:
    """The rho of a mean and a variance, 0..1; .5 where only one variance is possible (psi 1 or 5)."""
    smallest, largest = variances(psi)
    span = largest - smallest
    rho = (largest - variance) / np.where(span > 0, span, 1)
    return np.where(span > 1e-12, np.clip(rho, 0, 1), 0.5)


def variance_of(psi: Values, rho: Values) -> Values:
    """The variance of a mean and a rho: the inverse of `rho_of`."""
    smallest, largest = variances(psi)
    return rho * smallest + (1 - rho) * largest


def cells(psi: Values, rho: Values) -> Values:
    """Probabilities (..., 5) for psi (...) in 1..5 and rho (...) in 0..1."""
    psi, rho = np.broadcast_arrays(psi, rho)
    c = _binomial_rho(psi, np.clip(np.floor(psi), 1, 4))
    weight = (rho - c) / np.where(c < 1, 1 - c, 1)
    below = _beta_binomial(psi, np.minimum(rho, c), c)
    return np.where((rho < c)[..., None], below, _mixture(psi, np.maximum(weight, 0)))


def piece_cells(low: int, upper: bool, psi: Values, t: Values) -> Values:
    """Probabilities (..., 5) in one piece: psi in low..low + 1, t in 0..1 of the way from its lower rho up."""
    c = _binomial_rho(psi, np.full_like(psi, low))
    return _mixture(psi, t) if upper else _beta_binomial(psi, c * t, c)


def piece_rho(low: int, upper: bool, psi: Values, t: Values) -> Values:
    """The rho of a point of a piece."""
    c = _binomial_rho(psi, np.full_like(psi, low))
    return c + (1 - c) * t if upper else c * t


def _binomial_rho(psi: Values, low: Values) -> Values:
    """C for psi in low..low + 1; Vmax - Vmin is linear there, and a factor cancels in the outer two."""
    span = (5 - 2 * low) * psi + low * (low + 1) - 5
    inner = 0.75 * (psi - 1) * (5 - psi) / np.where((low == 1) | (low == 4), 1, span)
    return np.where(low == 1, (5 - psi) / 4, np.where(low == 4, (psi - 1) / 4, inner))


def _beta_binomial(psi: Values, rho: Values, c: Values) -> Values:
    """The published products with the common factor rho cancelled, so that rho = 0 is no special case."""
    high, low = (psi - 1) / 4, (5 - psi) / 4
    up, down = [np.ones_like(psi), high], [np.ones_like(psi), low]
    for i in range(1, 4):
        up.append(up[-1] * (high * rho + i * (c - rho)))
        down.append(down[-1] * (low * rho + i * (c - rho)))
    total = np.ones_like(psi)
    for i in range(1, 4):
        total = total * (rho + i * (c - rho))
    both = [1.0 if k in (0, 4) else rho for k in range(5)]
    return np.stack([BINOMIAL[k] * up[k] * down[4 - k] * both[k] / total for k in range(5)], -1)


def _mixture(psi: Values, weight: Values) -> Values:
    q = ((psi - 1) / 4)[..., None]
    binomial = BINOMIAL * q ** (VOTES - 1) * (1 - q) ** (5 - VOTES)
    nearest = np.maximum(0, 1 - np.abs(VOTES - psi[..., None]))
    return weight[..., None] * nearest + (1 - weight[..., None]) * binomial
