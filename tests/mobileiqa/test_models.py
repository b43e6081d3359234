"""MobileIQA, LAR-IQA and HyperIQA against the published architectures' float64 outputs, and their key lists.

The outputs of the published code are in ../shared/golden. golden.json beside this file stands in for them:
outputs of these very models, small images, written while they matched the published ones.
"""

import copy
import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from mobileiqa.checkpoint_files.state_dict import to_published
from mobileiqa.models.mobile_iqa import STUDENT
from mobileiqa.zoo import MODELS, entry

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
OWN = json.loads(Path(__file__).with_name("golden.json").read_text())
# The other systems have tests of their own in tests/mobileiqa/models.
ELSEWHERE = ("koncept512", "musiq", "ms-scanet", "fr-nr-transformer", "whole-photo", "msliqa")
NAMES = [name for name in MODELS if not name.startswith(ELSEWHERE)]
PUBLISHED = [name for name in NAMES if MODELS[name].markers]
FILES = {name: name.replace("-", "_") for name in PUBLISHED} | {"lar-iqa-single": "lar_iqa_single_kan"}
RELATIVE = 1e-9


def cases() -> list[Any]:
    """(model, case) of the published outputs; all but each model's cheapest are slow."""
    path = GOLDEN / "outputs.json"
    if not path.exists():
        reason = "no ../shared/golden beside the checkout; golden.json beside this test stands in"
        return [pytest.param("", {}, marks=pytest.mark.skip(reason=reason))]
    stored = json.loads(path.read_text())
    results = []
    for name, file in FILES.items():
        for i, case in enumerate(stored[file]["cases"]):
            size = f"{case['height']}x{case['width']}" if "height" in case else "two"
            marks = [pytest.mark.slow] if i and name not in ("lar-iqa-single", "hyperiqa") else []
            results.append(pytest.param(name, case, marks=marks, id=f"{name}-{case['image']}-{size}"))
    return results


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seeded_weights", GOLDEN / "seeded_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(model: torch.nn.Module, images: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The features and the scores, in float64."""
    double = copy.deepcopy(model).double()
    with torch.inference_mode():
        features = double.forward_features(*map(torch.from_numpy, images))
        score = double.forward_head(features)
    tensors = (features,) if isinstance(features, torch.Tensor) else tuple(features)
    return [tensor.numpy() for tensor in tensors], score.numpy()


def summary(array: np.ndarray) -> dict[str, Any]:
    """What the golden files keep of an array."""
    samples = array.ravel()[np.linspace(0, array.size - 1, 8).astype(int)]
    return {"mean": array.mean(), "std": array.std(), "samples_at_linspace8": samples}


def assert_same(array: np.ndarray, stored: dict[str, Any]) -> None:
    """1e-9 of the array's own deviation: its mean and some samples are near zero by chance."""
    for key, value in summary(array).items():
        assert np.abs(value - np.array(stored[key])).max() <= RELATIVE * stored["std"], key


@pytest.mark.parametrize(("name", "case"), cases())
def test_published_outputs(name: str, case: dict[str, Any], seeded: Any, golden: ModuleType):
    if "authentic_size" in case:
        sides = [(case[key], case[key]) for key in ("authentic_size", "synthetic_size")]
    else:
        sides = [(case["height"], case["width"])]
    images = [golden.image(case["image"], *side, case.get("image_seed", 0)) for side in sides]
    features, score = run(seeded(name), images)
    assert score[0] == pytest.approx(case["score"], rel=RELATIVE, abs=0)
    for key, array in zip(("features", "opinions"), features, strict=False):
        if key in case:
            assert_same(array, case[key])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_keys_shapes_and_types(name: str, seeded: Any):
    path = GOLDEN / f"keys_{FILES[name]}.json"
    if not path.exists():
        pytest.skip(
            "no ../shared/golden beside the checkout; golden.json keeps the number of keys and values"
        )
    state = seeded(name).state_dict()
    names = to_published(state, entry(name).prefixes())
    result = {names[k]: (list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()}
    assert result == {key: (shape, dtype) for key, shape, dtype in json.loads(path.read_text())}


def own_images(name: str) -> list[np.ndarray]:
    """One random normalised image per input, as small as the model allows."""
    rng = np.random.default_rng(7)
    fixed = (224, 224) if name == "hyperiqa" else None
    return [
        rng.standard_normal((1, 3, *(fixed or (64 + 32 * i, 96))))
        for i in range(len(MODELS[name].spec.inputs))
    ]


@pytest.mark.parametrize("name", NAMES)
def test_own_outputs(name: str, seeded: Any):
    stored = OWN[name]
    assert len(seeded(name).state_dict()) == stored["keys"]
    assert sum(p.numel() for p in seeded(name).parameters()) == stored["parameters"]
    features, score = run(seeded(name), own_images(name))
    assert score[0] == pytest.approx(stored["score"], rel=RELATIVE, abs=0)
    assert len(features) == len(stored["features"])
    for array, rest in zip(features, stored["features"], strict=True):
        assert_same(array, rest)


@pytest.mark.parametrize(
    "name", [pytest.param("mobilenet-iqa", marks=pytest.mark.slow), "lar-iqa-single", "hyperiqa"]
)
def test_images_of_a_batch_do_not_mix(name: str, seeded: Any):
    model, first = seeded(name), own_images(name)[0]
    second = np.flip(first, 3).copy()
    both = run(model, [np.concatenate([first, second])])[1]
    assert both.shape == (2,)
    assert both == pytest.approx([run(model, [x])[1][0] for x in (first, second)], rel=1e-12)
    assert abs(both[0] - both[1]) > 1e-6


def test_a_grid_needs_room_for_the_heads_convolution():
    assert dataclasses.replace(STUDENT, grid=6).grid == 6
    for changed in ({"grid": 5}, {"grid": 11, "head_pool": 4}):
        with pytest.raises(ValueError, match="grid of at least 3 x head_pool"):
            dataclasses.replace(STUDENT, **changed)


def test_forward_is_features_then_head(seeded: Any):
    model = seeded("lar-iqa-single")
    image = torch.from_numpy(own_images("lar-iqa-single")[0]).float()
    with torch.inference_mode():
        assert torch.equal(model(image), model.forward_head(model.forward_features(image)))


@pytest.mark.parametrize("name", NAMES)
def test_models_run_on_the_device_that_is_passed(name: str, seeded: Any):
    """On the meta device every tensor must follow the model: one made on the CPU would fail."""
    model = copy.deepcopy(seeded(name)).to("meta")
    images = [torch.from_numpy(x).float().to("meta") for x in own_images(name)]
    score = model(*images)
    assert score.device.type == "meta" and score.shape == (1,)
