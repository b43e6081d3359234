"""Replacing modules: every site is replaced or its reason is kept."""

import pytest
import torch
from torch import nn

from convert.rewrites.core import from_conv, linear, replace_modules


def test_every_site_is_replaced_or_refused_with_its_path():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 1))
    sites = replace_modules(model, nn.Linear, lambda m: "too wide" if m.in_features == 2 else nn.Identity())
    assert (sites.replaced, sites.refused) == (2, ["0: too wide"])
    assert [type(m) for m in (model[0], model[1][0], model[2])] == [nn.Linear, nn.Identity, nn.Identity]


def test_linear_copies_what_it_is_given():
    weight = torch.ones(2, 3, dtype=torch.float64)
    layer = linear(weight, None)
    weight.zero_()
    assert layer.weight.dtype == torch.float64 and layer.weight.min() == 1 and layer.bias is None
    assert not layer.weight.requires_grad


def test_a_1x1_convolution_is_a_linear_over_channels():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(5, 4, 1).double(), torch.randn(1, 5, 3, 2, dtype=torch.float64)
    result = from_conv(conv)(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert (result - conv(x)).abs().max() < 1e-14


@pytest.mark.parametrize("fields", [{"kernel_size": 3}, {"stride": 2}, {"groups": 2}])
def test_other_convolutions_are_no_linear(fields: dict):
    with pytest.raises(AssertionError):
        from_conv(nn.Conv2d(4, 4, **{"kernel_size": 1} | fields))
