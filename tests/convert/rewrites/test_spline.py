"""KAN without comparisons equals the recursion on uniform grids, and refuses any other."""

import copy

import pytest
import torch
from torch import nn

from convert.rewrites import spline
from convert.rewrites.spline import UniformKAN
from mobileiqa.layers.kan import KANLinear, uniform_grid
from mobileiqa.layers.kan_bases import SplineLinear


def points(width: int) -> torch.Tensor:
    """On knots, between them, at the edges and far outside."""
    torch.manual_seed(1)
    knots = torch.arange(-8, 9, dtype=torch.float64) * 0.4 - 1
    values = torch.cat([knots, torch.linspace(-3, 3, 101, dtype=torch.float64), torch.tensor([-1e3, 1e3])])
    return torch.stack([values[torch.randperm(len(values))] for _ in range(width)], 1)


def difference(layer: KANLinear | SplineLinear, x: torch.Tensor) -> float:
    model, sites = spline.apply(nn.Sequential(copy.deepcopy(layer)))
    assert (sites.replaced, sites.refused) == (1, [])
    with torch.no_grad():
        return float((model(x) - layer(x)).abs().max())


@pytest.fixture
def layer() -> KANLinear:
    torch.manual_seed(0)
    layer = KANLinear(6, 4).double()
    layer.grid.copy_((torch.arange(-3, 9, dtype=torch.float64) * 0.4 - 1).expand(6, -1))
    return layer


def test_exact_on_a_uniform_grid(layer: KANLinear):
    assert difference(layer, points(6)) < 1e-12


def test_each_row_may_have_its_own_centre(layer: KANLinear):
    layer.grid += torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None]
    assert difference(layer, points(6)) < 1e-12


def test_zero_outside_the_extended_grid(layer: KANLinear):
    layer.base_weight.data.zero_()
    x = torch.tensor([[-2.2, 2.2, -2.3, 2.3, -50, 50]], dtype=torch.float64)
    assert UniformKAN(layer, 0.4)(x).abs().max() < 1e-15


@pytest.mark.parametrize("head", ["reduce", "head"])
def test_the_published_float32_grid_is_uniform_enough(seeded, head: str):
    """Its knots are off by up to 6e-7 of a step, which moves outputs by that much, not more."""
    layer = copy.deepcopy(getattr(seeded("lar-iqa-single"), head)).double()
    x = points(layer.grid.shape[0])
    assert difference(layer, x) < 1e-6 * float(layer(x).abs().max())


def test_a_layer_without_a_scaler():
    torch.manual_seed(0)
    layer = SplineLinear(6, 4).double()
    layer.grid.copy_((torch.arange(-3, 9, dtype=torch.float64) * 0.4 - 1).expand(6, -1))
    assert difference(layer, points(6)) < 1e-12
    layer.grid[3, 5] += 0.01
    assert "not uniform" in spline.apply(nn.Sequential(layer))[1].refused[0]


def test_a_rows_step_that_differs_is_refused(layer: KANLinear):
    layer.grid[2] *= 1.5
    model, sites = spline.apply(nn.Sequential(KANLinear(2, 3), nn.Sequential(layer)))
    assert sites.replaced == 1 and len(sites.refused) == 1
    assert sites.refused[0].startswith("1.0: grid is not uniform")
    assert model[1][0] is layer


@pytest.mark.parametrize("shift", [0.01, 1e-4, -0.39])
def test_an_updated_grid_is_refused(layer: KANLinear, shift: float):
    layer.grid[3, 5] += shift
    _, sites = spline.apply(nn.Sequential(layer))
    assert sites.replaced == 0 and "not uniform" in sites.refused[0]


@pytest.mark.parametrize("grid", [torch.zeros(6, 12), -uniform_grid(6), torch.full((6, 12), torch.nan)])
def test_a_grid_that_makes_no_sense_is_refused(layer: KANLinear, grid: torch.Tensor):
    layer.grid.copy_(grid)
    assert spline.apply(nn.Sequential(layer))[1].replaced == 0


def test_the_exported_graph_has_no_comparisons(exported, operators):
    torch.manual_seed(0)
    kan, x = KANLinear(6, 4), torch.randn(1, 6)
    before = operators(exported(kan, x))
    assert {"GREATER_EQUAL", "LESS", "LOGICAL_AND", "CAST"} <= before.keys()
    after = operators(exported(spline.apply(nn.Sequential(kan))[0], x))
    assert after == {
        "MUL": 7,
        "RESHAPE": 2,
        "SUB": 4,
        "ABS": 1,
        "LOGISTIC": 1,
        "FULLY_CONNECTED": 2,
        "ADD": 1,
    }
