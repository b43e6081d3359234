"""MACs by hand, and the published ones of known models."""

import pytest
import torch
from torch import nn

from mobileiqa.counting import count, of_an_image
from mobileiqa.spec import Fit, InputSpec, ModelSpec


class Products(nn.Module):
    """One of each matrix product, and one that the counter does not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x @ x.transpose(1, 2)  # (2, 3, 4) -> (2, 3, 3)
        z = torch.einsum("bij,bjk->bik", y, x)  # (2, 3, 4)
        return z @ torch.ones(4)  # (2, 3)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum().item() > 0 else -x


def test_layers_by_hand():
    module = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),  # (1, 4, 8, 10) -> (1, 6, 4, 5)
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(120, 7),
    )
    counts = count(module, torch.zeros(1, 4, 8, 10))
    assert counts.macs == 6 * 4 * 5 * (2 * 9) + 120 * 7
    assert counts.parameters == 6 * 2 * 9 + 6 + 120 * 7 + 7
    assert counts.uncounted == {"relu": 120}
    assert count(module, torch.zeros(3, 4, 8, 10)).macs == 3 * counts.macs


def test_transposed_convolution_counts_by_its_input():
    assert count(nn.ConvTranspose2d(3, 5, 4, stride=2), torch.zeros(1, 3, 6, 7)).macs == 3 * 5 * 16 * 6 * 7


def test_matrix_products_and_what_the_counter_does_not_know():
    counts = count(Products(), torch.zeros(2, 3, 4))
    assert counts.macs == 2 * (3 * 4 * 3) + 2 * (3 * 3 * 4)
    assert counts.uncounted.pop("mv") == 6
    assert "ones" in counts.uncounted or not counts.uncounted


def test_attention_counts_both_of_its_products():
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    counts = count(_SelfAttention(module), torch.zeros(3, 5, 8))
    projections, attention = 4 * 3 * 5 * 8 * 8, 2 * 3 * 2 * 5 * 5 * 4
    assert counts.macs == projections + attention


class _SelfAttention(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def test_counting_changes_nothing():
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert count(module, torch.ones(2, 3, 4, 4)).macs == 2 * 16 * 6
    assert module.training and all(p.requires_grad and p.device.type == "cpu" for p in module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [(Branching(), (2, 2), "meta"), (nn.Conv2d(3, 2, 1), (1, 4, 5, 5), "channel")],
)
def test_what_cannot_be_counted_is_said(module: nn.Module, shape: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=message):
        count(module, torch.zeros(shape))


def test_mobilenet_v3_as_published():
    import timm

    with torch.device("meta"):
        module = timm.create_model("mobilenetv3_large_100")
    counts = count(module, torch.zeros(1, 3, 224, 224))
    assert counts.macs == pytest.approx(219e6, rel=0.02)  # arXiv 1905.02244: 219 M MAdds, 5.4 M parameters
    assert counts.parameters == pytest.approx(5.4e6, rel=0.02)


def test_mobilenet_iqa_as_published():
    from mobileiqa.zoo import build

    with torch.device("meta"):
        module = build("mobilenet-iqa")
    counts = count(module, torch.zeros(1, 3, 2160, 3840, device="meta"))
    assert counts.parameters == pytest.approx(81.5e6, rel=0.001)
    assert counts.macs == pytest.approx(100e9, rel=0.2)  # the paper's "100 GMACs at 3840x2160"


def test_an_images_macs_by_spec():
    one = ModelSpec("one", (InputSpec("image", 20, 30, fit=Fit.RANDOM_CROPS, crops=3, resize_px=(40, 40)),))
    assert of_an_image(nn.Conv2d(3, 2, 1), one) == 3 * 20 * 30 * 6
    assert of_an_image(nn.Conv2d(3, 2, 1), one, (40, 10)) == 3 * 40 * 10 * 6
    assert of_an_image(nn.Sequential(nn.Flatten(), nn.Linear(1800, 2)), one, (40, 10)) is None
    two = ModelSpec("two", (InputSpec("a", 8, 8), InputSpec("b", 8, 8)))
    assert of_an_image(nn.Bilinear(8, 8, 1), two, (40, 10)) is None
