"""Max pooling padded with zeros: only after a ReLU."""

import pytest
import torch
from torch import nn

from convert.rewrites import max_pool
from convert.rewrites.max_pool import ZeroPaddedMaxPool


def relu_then(pool: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Identity(), pool)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (3, 3)])
@pytest.mark.parametrize(
    "pool",
    [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1, 1), nn.MaxPool2d((3, 5), 2, (1, 2)), nn.MaxPool2d(3, 1, 1, 2)],
)
def test_bit_for_bit_equal_after_a_relu(pool: nn.MaxPool2d, size: tuple[int, int]):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size) - 1  # whole windows below zero
    expected = relu_then(pool)(x)
    model, sites = max_pool.apply(relu_then(pool))
    assert (sites.replaced, sites.refused) == (1, []) and isinstance(model[2], ZeroPaddedMaxPool)
    assert torch.equal(model(x), expected)


class Loose(nn.Module):
    """The order of its modules says nothing about the order in which they run."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.MaxPool2d(3, 2, 1)), "0: what it pools may be negative"),
        (
            nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1), nn.MaxPool2d(3, 2, 1)),
            "2: what it pools may be negative",
        ),
        (nn.Sequential(nn.Hardswish(), nn.MaxPool2d(3, 2, 1)), "1: what it pools may be negative"),
        (Loose(), "pool: what it pools may be negative"),
        (relu_then(nn.MaxPool2d(3, 2, 1, ceil_mode=True)), "2: it rounds its size up"),
        (
            relu_then(nn.MaxPool2d(3, 2, 1, return_indices=True)),
            "2: it rounds its size up, or returns indices",
        ),
    ],
)
def test_anything_else_is_refused_with_its_path(model: nn.Module, reason: str):
    before = list(model.modules())
    _, sites = max_pool.apply(model)
    assert sites.replaced == 0 and len(sites.refused) == 1 and sites.refused[0].startswith(reason)
    assert list(model.modules()) == before


def test_a_pool_without_padding_is_no_site():
    assert max_pool.apply(relu_then(nn.MaxPool2d(2)))[1].refused == []


def test_negative_values_would_be_wrong():
    x = torch.full((1, 1, 4, 4), -2.0)
    pool = nn.MaxPool2d(3, 2, 1)
    assert not torch.equal(ZeroPaddedMaxPool(pool)(x), pool(x))


def test_the_exported_graph_pads_without_padv2(exported, operators):
    model, x = relu_then(nn.MaxPool2d(3, 2, 1)), torch.zeros(1, 8, 12, 10)
    assert "PADV2" in operators(exported(model, x))
    after = operators(exported(max_pool.apply(model)[0], x))
    assert after["PAD"] == after["MAX_POOL_2D"] == 1 and "PADV2" not in after
