"""The graph's pixels are Pillow's: weights, both passes, padding, on generated and on real photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.packaging.resize import KERNELS, pillow_weights
from mobileiqa.photos.loading import load_image
from mobileiqa.preprocess import fit_pixels
from mobileiqa.spec import Fit, InputSpec, Resample

PILLOW = {
    Resample.BILINEAR: Image.Resampling.BILINEAR,
    Resample.BICUBIC: Image.Resampling.BICUBIC,
    Resample.LANCZOS: Image.Resampling.LANCZOS,
}
GREY = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # the normalized value is the grey level


def pillow(photo: Image.Image, expected: InputSpec) -> np.ndarray:
    return np.asarray(fit_pixels(photo, expected)[0]).transpose(2, 0, 1)[None].astype(int)


@pytest.mark.parametrize("resample", KERNELS)
@pytest.mark.parametrize(("inputs", "outputs"), [(403, 190), (64, 32), (97, 13), (100, 384), (5, 1), (1, 7)])
def test_fixed_point_weights_are_pillows(inputs: int, outputs: int, resample: Resample) -> None:
    """In integers, as Pillow computes: every row of an image that is one white pixel gives that pixel's weights."""
    result = pillow_weights(inputs, outputs, resample)
    dense = np.zeros((outputs, inputs), np.int64)
    for row, (first, weights) in enumerate(zip(result.first, result.weights, strict=True)):
        for offset, weight in enumerate(weights[: inputs - first]):
            dense[row, first + offset] = round(weight * (1 << 22))
    rng = np.random.default_rng(0)
    pixels = np.vstack(
        [255 * np.eye(inputs, dtype=np.uint8), rng.integers(0, 256, (20, inputs), dtype=np.uint8)]
    )
    mine = np.clip((pixels.astype(np.int64) @ dense.T + (1 << 21)) >> 22, 0, 255)
    theirs = np.asarray(Image.fromarray(pixels).resize((outputs, len(pixels)), PILLOW[resample]))
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("size", [(16, 4), (7, 2)])
def test_blocks_put_together_are_the_whole_matrix(size: tuple[int, int]) -> None:
    result = pillow_weights(50, 23, Resample.BICUBIC)
    row = np.random.default_rng(0).random(50).astype(np.float32)
    expected = [
        row[f : f + np.size(w)] @ w[: 50 - f] for f, w in zip(result.first, result.weights, strict=True)
    ]
    for block in size:
        parts = [matrix @ row[first : first + matrix.shape[1]] for first, matrix in result.blocks(block)]
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


@pytest.mark.parametrize("resample", KERNELS)
@pytest.mark.parametrize("camera", [(201, 163), (64, 163), (201, 48), (31, 20), (128, 96), (64, 48)])
def test_resized_pixels_are_pillows(shown, photo, camera: tuple[int, int], resample: Resample) -> None:
    """Shrinking, one axis alone, enlarging, an exact half full of ties, and nothing to do."""
    picture = photo(3, *camera)
    expected = InputSpec("image", 48, 64, fit=Fit.RESIZE, resample=resample, **GREY)
    errors = np.abs(shown(picture, expected) - pillow(picture, expected))
    assert errors.max() <= 1
    assert (errors > 0).mean() <= (0.02 if camera == (31, 20) else 0.005)  # enlarging makes many near ties


@pytest.mark.parametrize("camera", [(70, 400), (64, 50), (20, 163), (301, 600), (30, 51), (64, 49)])
def test_tall_photos_are_shrunk_down_first_as_in_pillow(shown, camera: tuple[int, int]) -> None:
    """Where the height loses over twice what the width does, Pillow 13 resizes columns first: another rounding."""
    noise = np.random.default_rng(0).integers(0, 256, (camera[1], camera[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    expected = InputSpec("image", 48, 64, fit=Fit.RESIZE, resample=Resample.BICUBIC, **GREY)
    errors = np.abs(shown(picture, expected) - pillow(picture, expected))
    assert errors.max() <= 1 and (errors > 0).mean() <= 0.002


@pytest.mark.parametrize("camera", [(101, 97), (64, 48), (40, 48), (64, 30), (33, 91), (15, 17)])
def test_cropped_pixels_are_pillows(shown, photo, camera: tuple[int, int]) -> None:
    """Cut, padded with black, and both; odd differences go where torchvision puts them."""
    picture = photo(1, *camera)
    expected = InputSpec("image", 48, 64, fit=Fit.CENTER_CROP, **GREY)
    np.testing.assert_array_equal(shown(picture, expected), pillow(picture, expected))


def test_values_are_clipped_between_the_passes(shown) -> None:
    """Bicubic weights overshoot at a black and white edge: without Pillow's clips, by many grey levels."""
    edges = np.kron([[0, 255], [255, 0]] * 3, np.ones((24, 90)))
    picture = Image.fromarray(np.repeat(edges[..., None], 3, axis=2).astype(np.uint8))
    expected = InputSpec("image", 48, 64, fit=Fit.RESIZE, **GREY)
    assert np.abs(shown(picture, expected) - pillow(picture, expected)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "resample"), [(384, 384, Resample.BILINEAR), (1907, 1231, Resample.BICUBIC)]
)
def test_a_phones_photo(shown, real_photos: list[Path], width: int, height: int, resample: Resample) -> None:
    """12 megapixels, to the sizes of LAR-IQA and MobileIQA."""
    photo = load_image(next(path for path in real_photos if path.stem == "samsung_s7_edge"))
    expected = InputSpec("image", height, width, fit=Fit.RESIZE, resample=resample, **GREY)
    errors = np.abs(shown(photo, expected) - pillow(photo, expected))
    assert errors.max() <= 1 and (errors > 0).mean() <= 0.001
