"""Which images calibrate, and which judge."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from calibration.photos import file_sha256, read_photos
from calibration.sets import CalibrationSet, generated
from convert.int8.search.validation_split import split_scenes, split_with_folder, spread_evenly
from mobileiqa.errors import UserError
from mobileiqa.spec import InputSpec, ModelSpec

SPEC = ModelSpec("small", (InputSpec("image", 16, 16),))


@pytest.fixture(scope="module")
def calibration(photo, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(24):
        photo(100 + i, 40, 32).save(folder / f"c{i:02}.png")
    return CalibrationSet(SPEC, 0, tuple(read_photos(sorted(folder.iterdir()), folder, "")[0]), folder)


def test_a_third_judges_and_calibrates_nothing(calibration: CalibrationSet) -> None:
    result = split_scenes(calibration)
    everything = [inputs["image"].tobytes() for inputs in calibration.prepared()]
    calibrating = [inputs["image"].tobytes() for inputs in result.calibration_inputs()]
    validation = [inputs["image"].tobytes() for inputs in result.validation_inputs()]
    assert (len(calibrating), len(validation)) == (16, 8)
    assert sorted(calibrating + validation) == sorted(everything)
    assert result == split_scenes(calibration) and result.calibrating_sha256 != calibration.sha256


def test_pictures_of_one_scene_stay_together(calibration: CalibrationSet) -> None:
    """A blurred copy that calibrated would tell what the sharp one is judged by."""
    photos = [dataclasses.replace(p, reference=f"scene{i // 2}") for i, p in enumerate(calibration.images)]
    result = split_scenes(dataclasses.replace(calibration, images=(*photos, *photos)))
    scenes = [p.reference for p in (*photos, *photos)]
    held = {scenes[i] for i in range(48) if i not in result.calibrating}
    assert held == {"scene2", "scene5", "scene8", "scene11"}
    assert held.isdisjoint(scenes[i] for i in result.calibrating) and len(result.validation) == 16


def test_too_few_to_divide(calibration: CalibrationSet) -> None:
    with pytest.raises(UserError, match=r"at least 24 scenes.*21 scenes, 7 images.*--images"):
        split_scenes(dataclasses.replace(calibration, images=calibration.images[:21]))


def test_a_folder_judges_and_the_whole_set_calibrates(
    calibration: CalibrationSet, photo, tmp_path: Path
) -> None:
    for i in range(8):
        photo(i, 40, 30).save(tmp_path / f"p{i}.png")
    result = split_with_folder(calibration, tmp_path)
    assert result.calibrating == tuple(range(24)) and [name for name, _ in result.validation][:2] == [
        "p0.png",
        "p1.png",
    ]
    first = result.validation_sha256
    photo(99, 40, 30).save(tmp_path / "p3.png")
    assert split_with_folder(calibration, tmp_path).validation_sha256 != first
    (tmp_path / "p7.png").unlink()
    with pytest.raises(UserError, match="at least 8 images"):
        split_with_folder(calibration, tmp_path)


def test_an_image_that_calibrates_may_not_judge(calibration: CalibrationSet, photo, tmp_path: Path) -> None:
    for i in range(8):
        photo(i, 40, 30).save(tmp_path / f"p{i}.png")
    known = dataclasses.replace(calibration.images[0], sha256=file_sha256(tmp_path / "p5.png"))
    with pytest.raises(UserError, match=r"did not calibrate.*1 that are .* such as p5\.png"):
        split_with_folder(dataclasses.replace(calibration, images=(known, *calibration.images[1:])), tmp_path)


def test_evenly_keeps_both_ends() -> None:
    assert spread_evenly(range(10), 4) == [0, 3, 6, 9] and spread_evenly([1, 2], 5) == [1, 2]
    spread = spread_evenly(range(1000), 200)
    assert len(set(spread)) == 200 and np.diff(spread).max() <= 6


@pytest.mark.slow
def test_generated_pictures_are_divided_by_their_numbers() -> None:
    """They are drawn by number: a part of them may not be drawn as the first ones."""
    output = generated(24, 0, SPEC)
    everything = [inputs["image"].tobytes() for inputs in output.prepared()]
    result = split_scenes(output)
    calibrating = [inputs["image"].tobytes() for inputs in result.calibration_inputs()]
    validation = [inputs["image"].tobytes() for inputs in result.validation_inputs()]
    assert sorted(calibrating + validation) == sorted(everything) and len(validation) == 8
