"""The zoo: names, seeded weights that depend on published keys alone, and errors."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa.checkpoint import recognise
from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.errors import UserError
from mobileiqa.preprocess import fit_pixels
from mobileiqa.zoo import MODELS, SEED, build, build_seeded, entry, seeded_tensor

PUBLISHED = [name for name, found in MODELS.items() if found.markers]
GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"


def test_specs_carry_the_names_that_they_are_found_under():
    for name, actual in MODELS.items():
        assert actual.spec.name == name and actual.spec.untrained


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"mobilenet-iqa, mobilenet-iqa-small, mobilevit-iqa.*'vgg'"):
        entry("vgg")


@pytest.mark.parametrize("name", PUBLISHED)
def test_markers_tell_the_models_apart(name: str):
    with torch.device("meta"):
        keys = to_published(build(name).state_dict(), entry(name).prefixes()).values()
    assert recognise(dict.fromkeys(keys)) == name
    others = [other for other in PUBLISHED if other != name and set(entry(other).markers) <= set(keys)]
    assert others == []


def test_seeded_weights_are_reproducible_and_follow_the_seed():
    first, again, other = (build_seeded("lar-iqa-single", seed).state_dict() for seed in (SEED, SEED, 2))
    assert not any(module.training for module in build_seeded("lar-iqa-single").modules())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.base_weight"], other["head.base_weight"])


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("x.running_var", 0.5, 1.5),
        ("x.spline_scaler", -0.5, 0.5),
        ("bn.weight", 0.5, 1.5),
        ("m.gamma", 0.5, 0.5),
    ],
)
def test_bounded_tensors_stay_within_their_bounds(key: str, low: float, high: float):
    values = seeded_tensor(key, (4000,), 1)
    assert low <= values.min() <= values.max() <= high
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.02)


@pytest.mark.parametrize(
    ("key", "shape", "std"),
    [
        ("x.running_mean", (4000,), 0.1),
        ("x.bias", (4000,), 0.1),
        ("x.spline_weight", (40, 100), 0.1),
        ("conv.weight", (400, 10, 3, 3), 1.2 / np.sqrt(90)),
    ],
)
def test_other_tensors_have_their_deviation(key: str, shape: tuple[int, ...], std: float):
    values = seeded_tensor(key, shape, 1)
    assert values.shape == shape and abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(std, rel=0.05)


def test_buffers_stay_as_built():
    assert seeded_tensor("bn.num_batches_tracked", (), 1) is None
    assert seeded_tensor("layers.0.grid", (3, 12), 1) is None


def test_the_rule_is_the_golden_one():
    path = GOLDEN / "seeded_weights.py"
    if not path.exists():
        pytest.skip("no ../shared/golden beside the checkout; the tests above check the rule itself")
    module_spec = importlib.util.spec_from_file_location("seeded_weights", path)
    golden = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(golden)
    for name in PUBLISHED:
        with torch.device("meta"):
            state = build(name).state_dict()
        for own, key in to_published(state, entry(name).prefixes()).items():
            if state[own].numel() < 2000:
                expected = golden.draw(key, tuple(state[own].shape), SEED)
                assert np.array_equal(seeded_tensor(key, tuple(state[own].shape), SEED), expected), key


def test_hyperiqa_resizes_as_its_public_code_does():
    """torchvision's Resize((512, 384)): 512 rows of 384 columns, the aspect ratio not kept; then crops of that."""
    (crops,) = entry("hyperiqa").spec.inputs
    rows = np.arange(120)[:, None, None] * 2
    image = Image.fromarray(np.broadcast_to(rows, (120, 160, 3)).astype(np.uint8))
    resized = np.asarray(image.resize((384, 512), Image.Resampling.BILINEAR))
    assert resized.shape == (512, 384, 3) and crops.resize_px == (512, 384)
    fitted = fit_pixels(image, crops)
    assert len(fitted) == 25 and {crop.size for crop in fitted} == {(224, 224)}
    windows = np.lib.stride_tricks.sliding_window_view(resized[:, 0, 0], 224)
    assert all((np.asarray(crop)[:, 0, 0] == windows).all(1).any() for crop in fitted)
