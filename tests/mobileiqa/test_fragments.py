"""Fragments: which native pixels of a photo of any size and orientation are read."""

import numpy as np
import pytest
from PIL import Image

from mobileiqa.fragments import fragments, starts
from mobileiqa.preprocess import prepare
from mobileiqa.spec import Fit, InputSpec, ModelSpec

SPEC = ModelSpec("m", (InputSpec("fragments", 64, 96, fit=Fit.FRAGMENTS, patch_px=16),))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [
        (512, 8, [0, 64, 128, 192, 256, 320, 384, 448]),  # its own mosaic
        (64, 8, [0] * 8),
        (65, 3, [0, 0, 1]),
        (200, 2, [18, 118]),  # the middles of two cells
        (300, 3, [18, 118, 218]),
        (100, 4, [0, 5, 30, 36]),  # cells smaller than patches: clamped at both ends
    ],
)
def test_patches_lie_in_the_middle_of_their_cells_and_inside_the_photo(length, count, expected):
    assert starts(length, count, 64) == expected
    assert all(0 <= start <= length - 64 for start in expected)


@pytest.mark.parametrize("size", [(64, 64), (64, 999), (513, 511), (100, 3000), (2000, 1500)])
def test_each_patch_is_a_native_window_of_the_photo(size: tuple[int, int]):
    photo = noise(*size)
    mosaic = fragments(photo, 3, 2, 64)
    assert mosaic.shape == (192, 128, 3)
    for row, top in enumerate(starts(size[0], 3, 64)):
        for column, left in enumerate(starts(size[1], 2, 64)):
            patch = mosaic[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
            assert np.array_equal(patch, photo[top : top + 64, left : left + 64])


def test_a_photo_of_the_mosaics_size_is_its_own_mosaic():
    photo = noise(512, 512)
    assert np.array_equal(fragments(photo, 8, 8, 64), photo)


@pytest.mark.parametrize("size", [(1, 1), (10, 200), (63, 64), (20, 31)])
def test_a_photo_smaller_than_a_patch_is_mirrored(size: tuple[int, int]):
    photo = noise(*size)
    mosaic = fragments(photo, 1, 1, 64)
    assert mosaic.shape == (64, 64, 3)
    height, width = min(size[0], 64), min(size[1], 64)
    top, left = starts(max(size[0], 64), 1, 64)[0], starts(max(size[1], 64), 1, 64)[0]
    assert np.array_equal(mosaic[:height, :width], photo[top : top + height, left : left + width])
    if size[0] < 32:
        assert np.array_equal(mosaic[size[0] : 2 * size[0]], mosaic[: size[0]][::-1])


def test_a_turned_photo_gives_the_turned_mosaic_where_cells_are_even():
    photo = noise(1280, 960)
    mosaic = fragments(photo, 8, 8, 64)
    assert np.array_equal(fragments(np.rot90(photo), 8, 8, 64), np.rot90(mosaic))
    assert np.array_equal(fragments(photo[:, ::-1], 8, 8, 64), mosaic[:, ::-1])


def test_prepare_reads_an_upright_photo_in_rows_and_columns_of_the_input(tmp_path):
    photo = noise(200, 300)
    upright, turned = tmp_path / "upright.png", tmp_path / "turned.png"
    Image.fromarray(photo).save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(photo))).save(turned, exif=exif)
    first, second = (prepare(path, SPEC)["fragments"] for path in (upright, turned))
    assert first.shape == (1, 3, 64, 96) and np.array_equal(first, second)
    mosaic = fragments(photo, 4, 6, 16).transpose(2, 0, 1)[None] / 255
    mean, std = (np.array(v)[:, None, None] for v in (SPEC.inputs[0].mean, SPEC.inputs[0].std))
    np.testing.assert_allclose(first, (mosaic - mean) / std, atol=1e-6)
