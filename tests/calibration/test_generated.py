"""The generated set: every kind is what its name says, and the warning never gets lost."""

import numpy as np
import pytest

from calibration.photos import measure
from calibration.sets import GENERATED, generated, load, save
from mobileiqa.errors import UserError
from mobileiqa.photos import generated_images as drawing
from mobileiqa.preprocess import prepare


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """The first picture of every kind, seed 0, float64."""
    return {
        name: np.asarray(drawing.calibration_image(i, 0)).astype(float)
        for i, name in enumerate(drawing.CALIBRATION_KINDS)
    }


def roughness(pixels: np.ndarray) -> float:
    """Mean absolute difference of neighbours, 0..255."""
    return float(np.abs(np.diff(pixels, axis=1)).mean())


def test_every_kind_is_what_its_name_says(pictures):
    assert np.ptp(pictures["flat"], axis=(0, 1)).max() == 0
    assert pictures["dark"].mean() < 40 and pictures["bright"].mean() > 215
    assert (pictures["bright"] == 255).mean() > 0.1
    rough = {name: roughness(pixels) for name, pixels in pictures.items()}
    assert rough["flat"] == 0 < rough["gradient"] < rough["blur"] < rough["texture"] < rough["noise"]
    assert rough["gradient"] < 1 and rough["noise"] > 10


def test_pictures_depend_on_seed_and_index_alone(pictures):
    assert np.array_equal(np.asarray(drawing.calibration_image(1, 0)), pictures["texture"])
    assert not np.array_equal(np.asarray(drawing.calibration_image(1, 1)), pictures["texture"])
    sizes = {drawing.calibration_image(i, 0).size for i in range(4)}
    assert sizes == set(drawing.CALIBRATION_SIZES)


def test_a_generated_set_prepares_as_inference_does_and_reloads(spec, tmp_path):
    selection = generated(8, 3, spec)
    assert selection.generated and selection.warning == GENERATED and selection.folder is None
    assert selection.ids[:2] == ("generated/gradient-0", "generated/texture-1")
    save(selection, tmp_path, {})
    again = load(tmp_path, spec)
    assert again == selection and again.warning == GENERATED
    for index, inputs in enumerate(again.prepared()):
        assert np.array_equal(inputs["image"], prepare(drawing.calibration_image(index, 3), spec)["image"])
    assert measure(drawing.calibration_image(2, 3), "x").sha256 == selection.images[2].sha256


def test_a_set_that_this_version_draws_otherwise_is_refused(spec, tmp_path, monkeypatch):
    save(generated(2, 0, spec), tmp_path, {})
    monkeypatch.setitem(drawing.CALIBRATION_KINDS, "texture", drawing.CALIBRATION_KINDS["noise"])
    with pytest.raises(UserError, match="generated/texture-1 is drawn otherwise"):
        load(tmp_path, spec)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (3, -1)])
def test_bad_counts_and_seeds_are_refused(spec, count: int, seed: int):
    with pytest.raises(UserError, match="count of 1 or more"):
        generated(count, seed, spec)
