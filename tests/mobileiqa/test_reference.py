"""The reference checkpoint that ships: trained, small, and on the right side of what blur, JPEG and noise do."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from mobileiqa.checkpoint import load, load_spec, sha256
from mobileiqa.photos.loading import load_image
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from mobileiqa.spec import ModelSpec
from mobileiqa.training_record import pixel_key, reference_key
from mobileiqa.zoo import PACKAGED, REFERENCE

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
Score = Callable[[Image.Image], float]


@pytest.fixture(scope="module")
def reference() -> tuple[torch.nn.Module, ModelSpec]:
    return load(REFERENCE)


def scored(model: torch.nn.Module, spec: ModelSpec, image: Image.Image) -> float:
    with torch.inference_mode():
        return float(model(*map(torch.from_numpy, prepare(image, spec).values())))


def degraded(image: Image.Image) -> dict[str, Image.Image]:
    """What anyone would call worse: blurred, JPEG at quality 10, noisy."""
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=10)
    noise = np.random.default_rng(0).normal(0, 25, (*image.size[::-1], 3))
    noisy = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    blurred = image.filter(ImageFilter.GaussianBlur(3))
    return {"blurred": blurred, "JPEG 10": Image.open(buffer), "noisy": noisy}


def shortfall(model: torch.nn.Module, spec: ModelSpec, image: Image.Image) -> dict[str, float]:
    """How much higher than the photo the degraded versions score; empty where none does."""
    clean = scored(model, spec, image)
    worse = {name: scored(model, spec, changed) - clean for name, changed in degraded(image).items()}
    return {name: gap for name, gap in worse.items() if gap >= 0}


def test_it_is_trained_and_loads_ready_to_use(reference) -> None:
    model, spec = reference
    assert not spec.untrained and not model.training
    assert all(not m.training for m in model.modules())


def test_a_generated_photo_scores_higher_than_its_degraded_versions(reference, photo) -> None:
    assert shortfall(*reference, photo(3, 640, 560)) == {}


@pytest.mark.slow
def test_photos_score_higher_than_their_degraded_versions(reference, real_photos: list[Path]) -> None:
    """At full size, all of them."""
    shortfalls = {path.name: shortfall(*reference, load_image(path)) for path in real_photos}
    failed = {name: gaps for name, gaps in shortfalls.items() if gaps}
    assert not failed and len(shortfalls) >= 10, failed


def test_damage_anywhere_lowers_the_score_and_a_card_has_none(reference, photo) -> None:
    image = photo(3, 900, 700)
    soft, clean = image.filter(ImageFilter.GaussianBlur(6)), scored(*reference, image)
    for left, top in ((0, 0), (450, 0), (0, 350), (450, 350)):
        part = image.copy()
        part.paste(soft.crop((left, top, left + 450, top + 350)), (left, top))
        assert scored(*reference, part) < clean
    assert all(
        scored(*reference, Image.new("RGB", (640, 480), grey)) < 0.15
        for grey in ("black", "white", "#808080")
    )


def test_it_is_small_and_says_what_it_is() -> None:
    assert REFERENCE.stat().st_size < 16e6
    spec = load_spec(REFERENCE)
    assert "transferred" in spec.trained_on and spec.license
    assert sha256(REFERENCE) in REFERENCE.with_name("README.md").read_text()


def test_the_packaged_file_is_the_checkpoints(reference: tuple[torch.nn.Module, ModelSpec], photo) -> None:
    sidecar = json.loads(PACKAGED.with_name(f"{PACKAGED.name}.json").read_text())
    assert (sidecar["path"], sidecar["precision"]) == (PACKAGED.name, "fp16")
    assert sidecar["sha256"] == sha256(PACKAGED) and PACKAGED.stat().st_size < 16e6
    assert sidecar["checkpoint_sha256"] == sha256(REFERENCE), "run `make packaged`"
    assert litert.load_spec(PACKAGED) == reference[1]
    run, image = litert.runner(PACKAGED), photo(3, 640, 560)
    for picture in (image, *degraded(image).values()):
        score = float(run(prepare(picture, reference[1])).mean())
        assert score == pytest.approx(scored(*reference, picture), abs=2e-3)


def test_its_training_images_are_recorded(reference: tuple[torch.nn.Module, ModelSpec]) -> None:
    training = reference[1].training
    assert training is not None
    assert [(each.name, each.train, each.validation) for each in training.sets] == [
        ("pristine", 205, 0),
        ("pristine", 46, 0),
        ("pristine", 193, 12),  # of the trunk
    ]
    assert len(training.keys("train")) == 2 * 251  # pixels and names
    assert reference_key("folder", "3316926_opo25u") not in training.keys("train") | training.keys(
        "validation"
    )


def test_unseen_photos_are_no_training_images(reference: tuple[torch.nn.Module, ModelSpec]) -> None:
    photos = sorted((SHARED / "data" / "pristine" / "val").glob("*.png"))
    if not photos:
        pytest.skip("no ../shared/data/pristine beside the checkout; the record's own test stands in")
    training = reference[1].training
    assert training is not None
    seen = training.keys("train") | training.keys("validation")
    for path in photos:
        assert not seen & {pixel_key(load_image(path)), reference_key("folder", path.name)}
    known = sorted((SHARED / "data" / "pristine" / "train").glob("*.png"))[0]
    assert pixel_key(load_image(known)) in seen
