"""Grid updates against a scalar reference, against scipy's splines, and against the published refit."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline, make_lsq_spline
from torch import nn

from mobileiqa.layers.kan import BASES, ORDER, KANLinear, b_splines
from mobileiqa.training.kan_grid import adapted_grid, regularization, update_grid, update_grids

IN, OUT = 4, 3


def basis(j: int, order: int, x: float, knots: list[float]) -> float:
    """B_{j,order}(x), de Boor 1978, eq. IX.14, on half-open intervals."""
    if order == 0:
        return float(knots[j] <= x < knots[j + 1])
    left = (x - knots[j]) / (knots[j + order] - knots[j])
    right = (knots[j + order + 1] - x) / (knots[j + order + 1] - knots[j + 1])
    return left * basis(j, order - 1, x, knots) + right * basis(j + 1, order - 1, x, knots)


def reference(layer: KANLinear, row: list[float]) -> list[float]:
    """The layer at one input row, in plain Python."""
    base, weight, scaler, grid = (
        getattr(layer, name).tolist() for name in ("base_weight", "spline_weight", "spline_scaler", "grid")
    )
    silu = [v / (1 + math.exp(-v)) for v in row]
    bases = [[basis(j, ORDER, v, knots) for j in range(BASES)] for v, knots in zip(row, grid, strict=True)]
    return [
        sum(
            base[o][i] * silu[i]
            + scaler[o][i] * sum(w * b for w, b in zip(weight[o][i], bases[i], strict=True))
            for i in range(len(row))
        )
        for o in range(len(base))
    ]


def inputs(count: int = 300, seed: int = 0) -> torch.Tensor:
    """(count, 4): uniform, skewed, clustered with ties, and narrow columns, all inside [-1, 1]."""
    rng = np.random.default_rng(seed)
    uniform, skewed = rng.uniform(-0.95, 0.95, count), rng.beta(1, 6, count) - 0.5
    ties = np.where(rng.random(count) < 0.4, 0.0, rng.uniform(0, 0.9, count))
    return torch.from_numpy(np.stack([uniform, skewed, ties, rng.normal(0.3, 0.02, count)], 1))


def random_layer(seed: int = 0) -> KANLinear:
    """Rough splines: independent coefficients."""
    torch.manual_seed(seed)
    layer = KANLinear(IN, OUT).double()
    nn.init.normal_(layer.spline_weight)
    nn.init.normal_(layer.spline_scaler)
    return layer


def cubic_layer() -> KANLinear:
    """Splines that are cubics on [-1, 1], which every grid can express; some scalers are 0, tiny and large."""
    layer = random_layer()
    x = torch.linspace(-0.999, 0.999, 60, dtype=torch.float64)[:, None].expand(-1, IN)
    design = b_splines(x, layer.grid)[:, 0]
    powers = torch.stack([x[:, 0] ** n for n in range(4)], 1)
    per_power = torch.linalg.lstsq(design, powers).solution.T  # (4, 8)
    with torch.no_grad():
        layer.spline_weight.copy_(torch.randn(OUT, IN, 4, dtype=torch.float64) @ per_power)
        layer.spline_scaler[0] = torch.tensor([0.0, 1e-30, -40.0, 0.7])
    return layer


def published_refit(layer: KANLinear, x: torch.Tensor) -> None:
    """The published update: fits the spline's output, which contains the scaler, and stores that."""
    with torch.no_grad():
        scaled = layer.spline_weight * layer.spline_scaler[..., None]
        output = torch.einsum("nic,oic->ino", b_splines(x, layer.grid), scaled)
        layer.grid.copy_(adapted_grid(x))
        design = b_splines(x, layer.grid).transpose(0, 1)
        fitted = torch.linalg.lstsq(design, output, driver="gelsd").solution
        layer.spline_weight.copy_(fitted.permute(2, 0, 1))


def change(layer: KANLinear, update, x: torch.Tensor) -> float:
    with torch.no_grad():
        before = layer(x)
        update(layer, x)
        return float((layer(x) - before).abs().max())


