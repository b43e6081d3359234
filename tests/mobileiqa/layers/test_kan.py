"""KAN against a scalar transcription of the Cox-de Boor recursion."""

import math

import numpy as np
import pytest
import torch

from mobileiqa.layers.kan import BASES, KNOTS, KANLinear, b_splines, uniform_grid

IRREGULAR = np.array([-2.5, -1.9, -1.6, -1.0, -0.7, -0.1, 0.2, 0.9, 1.3, 1.4, 2.0, 3.1])


def basis(j: int, order: int, x: float, knots: np.ndarray) -> float:
    """B_{j,order}(x), de Boor 1978, eq. IX.14, on half-open intervals."""
    if order == 0:
        return float(knots[j] <= x < knots[j + 1])
    left = (x - knots[j]) / (knots[j + order] - knots[j])
    right = (knots[j + order + 1] - x) / (knots[j + order + 1] - knots[j + 1])
    return left * basis(j, order - 1, x, knots) + right * basis(j + 1, order - 1, x, knots)


def bases(x: float, knots: np.ndarray) -> list[float]:
    return [basis(j, 3, x, knots) for j in range(BASES)]


def points(knots: np.ndarray) -> np.ndarray:
    """The knots, a hair on either side of them, between them, and outside the grid."""
    between = np.random.default_rng(0).uniform(knots[0], knots[-1], 40)
    hair = np.concatenate([np.nextafter(knots, -9), np.nextafter(knots, 9)])
    return np.concatenate([knots, hair, between, [-1e6, knots[0] - 1, knots[-1] + 1, 1e6]])


def test_the_uniform_grid_is_the_published_one():
    grid = uniform_grid(3)
    assert grid.shape == (3, KNOTS) and grid.dtype == torch.float32 and grid.is_contiguous()
    assert np.allclose(grid.double().numpy(), -2.2 + 0.4 * np.arange(12), atol=3e-7)


@pytest.mark.parametrize(
    "knots", [uniform_grid(1)[0].double().numpy(), IRREGULAR], ids=["uniform", "irregular"]
)
def test_bases_equal_the_scalar_recursion(knots: np.ndarray):
    x = points(knots)
    result = b_splines(torch.from_numpy(x)[:, None], torch.from_numpy(knots)[None]).numpy()[:, 0]
    assert np.abs(result - [bases(v, knots) for v in x]).max() < 1e-13


def test_each_input_row_has_its_own_grid():
    grid = np.stack([IRREGULAR, uniform_grid(1)[0].double().numpy()])
    x = np.random.default_rng(1).uniform(-2, 2, (7, 2))
    result = b_splines(torch.from_numpy(x), torch.from_numpy(grid)).numpy()
    for row, values in zip(x, result, strict=True):
        assert np.allclose(values, [bases(v, k) for v, k in zip(row, grid, strict=True)], atol=1e-13)


def test_bases_sum_to_one_inside_and_vanish_outside():
    grid = uniform_grid(1).double()
    inside = torch.linspace(-0.999, 0.999, 50, dtype=torch.float64)[:, None]
    assert torch.allclose(b_splines(inside, grid).sum(-1), torch.ones(50, 1, dtype=torch.float64))
    outside = torch.tensor([[-2.21], [2.21], [50.0]], dtype=torch.float64)
    assert b_splines(outside, grid).abs().max() == 0


def test_the_layer_is_the_sum_that_its_docstring_says():
    torch.manual_seed(0)
    layer = KANLinear(3, 2).double()
    layer.grid[1] = torch.from_numpy(IRREGULAR)
    x = np.random.default_rng(2).uniform(-3, 3, (5, 3))
    state = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    for row, actual in zip(x, layer(torch.from_numpy(x)).detach().numpy(), strict=True):
        for out in range(2):
            expected = sum(
                state["base_weight"][out, i] * v / (1 + math.exp(-v))
                + state["spline_scaler"][out, i]
                * np.dot(state["spline_weight"][out, i], bases(v, state["grid"][i]))
                for i, v in enumerate(row)
            )
            assert actual[out] == pytest.approx(expected, rel=1e-12)
