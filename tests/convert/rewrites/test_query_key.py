"""One projection fewer: the attention is the same, the scores are not."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from convert.rewrites import query_key
from convert.rewrites.channels_last_attention import FlatMAL, Scores
from convert.rewrites.core import linear
from convert.rewrites.query_key import MergedScores, NarrowScores, merge


def scores(dim: int, width: int, scale: float) -> Scores:
    torch.manual_seed(dim)
    make = lambda: linear(torch.randn(width, dim) / dim**0.5, torch.randn(width)).double()  # noqa: E731
    return Scores(make(), make(), scale)


@pytest.mark.parametrize(
    ("dim", "width", "kind"),
    [(12, 12, MergedScores), (12, 7, MergedScores), (12, 6, NarrowScores), (32, 4, NarrowScores)],
)
def test_the_attention_is_equal(dim: int, width: int, kind: type[nn.Module]):
    before = scores(dim, width, 0.37)
    model, sites = query_key.apply(nn.Sequential(before))
    assert sites.replaced == 1 and type(model[0]) is kind
    x = torch.randn(9, dim, dtype=torch.float64)
    with torch.no_grad():
        raw, rewritten = before(x), model(x)
        assert (torch.softmax(rewritten, -1) - torch.softmax(raw, -1)).abs().max() < 1e-13
        row_constant = (rewritten - raw) - (rewritten - raw).mean(1, keepdim=True)
        assert row_constant.abs().max() < 1e-12 < (rewritten - raw).abs().max()


def test_products_are_computed_in_float64():
    before = scores(40, 40, 0.5)
    single = merge(copy.deepcopy(before.q).float(), copy.deepcopy(before.k).float(), 0.5)
    q, k = (layer.weight.float().double() for layer in (before.q, before.k))
    assert single.weight.dtype == torch.float32
    assert torch.equal(single.weight, (0.5 * (k.t() @ q)).float())


def test_a_seeded_mal_is_equal(mal, matrices):
    flat, xs = FlatMAL(copy.deepcopy(mal)), matrices(mal.n_inputs)
    with torch.no_grad():
        expected = flat(xs)
        flat, sites = query_key.apply(flat)
        assert (flat(xs) - expected).abs().max() < 1e-12
    kinds = Counter(type(module) for module in flat.modules())
    assert (kinds[MergedScores], kinds[NarrowScores], kinds[Scores]) == (2, mal.n_inputs, 0)
    assert sites.replaced == 2 + mal.n_inputs


def test_a_wrong_transpose_would_be_noticed():
    before = scores(12, 12, 1.0)
    wrong = merge(before.q, before.k, 1.0)
    wrong.weight.data = wrong.weight.data.t().clone()
    x = torch.randn(9, 12, dtype=torch.float64)
    result = torch.softmax(MergedScores(wrong)(x), -1)
    assert (result - torch.softmax(before(x), -1)).abs().max() > 1e-3
