"""Batch norm folded into the convolution before it, and only there."""

import copy

import pytest
import torch
from torch import nn

from convert.rewrites.apply import apply_rewrites
from convert.rewrites.batch_norm import apply, fold, observed
from mobileiqa.errors import UserError
from mobileiqa.spec import InputSpec, ModelSpec


def pairs_of(model: nn.Module, x: torch.Tensor) -> dict[str, str]:
    with observed(model) as pairs, torch.no_grad():
        model(x)
    return pairs


def normed(channels: int) -> nn.BatchNorm2d:
    """A norm whose every parameter matters."""
    norm = nn.BatchNorm2d(channels, eps=1e-3)
    for tensor in (norm.weight.data, norm.running_var):
        tensor.uniform_(0.5, 1.5)
    for tensor in (norm.bias.data, norm.running_mean):
        tensor.normal_()
    return norm


def check(model: nn.Module, x: torch.Tensor, replaced: int) -> list[str]:
    """Applies the rewrite, which must not move the output; returns the refusals."""
    model = model.double().eval()
    with torch.no_grad():
        expected = model(x)
        model, sites = apply(model, pairs_of(model, x))
        assert sites.replaced == replaced
        assert (model(x) - expected).abs().max() < 1e-12
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert norms == len(sites.refused)
    return sites.refused


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 4, 9, 8, dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "fields",
    [{}, {"stride": 2, "padding": 1}, {"groups": 4, "out_channels": 4}, {"groups": 2, "dilation": 2}],
    ids=["plain", "strided", "depthwise", "grouped"],
)
def test_every_kind_of_convolution_folds(x: torch.Tensor, bias: bool, fields: dict):
    conv = nn.Conv2d(4, **{"out_channels": 6, "kernel_size": 3, "bias": bias} | fields)
    assert check(nn.Sequential(conv, normed(conv.out_channels), nn.ReLU()), x, 1) == []


@pytest.mark.parametrize("stride", [1, 2])
def test_padding_by_size_stays(x: torch.Tensor, stride: int):
    """A new nn.Conv2d in its place would not pad: the score moved by a fifth before this was tested."""
    from timm.layers import Conv2dSame

    conv = Conv2dSame(4, 6, 3, stride)
    assert check(nn.Sequential(conv, normed(6), nn.ReLU()), x, 1) == []


def test_the_norms_own_activation_stays(x: torch.Tensor):
    from timm.layers import BatchNormAct2d

    norm = BatchNormAct2d(6, act_layer=nn.Hardswish)
    norm.running_mean.normal_()
    assert check(nn.Sequential(nn.Conv2d(4, 6, 1), norm), x, 1) == []


def test_a_norm_without_a_convolution_before_it_is_refused(x: torch.Tensor):
    model = nn.Sequential(normed(4), nn.Conv2d(4, 6, 1), nn.ReLU(), normed(6))
    refused = check(model, x, 0)
    assert [reason.split(":")[0] for reason in refused] == ["0", "3"]
    assert all("not the output of one convolution" in reason for reason in refused)


class TwoNorms(nn.Module):
    """One convolution read by two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(4, 6, 1), normed(6), normed(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.first(y) + self.second(y)


def test_a_convolution_of_two_norms_is_refused(x: torch.Tensor):
    assert len(check(TwoNorms(), x, 0)) == 2


class Shortcut(nn.Module):
    """One convolution read by a norm, and by an addition that the rewrite does not see."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 6, 1), normed(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return (self.norm(y) + y).mean((1, 2, 3))


class InPlace(Shortcut):
    """What the norm reads is the convolution's own tensor, changed on the way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x).relu_()).mean((1, 2, 3))


@pytest.mark.parametrize("kind", [Shortcut, InPlace])
def test_what_is_not_seen_here_is_stopped_by_the_probe(kind: type[Shortcut]):
    model = kind().eval()
    _, sites = apply(copy.deepcopy(model), pairs_of(model, torch.randn(1, 3, 8, 8)))
    assert (sites.replaced, sites.refused) == (1, [])  # wrongly
    with pytest.raises(UserError, match="rewrites that move the score of toy"):
        apply_rewrites(model, ModelSpec("toy", (InputSpec("image", 8, 8),)))


def test_pairs_are_observed_not_guessed(x: torch.Tensor):
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 1), normed(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 1), normed(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn1(self.conv2(self.bn2(self.conv1(x))))

    model = Crossed()
    assert pairs_of(copy.deepcopy(model).double().eval(), x) == {"bn1": "conv2", "bn2": "conv1"}
    assert check(model, x, 2) == []


def test_folding_keeps_the_type_and_rounds_once():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, 3), normed(6).eval()
    folded = fold(conv, norm)
    exact = fold(copy.deepcopy(conv).double(), copy.deepcopy(norm).double())
    assert folded.weight.dtype == torch.float32
    assert torch.equal(folded.weight, exact.weight.float()) and torch.equal(folded.bias, exact.bias.float())