def test_the_new_grid_is_the_published_rule():
    x = inputs(47).numpy()
    for column, knots in zip(x.T, adapted_grid(torch.from_numpy(x), margin=0.05).numpy(), strict=True):
        ordered = np.sort(column)
        uniform = np.linspace(ordered[0] - 0.05, ordered[-1] + 0.05, 6)
        quantiles = [ordered[int(i * 46 / 5)] for i in range(6)]
        inner = 0.02 * uniform + 0.98 * np.array(quantiles)
        step = uniform[1] - uniform[0]
        beyond = step * np.arange(1, 4)
        expected = np.concatenate([inner[0] - beyond[::-1], inner, inner[-1] + beyond])
        assert np.allclose(knots, expected, rtol=0, atol=1e-14)
        assert (np.diff(knots) > 0).all() and knots[3] < ordered[0] and ordered[-1] < knots[8]


def test_the_updated_layer_equals_the_scalar_reference():
    layer = random_layer()
    assert update_grid(layer, inputs()).all()
    assert (layer.grid.diff(dim=1).std(1) > 1e-3).all(), "the grids should not be uniform"
    knots = layer.grid.T  # one row of inputs for each knot index: each input sits on its own knot
    hair = [torch.nextafter(knots, torch.full_like(knots, sign * 9)) for sign in (-1, 1)]
    between = (knots[1:] + knots[:-1]) / 2
    outside = torch.tensor([[-50.0], [50.0]], dtype=torch.float64).expand(-1, IN)
    x = torch.cat([knots, *hair, between, outside])
    result = layer(x).detach()
    expected = torch.tensor([reference(layer, row) for row in x.tolist()], dtype=torch.float64)
    assert (result - expected).abs().max() < 1e-11


def test_an_update_keeps_cubics_and_the_published_refit_does_not():
    x = inputs()
    rest = cubic_layer()
    assert change(rest, update_grid, x) < 1e-9
    assert change(cubic_layer(), published_refit, x) > 1
    between = torch.stack(
        [torch.linspace(float(c.min()), float(c.max()), 99, dtype=torch.float64) for c in x.T], 1
    )
    assert (rest(between) - cubic_layer()(between)).abs().max() < 1e-6, "between the data too"


def test_the_published_refit_differs_by_the_scaler_alone():
    """With scalers of 1 the two are the same rule: what separates them is the scaler, applied twice."""
    x = inputs()
    ours, published = random_layer(), random_layer()
    for layer in (ours, published):
        nn.init.ones_(layer.spline_scaler)
    update_grid(ours, x)
    published_refit(published, x)
    assert torch.equal(ours.grid, published.grid)
    assert (ours(x) - published(x)).abs().max() < 1e-6


def test_a_rough_spline_becomes_the_best_one_on_the_new_grid():
    layer, x = random_layer(), inputs()
    before = [
        [BSpline(layer.grid[i], layer.spline_weight.detach()[o, i], ORDER) for i in range(IN)]
        for o in range(OUT)
    ]
    update_grid(layer, x)
    for i in (0, 1, 3):  # scipy's solver wants data in every interval
        xs, knots = np.sort(x[:, i].numpy()), layer.grid[i].numpy()
        for o in range(OUT):
            best = make_lsq_spline(xs, before[o][i](xs), knots, ORDER)
            result = BSpline(knots, layer.spline_weight.detach()[o, i].numpy(), ORDER)
            assert np.abs(best(xs) - result(xs)).max() < 1e-7


def test_a_second_update_with_the_same_data_changes_nothing():
    layer, x = random_layer(), inputs()
    update_grid(layer, x)
    grid, weight = layer.grid.clone(), layer.spline_weight.detach().clone()
    assert change(layer, update_grid, x) < 1e-9
    assert torch.equal(layer.grid, grid)
    determined = [0, 1, 3]  # the column with ties leaves some coefficients free
    assert (layer.spline_weight - weight)[:, determined].abs().max() < 1e-5


def test_updates_are_deterministic_and_do_not_depend_on_the_order_of_images():
    x = inputs()
    first, second, shuffled = random_layer(), random_layer(), random_layer()
    update_grid(first, x)
    update_grid(second, x)
    update_grid(shuffled, x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))])
    assert torch.equal(first.spline_weight, second.spline_weight) and torch.equal(first.grid, second.grid)
    assert torch.equal(first.grid, shuffled.grid)
    assert (first(x) - shuffled(x)).abs().max() < 1e-9


def test_single_precision_keeps_the_function_too():
    layer, x = cubic_layer(), inputs()
    nn.init.ones_(layer.spline_scaler)
    assert change(layer.float(), update_grid, x.float()) < 1e-4


def test_inputs_outside_the_old_grid_get_splines_of_zero():
    layer = random_layer()
    update_grid(layer, inputs() + 10)
    assert layer.spline_weight.abs().max() < 1e-12
    assert layer.grid.min() > 7


