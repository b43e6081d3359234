"""The gate of a self-attention folded into its values."""

import copy

import torch

from convert.rewrites import fold_gamma
from convert.rewrites.channels_last_attention import FlatMAL, FlatSelfAttention
from mobileiqa.layers.mobile_iqa import MAL


def test_a_seeded_mal_is_equal_and_every_gate_is_folded(mal: MAL, matrices):
    flat, xs = FlatMAL(copy.deepcopy(mal)), matrices(mal.n_inputs)
    with torch.no_grad():
        expected = flat(xs)
        flat, sites = fold_gamma.apply(flat)
        assert (flat(xs) - expected).abs().max() < 1e-12
    assert (sites.replaced, sites.refused) == (mal.n_inputs, [])
    assert all(m.gamma is None for m in flat.modules() if isinstance(m, FlatSelfAttention))
    assert not any("gamma" in name for name, _ in flat.named_parameters())
    assert fold_gamma.apply(flat)[1].replaced == 0


def test_each_attention_has_its_own_gate(mal: MAL, matrices):
    layer = FlatSelfAttention(copy.deepcopy(mal.self_attention[0]))
    layer.gamma.data.fill_(-1.7)
    x = matrices(1)[0]
    with torch.no_grad():
        expected = layer(x)
        assert (fold_gamma.apply(layer)[0](x) - expected).abs().max() < 1e-12


def test_a_closed_gate_leaves_the_input(mal: MAL, matrices):
    layer = FlatSelfAttention(copy.deepcopy(mal.self_attention[0]))
    layer.gamma.data.zero_()
    x = matrices(1)[0]
    assert torch.equal(fold_gamma.apply(layer)[0](x), x)
