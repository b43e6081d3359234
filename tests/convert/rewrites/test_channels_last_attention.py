"""The channels-last form equals the published attentions: layout alone changes."""

import copy

import torch
from torch import nn

from convert.rewrites import channels_last_attention, strips
from convert.rewrites.channels_last_attention import FlatMAL, FlatMobileIQA, FlatSelfAttention
from mobileiqa.layers.mobile_iqa import CHANNELS, GRID, MAL
from mobileiqa.models.mobile_iqa import MobileIQA, Variant, published_prefixes
from mobileiqa.zoo import seed_weights


def planes(x: torch.Tensor) -> torch.Tensor:
    return x.t().reshape(1, CHANNELS, GRID, GRID)


def test_a_mal_is_equal(mal: MAL, matrices):
    xs = matrices(mal.n_inputs)
    with torch.no_grad():
        expected = mal(torch.stack([planes(x) for x in xs]))
        assert (planes(FlatMAL(mal)(xs)) - expected).abs().max() < 1e-12


def test_a_self_attention_is_equal(mal: MAL, matrices):
    layer, x = mal.self_attention[0], matrices(1)[0]
    with torch.no_grad():
        expected = layer(x.t()[None])[0].t()
        assert (FlatSelfAttention(layer)(x) - expected).abs().max() < 1e-12
    assert (expected - x).abs().max() > 0.01, "the gate must be open for this to mean anything"


def test_rows_and_planes_reverse_each_other(matrices):
    x = matrices(1)[0]
    assert torch.equal(channels_last_attention._planes(x, GRID), planes(x)) and torch.equal(
        channels_last_attention._rows(planes(x)), x
    )


def test_mobile_iqa_has_four_sites(seeded):
    model, sites = channels_last_attention.apply(copy.deepcopy(seeded("mobilenet-iqa")))
    assert isinstance(model, FlatMobileIQA) and not model.training
    assert (sites.replaced, sites.refused) == (4, [])
    assert not any(isinstance(m, MAL) for m in model.modules())


def test_a_small_grid_gives_the_same_score_and_features():
    torch.manual_seed(0)
    variant = Variant("mobilenetv3_small_050", (16, 8, 16, 24, 288), 1, True, grid=4)
    model, image = MobileIQA(variant), torch.randn(1, 3, 70, 90, dtype=torch.float64)
    seed_weights(model, published_prefixes(variant))
    model = model.double().eval()
    with torch.no_grad():
        features = model.forward_features(image)
        expected = model.forward_head(features)
        rewritten = channels_last_attention.apply(strips.apply(model)[0])[0]
        assert (rewritten(image) - expected).abs().max() < 1e-12
        for actual, target in zip(rewritten.forward_features(image), features, strict=True):
            assert target.shape[2:] == (256, 4, 4) and (actual - target).abs().max() < 1e-10


def test_other_models_are_left_alone():
    other = nn.Linear(2, 2)
    model, sites = channels_last_attention.apply(other)
    assert model is other and sites.replaced == 0
