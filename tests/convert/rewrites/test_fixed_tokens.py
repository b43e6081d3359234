"""MUSIQ for photos of one size is MUSIQ on the tokens that `prepare` makes of such a photo."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from convert.load import of_photos
from convert.rewrites.apply import apply_rewrites
from convert.rewrites.fixed_tokens import Scale, standardised
from mobileiqa import tokens
from mobileiqa.models.musiq import MUSIQ, StandardConv
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec, Resample
from mobileiqa.zoo import MODELS

BLOCKS = 2  # of 14: they are all alike


def shallow(model: MUSIQ) -> MUSIQ:
    """A copy with the first blocks, float64."""
    model = copy.deepcopy(model)
    model.encoder.blocks = model.encoder.blocks[:BLOCKS]
    return model.double().eval()


def at_size(name: str, model: MUSIQ, size: str) -> tuple[torch.nn.Module, ModelSpec]:
    return of_photos(model, MODELS[name].spec, size)


@pytest.mark.parametrize(
    ("name", "width", "height"),
    # Whole patches, odd sides of both shapes, a photo smaller than every scale, and one that needs no resizing.
    [
        ("musiq", 96, 64),
        ("musiq", 33, 70),
        ("musiq", 384, 32),
        ("musiq-ava-google", 77, 118),
    ],
)
def test_scores_and_features_are_those_of_the_tokens(
    name: str, width: int, height: int, seeded: Callable[[str], Any], photo: Callable[..., Image.Image]
):
    published, image = shallow(seeded(name)), photo(3, width, height)
    model, spec = at_size(name, published, f"{width}x{height}")
    module, report = apply_rewrites(model, spec)
    assert [(a.name, a.sites, a.refused) for a in report.applied] == [("tokens_of_one_size", 1, ())]
    (prepared,) = prepare(image, MODELS[name].spec).values()
    (pixels,) = (torch.from_numpy(array).double() for array in prepare(image, spec).values())
    with torch.inference_mode():
        assert (module(pixels) - model(pixels)).abs().max() < 1e-12
        assert (module.forward_features(pixels) - model.forward_features(pixels)).abs().max() < 1e-11
        # The tokens that scoring makes are float32: that is all that differs.
        assert float(module(pixels)) == pytest.approx(
            float(published(torch.from_numpy(prepared).double())), 1e-5
        )
    assert len(list(published.encoder.blocks)) == BLOCKS, "the model that was passed is left alone"


@pytest.mark.parametrize("resample", [Resample.BICUBIC, Resample.GAUSSIAN])
@pytest.mark.parametrize("size", [(40, 60), (31, 33), (64, 32)])
def test_a_scale_is_its_patches_row_by_row(resample: Resample, size: tuple[int, int]):
    image = torch.rand(1, 3, 50, 75, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = Scale((50, 75), size, resample).double()
    resized = tokens.resized(image[0].numpy(), *size, resample)
    expected = torch.from_numpy(tokens.tokens_of(resized, 0))[:, :-3].reshape(-1, 3, 32, 32)
    actual = scale(image).permute(0, 3, 1, 2)
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() < 1e-12


@pytest.mark.parametrize("variant", ["pyiqa", "google"])
def test_a_standardised_convolution_is_a_plain_one(variant: str):
    torch.manual_seed(0)
    source, x = StandardConv(8, 6, 3, variant, padding=1).double(), torch.randn(2, 8, 5, 7).double()
    assert (standardised(source)(x) - source(x)).abs().max() < 1e-12


def test_other_models_are_left_alone(seeded: Callable[[str], Any]):
    _, report = apply_rewrites(seeded("lar-iqa-single"), MODELS["lar-iqa-single"].spec)
    assert "tokens_of_one_size" not in {a.name for a in report.applied}