@pytest.mark.parametrize("far", [20.0, -3e5])
def test_a_constant_column_near_zero_is_kept_and_one_far_away_stays_as_it_was(far: float):
    layer = cubic_layer().float()
    nn.init.zeros_(layer.base_weight)  # splines alone
    nn.init.ones_(layer.spline_scaler)
    x = inputs().float()
    x[:, 1], x[:, 2] = 0.25, far
    before, grid, weight = layer(x), layer.grid.clone(), layer.spline_weight.detach().clone()
    moved = update_grid(layer, x)
    assert moved.tolist() == [True, True, False, True]
    assert torch.equal(layer.grid[2], grid[2]) and torch.equal(layer.spline_weight[:, 2], weight[:, 2])
    assert (layer(x) - before).abs().max() < 1e-3 * before.abs().max()


@pytest.mark.parametrize("bad", [torch.zeros(5, IN + 1), torch.zeros(0, IN), torch.full((5, IN), math.nan)])
def test_bad_inputs_are_refused_and_change_nothing(bad: torch.Tensor):
    layer = random_layer()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    with pytest.raises(ValueError, match="expected finite inputs"):
        update_grid(layer, bad.double())
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())


def test_every_layer_of_a_model_is_updated_with_what_it_then_sees():
    torch.manual_seed(3)
    model = nn.Sequential(KANLinear(IN, 5), KANLinear(5, 1)).double()
    x = inputs()
    before = model(x)
    updated = update_grids(model, lambda: model(x))
    assert updated == {"0": IN, "1": 5}
    with torch.no_grad():
        hidden = model[0](x)
    assert torch.allclose(model[1].grid, adapted_grid(hidden), atol=1e-12), (
        "the second layer saw the first's update"
    )
    assert (model(x) - before).abs().max() < 0.05 * (before.max() - before.min())
    grid = model[0].grid.clone()
    model(x / 2)
    assert torch.equal(model[0].grid, grid), "the hooks should be gone"


def test_grids_of_two_processes_are_those_of_the_joint_batch():
    x = inputs()
    model, alone = nn.Sequential(random_layer()), nn.Sequential(random_layer())
    update_grids(model, lambda: model(x[:100]), gather=lambda part: torch.cat([part, x[100:]]))
    update_grids(alone, lambda: alone(x))
    assert torch.equal(model[0].grid, alone[0].grid)
    assert torch.equal(model[0].spline_weight, alone[0].spline_weight)


def test_regularization_is_l1_plus_entropy():
    layer = random_layer()
    l1 = np.abs(layer.spline_weight.detach().numpy()).mean(-1)
    p = l1 / l1.sum()
    expected = 0.3 * l1.sum() - 0.7 * (p * np.log(p)).sum()
    assert regularization(layer, 0.3, 0.7).item() == pytest.approx(expected, rel=1e-12)


def test_entropy_is_0_for_one_spline_and_its_maximum_for_equal_ones():
    layer = random_layer()
    with torch.no_grad():
        layer.spline_weight.fill_(-0.5)
    assert regularization(layer, 0, 1).item() == pytest.approx(math.log(IN * OUT))
    with torch.no_grad():
        layer.spline_weight[1:], layer.spline_weight[0, 1:] = 0, 0
    penalty = regularization(layer, 0, 1)
    penalty.backward()
    assert penalty.item() == 0 and torch.isfinite(layer.spline_weight.grad).all()


def test_regularization_of_zero_coefficients_is_zero_with_a_finite_gradient():
    layer = random_layer().float()
    nn.init.zeros_(layer.spline_weight)
    penalty = regularization(layer)
    penalty.backward()
    assert penalty.item() == 0 and torch.isfinite(layer.spline_weight.grad).all()


def test_the_gradient_of_the_regularization_is_its_slope():
    layer, step = random_layer(), 1e-6
    regularization(layer, 0.3, 0.7).backward()
    for place in ((0, 0, 0), (2, 3, 7), (1, 2, 4)):
        ends = []
        for sign in (-1, 1):
            moved = random_layer()
            with torch.no_grad():
                moved.spline_weight[place] += sign * step
                ends.append(regularization(moved, 0.3, 0.7).item())
        slope = (ends[1] - ends[0]) / (2 * step)
        assert layer.spline_weight.grad[place].item() == pytest.approx(slope, rel=1e-6)
