"""Averages folded into value projections: the same opinion from half of the feature branch's values."""

import copy

import torch

from convert.rewrites import level_mean
from convert.rewrites.channels_last_attention import FeatureBranch, FlatMAL
from convert.rewrites.level_mean import FoldedMAL, fold, scaled
from mobileiqa.layers.mobile_iqa import CHANNELS, GRID, MAL

POSITIONS = GRID * GRID


def test_a_seeded_mal_is_equal(mal: MAL, matrices):
    model, xs = torch.nn.Sequential(FlatMAL(copy.deepcopy(mal))), matrices(mal.n_inputs)
    with torch.no_grad():
        expected = model[0](xs)
        model, sites = level_mean.apply(model)
        assert (model[0](xs) - expected).abs().max() < 1e-12
    assert sites.replaced == 1 and type(model[0]) is FoldedMAL
    width = mal.n_inputs * POSITIONS
    assert model[0].feature.v.weight.shape == (POSITIONS, width)
    assert model[0].channel.v.weight.shape == (mal.n_inputs * CHANNELS,) * 2


def test_a_second_time_finds_nothing(mal: MAL):
    model = level_mean.apply(torch.nn.Sequential(FlatMAL(mal)))[0]
    assert level_mean.apply(model)[1].replaced == 0


def test_the_feature_fold_averages_rows_a_level_apart(mal: MAL):
    branch = FeatureBranch(mal.feature, mal.n_inputs)
    result = fold(branch)
    rows = [7 + POSITIONS * level for level in range(mal.n_inputs)]
    assert torch.allclose(result.weight[7], branch.v.weight[rows].mean(0), atol=1e-15)
    assert torch.allclose(result.bias[7], branch.v.bias[rows].mean(), atol=1e-15)


def test_averaging_neighbours_instead_would_be_noticed(mal: MAL, matrices):
    """The mean goes over rows 484 apart; over neighbouring rows it has the same shape and is wrong."""
    flat, xs = FlatMAL(copy.deepcopy(mal)), matrices(mal.n_inputs)
    with torch.no_grad():
        expected = flat(xs)
        weight = flat.feature.v.weight
        neighbours = weight.reshape(POSITIONS, mal.n_inputs, -1).transpose(0, 1).reshape(weight.shape)
        flat.feature.v.weight = torch.nn.Parameter(neighbours)
        assert (FoldedMAL(flat)(xs) - expected).abs().max() > 1e-3


def test_scaling_is_computed_in_float64_and_rounded_once():
    layer = torch.nn.Linear(50, 30)
    result = scaled(layer, 1 / 3)
    assert torch.equal(result.weight, (layer.weight.double() * (1 / 3)).float())
    assert torch.equal(result.bias, (layer.bias.double() * (1 / 3)).float())
