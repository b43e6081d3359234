"""whole-photo: two views of one trunk; a score, and a probability of each reason."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa import checkpoint
from mobileiqa.errors import UserError
from mobileiqa.models.whole_photo import WIDTH
from mobileiqa.preprocess import prepare
from mobileiqa.reasons import REASONS
from mobileiqa.zoo import MODELS, build_seeded

SPEC = MODELS["whole-photo"].spec


@pytest.fixture(scope="module")
def model():
    return build_seeded("whole-photo")


def views(seed: int, count: int = 2, overview: int = 64, fragments: int = 128) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 3, side, side, generator=generator) * 2 - 1 for side in (overview, fragments)]


def test_the_spec_names_both_outputs():
    assert SPEC.outputs == ("score", "reasons") and SPEC.reasons == REASONS
    assert MODELS["lar-iqa-lite"].spec.outputs == ("score",)


@torch.inference_mode()
def test_forward_is_the_head_on_the_features_and_reasons_do_not_change_the_score(model):
    inputs = views(1)
    features = model.forward_features(*inputs)
    score, reasons = model.forward_reasons(*inputs)
    assert features.shape == (2, WIDTH) and score.shape == (2,) and reasons.shape == (2, len(REASONS))
    assert torch.equal(model(*inputs), score) and torch.equal(model.forward_head(features), score)
    assert ((score > 0) & (score < 1)).all() and ((reasons > 0) & (reasons < 1)).all()


@torch.inference_mode()
def test_both_views_count_each_under_its_own_convolution(model):
    overview, fragments = views(2, overview=128)
    score = model(overview, fragments)
    assert (model(overview.flip(1), fragments) != score).all()
    assert (model(overview, fragments.flip(1)) != score).all()
    assert (model(fragments, overview) != score).all()


@torch.inference_mode()
@pytest.mark.parametrize("size", [(30, 40), (700, 500), (90, 900)])
def test_a_photo_of_any_size_has_a_score_and_reasons(model, size):
    photo = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
    inputs = prepare(Image.fromarray(photo), SPEC)
    assert [array.shape for array in inputs.values()] == [(1, 3, 256, 256), (1, 3, 512, 512)]
    score, reasons = model.forward_reasons(*map(torch.from_numpy, inputs.values()))
    assert score.isfinite().all() and reasons.isfinite().all()


def test_a_checkpoint_keeps_weights_reasons_and_views(tmp_path, model):
    path = checkpoint.save(tmp_path / "whole.safetensors", model, SPEC)
    loaded, spec = checkpoint.load(path)
    assert spec == SPEC
    inputs = views(3)
    with torch.inference_mode():
        assert torch.equal(loaded(*inputs), model(*inputs))


def test_it_has_fewer_parameters_than_five_megabytes_of_int8(model):
    assert sum(p.numel() for p in model.parameters()) < 4_200_000


def test_a_size_must_be_a_mosaic_of_whole_patches():
    assert [i.width_px for i in SPEC.sized("64x64,128x128").inputs] == [64, 128]
    with pytest.raises(UserError, match="multiples of 64 pixels for fragments"):
        SPEC.sized("64x64,100x128")
