"""Two laws of votes 1..5 with exactly a mean, psi, and a variance, given as rho in 0..1.

Vmin = (ceil psi - psi)(psi - floor psi) and Vmax = (psi - 1)(5 - psi) are the smallest and largest variances that
votes of mean psi can have; rho = 1 gives the first, 0 the second.

GSD, the generalised score distribution: C = .75 Vmax / (Vmax - Vmin) is where the law is binomial: below, it is
beta-binomial; above, a mixture of the binomial and of the two votes next to psi.

The likelihood is smooth in eight pieces, psi between two whole votes times rho below or above C(psi), and has kinks
where they meet: ascent by gradients stalls there. So a piece is fitted by itself, ends included. Source: Cwiek et
al., public code gsd (Apache-2.0, its ref_prob.py agrees to 2e-16); written anew from the formulas.

Maximum entropy: p_k proportional to exp(l1 (k-psi) + l2 (k-psi)^2).

It is an exponential family, so the member with the data's mean and variance is the maximum-likelihood one. The
multipliers minimise the convex dual log sum exp(l.f) - l.t; Newton's method with halved steps takes under 60.
At the two ends of the variance the multipliers diverge, and the law has two votes only.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
VOTES = np.arange(1.0, 6.0)
PIECES = tuple((low, upper) for low in (1, 2, 3, 4) for upper in (False, True))
_STEPS, _HALVINGS = 200, 40
_EXACT = 1e-18  # of what Newton's step promises: after one such step, rounding is left
_END = 1e-9  # rho closer to 0 or 1 is taken as being there: its law differs by less than that


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


def gsd_cells(psi: Values, rho: Values) -> Values:
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
    return weight[..., None] * _nearest(psi) + (1 - weight[..., None]) * binomial


def maxentropy_cells(psi: Values, rho: Values) -> Values:
    """Probabilities (..., 5) for psi (...) in 1..5 and rho (...) in 0..1."""
    psi, rho = np.broadcast_arrays(psi, rho)
    out = np.where((rho < 0.5)[..., None], _outer(psi), _nearest(psi))
    inner = _inner(psi, rho)
    if np.any(inner):
        distance, multipliers = _solve(psi[inner], rho[inner])
        out[inner] = _softmax(distance, multipliers)
    return out


def multipliers(psi: Values, rho: Values) -> Values:
    """(l1, l2) (..., 2) for psi and rho (...); NaN where the law has two votes only and they diverge."""
    psi, rho = np.broadcast_arrays(psi, rho)
    out = np.full((*psi.shape, 2), np.nan)
    inner = _inner(psi, rho)
    if np.any(inner):
        out[inner] = _solve(psi[inner], rho[inner])[1]
    return out


def _inner(psi: Values, rho: Values) -> NDArray[np.bool_]:
    return (psi > 1) & (psi < 5) & (rho > _END) & (rho < 1 - _END)


def _nearest(psi: Values) -> Values:
    return np.maximum(0, 1 - np.abs(VOTES - psi[..., None]))


def _outer(psi: Values) -> Values:
    share = (psi[..., None] - 1) / 4
    return np.where(VOTES == 5, share, np.where(VOTES == 1, 1 - share, 0.0))


def _softmax(features: Values, multipliers: Values) -> Values:
    exponent = np.einsum("bkf,bf->bk", features, multipliers)
    weight = np.exp(exponent - exponent.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def _dual(features: Values, target: Values, multipliers: Values) -> Values:
    exponent = np.einsum("bkf,bf->bk", features, multipliers)
    top = exponent.max(1)
    return top + np.log(np.exp(exponent - top[:, None]).sum(1)) - (multipliers * target).sum(1)


def _solve(psi: Values, rho: Values) -> tuple[Values, Values]:
    """(features (B, 5, 2), multipliers (B, 2)) of the inner laws, one (B,) each."""
    distance = VOTES - psi[:, None]
    features = np.stack([distance, distance**2], -1)
    target = np.stack([np.zeros_like(psi), variance_of(psi, rho)], -1)
    ell = np.zeros_like(target)  # the uniform law: Newton's matrix is well conditioned there
    active = np.arange(len(psi))
    for _ in range(_STEPS):
        if not len(active):
            break
        f, t = features[active], target[active]
        step, promise = _newton(f, t, ell[active])
        ell[active] = _backtrack(f, t, ell[active], step)
        active = active[promise > _EXACT]
    return features, ell


def _newton(features: Values, target: Values, ell: Values) -> tuple[Values, Values]:
    """Newton's step (R, 2) and twice the decrease that it promises (R,)."""
    p = _softmax(features, ell)
    mean = np.einsum("bk,bkf->bf", p, features)
    covariance = np.einsum("bk,bkf,bkg->bfg", p, features, features) - mean[:, :, None] * mean[:, None]
    gradient = mean - target
    ridge = 1e-14 * np.trace(covariance, axis1=1, axis2=2)[:, None, None] * np.eye(2)
    step = -np.linalg.solve(covariance + ridge, gradient[..., None])[..., 0]
    return step, -(step * gradient).sum(1)


def _backtrack(features: Values, target: Values, start: Values, step: Values) -> Values:
    """The start moved by the first of step, step/2, ... that does not raise the dual, image by image."""
    value, size = _dual(features, target, start), np.ones(len(start))
    for _ in range(_HALVINGS):
        moved = start + size[:, None] * step
        worse = ~(_dual(features, target, moved) <= value + 1e-15 * np.abs(value))
        if not worse.any():
            break
        size = np.where(worse, size / 2, size)
    return np.where(worse[:, None], start, moved)
