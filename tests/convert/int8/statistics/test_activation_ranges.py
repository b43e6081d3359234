"""What is observed of activations, and the ranges made of it."""

import numpy as np
import pytest
import torch

from convert.int8.statistics.activation_ranges import Observer, least_error, min_max, observe_activations


def seen_of(values: np.ndarray) -> Observer:
    return Observer(float(values.min()), float(values.max()), values.astype(np.float32), len(values))


def error(values: np.ndarray, low: float, high: float) -> float:
    scale = (max(high, 0) - min(low, 0)) / 255
    zero = np.rint(-min(low, 0) / scale)
    return float((((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale - values) ** 2).mean())


def test_extremes_are_those_of_all_images_not_their_average(small, images) -> None:
    """The input's own range is known; an average of the images' maxima would be far inside it."""
    seen = observe_activations(small, images)
    inputs = np.stack([i["args_0"] for i in images])
    name = next(n for n, s in seen.items() if s.low == inputs.min() and s.high == inputs.max())
    assert seen[name].high > 1.5 * np.mean([i.max() for i in inputs])
    assert {len(s.values) for s in seen.values()} <= {n * 16 for n in (1, 8, 16, 768, 1024)}


def test_activations_are_the_networks_own(small, images) -> None:
    """A tensor of the file is followed into PyTorch: the mean over the pixels, before the linear layers."""
    from torch import nn

    seen = observe_activations(small, images)
    shapes = {name: len(s.values) for name, s in seen.items()}
    assert sum(n == 8 * 16 for n in shapes.values()) >= 1  # the means
    assert all(
        np.isfinite(s.values).all() and s.low <= s.values.min() <= s.values.max() <= s.high
        for s in seen.values()
    )
    swished = [s for s in seen.values() if s.low == pytest.approx(-0.375, abs=2e-3)]
    assert len(swished) >= 2  # hard-swish's least value, which no other operator here has
    assert float(nn.functional.hardswish(torch.tensor(-1.5))) == -0.375


def test_a_value_that_is_not_finite_is_refused(small, images) -> None:
    images[3]["args_0"][0, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="expected finite activations; found nan"):
        observe_activations(small, images)


def test_no_images_are_refused(small) -> None:
    with pytest.raises(ValueError, match="at least one calibration image"):
        observe_activations(small, [])


def test_least_error_clips_an_outlier_and_min_max_does_not() -> None:
    values = np.random.default_rng(0).laplace(size=50_000)
    values[7] = 25.0
    seen = seen_of(values)
    assert min_max(seen) == pytest.approx((values.min(), 25.0))
    low, high = least_error(seen)
    assert high < 25 and error(values, low, high) < error(values, *min_max(seen))


def test_least_error_keeps_all_of_an_even_distribution() -> None:
    seen = seen_of(np.random.default_rng(0).uniform(-1, 3, 20_000))
    low, high = least_error(seen)
    assert (low, high) == pytest.approx((seen.low, seen.high), rel=0.03)


@pytest.mark.parametrize("value", [0.0, 2.5, -1.0])
def test_constants_have_ranges(value: float) -> None:
    low, high = least_error(seen_of(np.full(10, value)))
    assert min(value, 0) <= max(low, min(value, 0)) and low <= high
