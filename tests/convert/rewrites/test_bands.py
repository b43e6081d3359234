"""The first blocks in bands: every band height, stride, kernel and border."""

import copy

import pytest
import timm
import torch
from torch import nn

from convert import row_ranges
from convert.rewrites import bands
from convert.rewrites.bands import Banded

KERNELS = [(1, 1), (3, 1), (3, 2), (5, 2), (5, 1)]  # side, stride


def chain() -> Banded:
    torch.manual_seed(0)
    convs = [nn.Conv2d(3, 3, k, s, k // 2, groups=3 if k > 1 else 1).double() for k, s in KERNELS]
    return Banded(convs, [nn.ReLU() for _ in convs])


@pytest.mark.parametrize(("height", "width"), [(64, 48), (61, 37), (5, 9), (1, 1), (97, 3)])
@pytest.mark.parametrize("row_bytes", [0.3, 1, 3, 7])
def test_bands_equal_the_plain_chain(monkeypatch, height: int, width: int, row_bytes: float):
    """A band may be one row high, and the last one shorter than the others."""
    monkeypatch.setattr(row_ranges, "BAND_BYTES", max(1, int(4 * 3 * width * row_bytes)))
    model, x = chain(), torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        assert (model(x) - model.whole(x)).abs().max() < 1e-13


def test_the_rows_that_a_band_reads():
    """Two 3x3 convolutions, the second with stride 2, over 10 rows: output rows 2..4 are rows 3..8 (of 5)."""
    model = Banded([nn.Conv2d(1, 1, 3, 1, 1), nn.Conv2d(1, 1, 3, 2, 1)], [nn.ReLU(), nn.ReLU()])
    first, second = row_ranges.reads(model.layers([10, 10]), 2, 4)
    assert (second.start, second.stop, second.above, second.below) == (3, 8, 0, 0)
    assert (first.start, first.stop, first.above, first.below) == (2, 9, 0, 0)
    first, second = row_ranges.reads(model.layers([10, 10]), 0, 2)
    assert (second.start, second.stop, second.above) == (0, 4, 1)
    assert (first.start, first.stop, first.above) == (0, 5, 1)


@pytest.mark.parametrize("name", ["mobilenetv3_large_100", "tf_efficientnet_lite0"])
@pytest.mark.parametrize("size", [(61, 77), (64, 96)])
def test_a_backbone_with_folded_norms_is_equal(monkeypatch, name: str, size: tuple[int, int]):
    """EfficientNet-Lite pads by the input's size: other zeros at even sizes than at odd ones."""
    from convert.rewrites import batch_norm

    monkeypatch.setattr(row_ranges, "BAND_BYTES", 4096)
    torch.manual_seed(0)
    backbone = timm.create_model(name, pretrained=False, features_only=True).double().eval()
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = backbone(x)
        model = copy.deepcopy(backbone)
        with batch_norm.observed(model) as pairs:
            model(x)
        model = batch_norm.apply(model, pairs)[0]
        model, sites = bands.apply(model)
        assert sites.replaced and not sites.refused
        for actual, target in zip(model(x), expected, strict=True):
            assert (actual - target).abs().max() < 1e-12


def test_norms_that_are_not_folded_are_refused():
    backbone = timm.create_model("mobilenetv3_large_100", pretrained=False, features_only=True)
    _, sites = bands.apply(backbone)
    assert sites.replaced == 0
    assert sites.refused and all("not folded" in reason for reason in sites.refused)


class Unknown(nn.Conv2d):
    """A convolution of another kind: what its forward does cannot be known."""


def test_convolutions_of_other_kinds_are_refused():
    model = timm.create_model("mobilenetv3_large_100", pretrained=False)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.Conv2d):
                child.__class__ = Unknown
    _, sites = bands.apply(model)
    assert sites.replaced == 0
    assert sites.refused and all("not plain" in reason for reason in sites.refused)
