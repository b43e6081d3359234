"""All rewrites together: the scores and features of the published modules, site by site."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

from convert.rewrites import apply as deploy
from convert.rewrites.apply import apply_rewrites, probe_inputs
from convert.rewrites.core import Rewrite, Sites, linear
from convert.rewrites.strips import bins
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS

# How many sites each rewrite has in each model; a rewrite that is not named has none.
MOBILE = {
    "pool_in_strips": 5,
    "flatten_attention": 4,
    "merge_query_key": 26,
    "fold_level_mean": 4,
    "fold_gate": 18,
}
SITES = {
    "mobilenet-iqa": {"fold_batch_norm": 46, "band_blocks": 7, **MOBILE},
    "mobilenet-iqa-small": {"fold_batch_norm": 46, "band_blocks": 7, **MOBILE},
    "mobilevit-iqa": {"fold_batch_norm": 25, "flatten_linear_attention": 3, **MOBILE},
    "lar-iqa-kan": {"fold_batch_norm": 92, "band_blocks": 14, "spline_without_comparisons": 3},
    "lar-iqa-mlp": {"fold_batch_norm": 92, "band_blocks": 14},
    "lar-iqa-single": {"fold_batch_norm": 46, "band_blocks": 7, "spline_without_comparisons": 2},
    "lar-iqa-lite": {"fold_batch_norm": 49, "band_blocks": 16, "spline_without_comparisons": 2},
    "hyperiqa": {"fold_batch_norm": 53, "pad_pools_with_zeros": 1},
    "koncept512": {"fold_batch_norm": 204},
    "ms-scanet": {},
}
SLOW = ("mobilenet-iqa", "mobilevit-iqa", "koncept512", "ms-scanet")  # what they do is seen on smaller ones
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in SITES]
SMALL = "lar-iqa-single"


def images(name: str) -> list[torch.Tensor]:
    """One odd-sized image per input (224x224 where the model fixes it), float64."""
    generator = torch.Generator().manual_seed(5)
    sizes = (
        [(224, 224)]
        if name in ("hyperiqa", "ms-scanet")
        else [(77, 118), (131, 95)][: len(MODELS[name].spec.inputs)]
    )
    return [torch.randn(1, 3, *size, generator=generator, dtype=torch.float64) for size in sizes]


def features(module: nn.Module, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    result = module.forward_features(*inputs)
    return [result] if isinstance(result, torch.Tensor) else list(result)


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_features_are_those_of_the_published_module(name: str, seeded: Any):
    model, inputs = copy.deepcopy(seeded(name)).double(), images(name)
    module, report = apply_rewrites(model, MODELS[name].spec)
    assert {a.name: a.sites for a in report.applied} == SITES[name]
    assert all(a.refused == () for a in report.applied)
    # The spline's centres are float32 knots, 6e-7 of a step off; all else is exact.
    limit = 1e-6 if "spline_without_comparisons" in SITES[name] else 1e-11
    with torch.inference_mode():
        expected, actual = model(*inputs), module(*inputs)
        assert expected.shape == actual.shape == (1,)
        assert (actual - expected).abs().max() <= limit * max(1, expected.abs().max())
        pairs = list(zip(features(model, inputs), features(module, inputs), strict=True))
    assert pairs
    for want, have in pairs:
        assert have.shape == want.shape and have.dtype == torch.float64
        assert (have - want).abs().max() <= 1e-11 * want.abs().max()


def test_the_model_that_was_passed_is_left_alone(seeded: Any):
    model = copy.deepcopy(seeded(SMALL))
    before, modules = copy.deepcopy(model.state_dict()), [type(m) for m in model.modules()]
    module, _ = apply_rewrites(model, MODELS[SMALL].spec)
    assert [type(m) for m in model.modules()] == modules
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert {p.dtype for p in module.parameters()} == {torch.float32} and not module.training


def test_the_report_is_json(seeded: Any):
    _, report = apply_rewrites(seeded(SMALL), MODELS[SMALL].spec)
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["model"] == SMALL and 0 <= data["max_abs_error"] < 1e-6
    assert [a["name"] for a in data["applied"]] == list(SITES[SMALL])
    assert all(a["equation"] for a in data["applied"])


def test_refusals_are_reported(seeded: Any):
    model = copy.deepcopy(seeded(SMALL))
    model.head.grid[3, 4] += 0.05
    module, report = apply_rewrites(model, MODELS[SMALL].spec)
    spline = next(a for a in report.applied if a.name == "spline_without_comparisons")
    assert spline.sites == 1 and "head: grid is not uniform" in spline.refused[0]
    image = images(SMALL)[0].float()
    with torch.inference_mode():
        assert module(image) == pytest.approx(model(image), abs=1e-4)


# Every way in which a rewrite may be wrong is caught by the probe.


def scale(factor: float) -> Rewrite:
    """A "rewrite" that scales the last layer's weights."""

    def apply(model: nn.Module) -> tuple[nn.Module, Sites]:
        model.head.base_weight.data *= factor
        return model, Sites(1)

    return Rewrite("scale", "W = factor W", apply)


