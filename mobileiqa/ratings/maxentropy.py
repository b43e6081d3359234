"""The law on 1..5 of largest entropy for a mean and a variance: p_k proportional to exp(l1 (k-psi) + l2 (k-psi)^2).

It is an exponential family, so the member with the data's mean and variance is the maximum-likelihood one. The
multipliers minimise the convex dual log sum exp(l.f) - l.t; Newton's method with halved steps takes under 60.
At the two ends of the variance the multipliers diverge, and the law has two votes only.
"""

import numpy as np
from numpy.typing import NDArray

from mobileiqa.ratings import gsd

Values = NDArray[np.float64]
_STEPS, _HALVINGS = 200, 40
_EXACT = 1e-18  # of what Newton's step promises: after one such step, rounding is left
_END = 1e-9  # rho closer to 0 or 1 is taken as being there: its law differs by less than that


def cells(psi: Values, rho: Values) -> Values:
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
    return np.maximum(0, 1 - np.abs(gsd.VOTES - psi[..., None]))


def _outer(psi: Values) -> Values:
    share = (psi[..., None] - 1) / 4
    return np.where(gsd.VOTES == 5, share, np.where(gsd.VOTES == 1, 1 - share, 0.0))


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
    distance = gsd.VOTES - psi[:, None]
    features = np.stack([distance, distance**2], -1)
    target = np.stack([np.zeros_like(psi), gsd.variance_of(psi, rho)], -1)
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
