"""What a packaged file takes: read back from its metadata, and which photos fit."""

import numpy as np
import pytest

from mobileiqa.errors import UserError
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing, Size, from_json, inputs_of
from mobileiqa.spec import InputSpec, ModelSpec

SPEC = ModelSpec("x", (InputSpec("image", 48, 64),))
TWO = EmbeddedPreprocessing("image", False, "ab", (Size("score_90x70", 90, 70), Size("score_70x90", 70, 90)))


def test_json_brings_it_back() -> None:
    assert from_json(TWO.to_json(), "x.tflite") == TWO
    assert str(TWO) == "90x70 or 70x90" and "in the graph" in TWO.described


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {**TWO.to_json(), "sizes": []},
        {**TWO.to_json(), "sizes": [{"signature": "s", "width_px": "wide", "height_px": 3}]},
        {**TWO.to_json(), "fitted": "false"},
        {**TWO.to_json(), "sizes": [{"signature": "s", "width_px": 90.9, "height_px": 3}]},
        {**TWO.to_json(), "sizes": [{"signature": "s", "width_px": 90, "height_px": 10**9}]},
        {**TWO.to_json(), "sizes": [TWO.to_json()["sizes"][0]] * 2},
        {"input": "image", "width_px": 90, "height_px": 70, "fitted": False, "source_sha256": "ab"},
    ],
)
def test_anything_else_is_a_user_error(data: object) -> None:
    with pytest.raises(UserError, match=r"embedded preprocessing of x\.tflite.*package the model again"):
        from_json(data, "x.tflite")


def test_photos_of_each_size_and_of_no_other(photo) -> None:
    prepare = inputs_of(TWO, SPEC, "x.tflite")
    for width, height in ((90, 70), (70, 90)):
        picture = photo(0, width, height)
        np.testing.assert_array_equal(prepare(picture)["image"], np.asarray(picture)[None])
    with pytest.raises(UserError, match=r"a photo of 90x70 or 70x90, which x\.tflite.*found 70x70"):
        prepare(photo(0, 70, 70))


def test_a_fitted_files_photo_is_resized_first(photo) -> None:
    fitted = EmbeddedPreprocessing("image", True, "ab", (Size("serving_default", 64, 48),))
    assert inputs_of(fitted, SPEC, "x.tflite")(photo(0, 90, 70))["image"].shape == (1, 48, 64, 3)