@pytest.mark.parametrize("factor", [1.001, -1.0, float("nan"), float("inf")])
def test_a_rewrite_that_moves_the_score_is_a_bug(seeded: Any, monkeypatch, factor: float):
    monkeypatch.setattr(deploy, "rewrites", lambda *_: (scale(factor),))
    with pytest.raises(UserError, match="rewrites that move the score"):
        apply_rewrites(seeded(SMALL), MODELS[SMALL].spec)


def _off(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    return linear(weight * 1.01, bias)


def _late(size: int, grid: int) -> list[tuple[int, int]]:
    """PyTorch's bins less the first cell of those that have two or more."""
    return [(min(start + 1, end - 1), end) for start, end in bins(size, grid)]


@pytest.mark.parametrize(
    ("module", "attribute", "wrong", "name"),
    [
        ("spline", "linear", _off, SMALL),
        pytest.param("query_key", "linear", _off, "mobilenet-iqa", marks=pytest.mark.slow),
        pytest.param("level_mean", "linear", _off, "mobilenet-iqa", marks=pytest.mark.slow),
        pytest.param("linear_attention", "linear", _off, "mobilevit-iqa", marks=pytest.mark.slow),
        pytest.param(
            "fold_gamma", "scaled", lambda layer, factor: layer, "mobilenet-iqa", marks=pytest.mark.slow
        ),
        pytest.param("strips", "bins", _late, "mobilenet-iqa", marks=pytest.mark.slow),
    ],
)
def test_a_perturbed_equation_is_a_bug(
    module: str, attribute: str, wrong: Any, name: str, seeded: Any, monkeypatch
):
    """Weights off by a percent, a gate left out, bins that start late."""
    monkeypatch.setattr(f"convert.rewrites.{module}.{attribute}", wrong)
    with pytest.raises((UserError, RuntimeError)):  # torch says it itself when shapes do not fit any more
        apply_rewrites(seeded(name), MODELS[name].spec)


@pytest.mark.parametrize(("key", "value"), [("backbone.bn1.running_var", -1.0), ("head.base_weight", 1e38)])
def test_finite_weights_that_give_no_score_are_the_users_error(seeded: Any, key: str, value: float):
    model = copy.deepcopy(seeded(SMALL))
    model.state_dict()[key].fill_(value)
    if value > 0:  # float64 holds what float32 does not: the second factor makes it overflow
        for name, tensor in model.state_dict().items():
            if name.endswith("weight") and tensor.dim() == 4:
                tensor.fill_(1e38)
    with pytest.raises(UserError, match="scores a picture"):
        apply_rewrites(model, MODELS[SMALL].spec)


# Probes.


def test_probes_are_small_fixed_and_of_the_models_shape():
    single = probe_inputs(MODELS["mobilenet-iqa"].spec)
    assert [tuple(x.shape) for x in single] == [(1, 3, 128, 160)]
    assert torch.equal(single[0], probe_inputs(MODELS["mobilenet-iqa"].spec.resized(999, 99))[0])
    both = probe_inputs(MODELS["lar-iqa-kan"].spec)
    assert len(both) == 2 and not torch.equal(both[0], both[1])
    assert [tuple(x.shape) for x in probe_inputs(MODELS["hyperiqa"].spec)] == [(1, 3, 224, 224)]
    assert all(x.dtype == torch.float64 for x in (*single, *both))


def test_a_size_is_no_part_of_the_rewritten_module(seeded: Any):
    """Two sizes of one checkpoint share their weights bit for bit: the rewrites never see the size."""
    spec = MODELS[SMALL].spec
    one, other = (apply_rewrites(seeded(SMALL), spec.resized(*size))[0] for size in ((64, 64), (640, 320)))
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
