"""Codes of least output error."""

import itertools

import numpy as np
import pytest

from convert.int8.algorithms.weight_rounding import least_error, nearest


def problem(inputs: int, outputs: int = 12, groups: int = 2, seed: int = 0):
    """Weights, their scales, and second moments of inputs that are strongly correlated."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((groups, outputs, inputs))
    x = rng.standard_normal((groups, 400, inputs)) + 2 * rng.standard_normal((groups, 400, 1))
    return weights, np.abs(weights).max(-1) / 127, x.transpose(0, 2, 1) @ x / 400


def error(codes: np.ndarray, weights: np.ndarray, scales: np.ndarray, h: np.ndarray) -> np.ndarray:
    """(groups, outputs): the mean squared error of each output."""
    e = codes * scales[..., None] - weights
    return np.einsum("gok,gkl,gol->go", e, h, e)


def test_errors_cancel_in_the_output() -> None:
    weights, scales, h = problem(24)
    before, after = (
        error(codes, weights, scales, h)
        for codes in (nearest(weights, scales), least_error(weights, scales, h))
    )
    assert (after <= before * 1.02).all(), "the damping may cost an output two per cent, no more"
    assert after.sum() < 0.35 * before.sum()


def test_no_code_can_be_changed_for_the_better() -> None:
    weights, scales, h = problem(6, outputs=3, groups=1)
    codes = least_error(weights, scales, h)
    damped = h + 0.01 * np.trace(h[0]) / 6 * np.eye(6)
    best = error(codes, weights, scales, damped)
    for k, step in itertools.product(range(6), (-1, 1)):
        other = codes.copy()
        other[..., k] = (other[..., k] + step).clip(-127, 127)
        assert (error(other, weights, scales, damped) >= best - 1e-12).all()


def test_uncorrelated_inputs_are_rounded_to_nearest() -> None:
    weights, scales, _ = problem(9)
    h = np.stack([np.diag(np.arange(1.0, 10.0))] * 2)
    assert np.array_equal(least_error(weights, scales, h), nearest(weights, scales))


@pytest.mark.parametrize("dead", ["input", "output", "group"])
def test_what_is_always_zero_stays_finite(dead: str) -> None:
    weights, scales, h = problem(5)
    if dead == "output":
        weights[0, 1], scales[0, 1] = 0, 0
    elif dead == "input":
        h[:, 2], h[:, :, 2] = 0, 0
    else:
        h[1] = 0
    codes = least_error(weights, scales, h)
    assert np.isfinite(codes).all() and np.array_equal(codes, np.rint(codes)) and np.abs(codes).max() == 127
    if dead == "output":
        assert not codes[0, 1].any()
    if dead == "group":
        assert np.array_equal(codes[1], nearest(weights, scales)[1])
