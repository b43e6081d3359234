"""MobileViTv2's blocks in 4-D, keys summed before they are projected."""

import copy

import pytest
import timm
import torch
from torch import nn

from convert.rewrites import linear_attention
from convert.rewrites.linear_attention import FlatMobileVit, Normalise, SummedKeys, absorb


@pytest.fixture(scope="module")
def backbone() -> nn.Module:
    """The smallest MobileViTv2, float64, norms that are not the identity."""
    torch.manual_seed(0)
    model = timm.create_model("mobilevitv2_050", pretrained=False, features_only=True).double().eval()
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
    return model


# At strides 8, 16 and 32 these maps have even sides, odd heights, odd widths, and a single cell.
@pytest.mark.parametrize(("height", "width"), [(64, 64), (153, 238), (33, 57), (205, 317), (40, 100), (8, 8)])
def test_every_level_is_equal(backbone: nn.Module, height: int, width: int):
    torch.manual_seed(height)
    x = torch.randn(1, 3, height, width, dtype=torch.float64)
    model, sites = linear_attention.apply(copy.deepcopy(backbone))
    assert (sites.replaced, sites.refused) == (3, [])
    with torch.no_grad():
        for actual, expected in zip(model(x), backbone(x), strict=True):
            assert actual.shape == expected.shape
            assert (actual - expected).abs().max() < 1e-12 * expected.abs().max()


@pytest.mark.slow
def test_the_seeded_teachers_backbone_is_equal(seeded):
    backbone = copy.deepcopy(seeded("mobilevit-iqa").backbone).double()
    model = linear_attention.apply(copy.deepcopy(backbone))[0]
    x = torch.randn(1, 3, 96, 136, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for actual, expected in zip(model(x), backbone(x), strict=True):
            assert (actual - expected).abs().max() < 1e-12 * expected.abs().max()


def test_folding_reverses_unfolding(backbone: nn.Module):
    block = FlatMobileVit(backbone.stages_2[1])
    x = torch.arange(6 * 8 * 5.0).reshape(6, 8, 5)
    tokens = block.unfold(x)
    assert tokens.shape == (4, 12, 5)
    assert torch.equal(tokens[1], x[0::2, 1::2].reshape(12, 5))
    assert torch.equal(block.fold(tokens, 6, 8)[0], x)


def test_an_attention_is_equal(backbone: nn.Module):
    block = backbone.stages_2[1].transformer[0]
    z = torch.randn(
        4, 9, block.attn.embed_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        affine = z * block.norm1.weight + block.norm1.bias
        expected = block.attn(affine.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        assert (SummedKeys(block.attn, block.norm1)(z) - expected).abs().max() < 1e-12


def test_the_norm_is_over_the_whole_map():
    x = torch.randn(4, 9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 3 + 1
    expected = nn.functional.group_norm(x.reshape(1, 1, -1), 1, eps=1e-5).reshape(x.shape)
    assert (Normalise(1e-5)(x) - expected).abs().max() < 1e-13


@pytest.mark.parametrize("bias", [True, False])
def test_the_affine_part_moves_into_the_projection(bias: bool):
    torch.manual_seed(0)
    norm, conv = nn.GroupNorm(1, 6).double(), nn.Conv2d(6, 4, 1, bias=bias).double()
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    z = torch.randn(7, 6, dtype=torch.float64)
    expected = conv((z * norm.weight + norm.bias).t()[None, :, :, None])[0, :, :, 0].t()
    assert (absorb(norm, conv)(z) - expected).abs().max() < 1e-13


def test_a_norm_that_depends_on_the_layout_is_refused(backbone: nn.Module):
    block = copy.deepcopy(backbone.stages_2[1])
    block.transformer[0].norm2 = nn.GroupNorm(2, block.transformer[0].norm2.num_channels)
    model, sites = linear_attention.apply(nn.Sequential(block))
    assert sites.replaced == 0 and model[0] is block
    assert sites.refused == ["0: its norms are not over the whole map, so they depend on its layout"]


@pytest.mark.parametrize("size", [(8, 10), (7, 10)], ids=["even", "odd"])
def test_the_exported_block_is_delegated_whole(backbone: nn.Module, exported, size: tuple[int, int]):
    """The published block does not convert at all: its 6-D unfolding is folded into impossible shapes."""
    from convert.delegation.partitions import forecast, runtime_delegation
    from convert.flatbuffer.reader import read_graph

    block = FlatMobileVit(copy.deepcopy(backbone.stages_2[1])).float()
    path = exported(block, torch.randn(1, block.local[0].conv.in_channels, *size))
    graph = read_graph(path)
    assert max(len(t.shape) for t in graph.tensors) <= 4
    assert forecast(graph).refusals == {}
    assert runtime_delegation(path)["partitions"] == 1
