import cv2
import numpy as np
import pytest

from mobileiqa.photos.color_spaces import convert

CODES = {"hsv": cv2.COLOR_RGB2HSV, "lab": cv2.COLOR_RGB2LAB, "yuv": cv2.COLOR_RGB2YUV}


@pytest.fixture(scope="module")
def every_color() -> np.ndarray:
    level = np.arange(256, dtype=np.uint8)
    return np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(4096, 4096, 3)


@pytest.mark.parametrize("space", CODES)
def test_all_colors_are_opencv_bytes(space: str, every_color: np.ndarray):
    np.testing.assert_array_equal(convert(every_color, space), cv2.cvtColor(every_color, CODES[space]))


# Textbook values: hue in degrees / 2; CIE L* a* b* of sRGB red is 53.24, 80.09, 67.20.
@pytest.mark.parametrize(
    ("space", "rgb", "expected"),
    [
        ("hsv", (255, 0, 0), (0, 255, 255)),
        ("hsv", (0, 255, 0), (60, 255, 255)),
        ("hsv", (0, 0, 255), (120, 255, 255)),
        ("hsv", (255, 0, 255), (150, 255, 255)),
        ("hsv", (77, 77, 77), (0, 0, 77)),
        ("lab", (0, 0, 0), (0, 128, 128)),
        ("lab", (255, 255, 255), (255, 128, 128)),
        ("lab", (255, 0, 0), (round(53.24 * 2.55), round(80.09 + 128), round(67.20 + 128))),
        ("yuv", (0, 0, 0), (0, 128, 128)),
        ("yuv", (200, 200, 200), (200, 128, 128)),
        ("rgb", (1, 2, 3), (1, 2, 3)),
    ],
)
def test_known_colors(space: str, rgb: tuple, expected: tuple):
    assert tuple(convert(np.array([[rgb]], np.uint8), space)[0, 0].tolist()) == expected


def test_strided_and_odd_images_keep_their_shape():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 10, 6), dtype=np.uint8)[:, ::-3, ::2]
    np.testing.assert_array_equal(
        convert(pixels, "lab"), cv2.cvtColor(np.ascontiguousarray(pixels), CODES["lab"])
    )


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)]
)
def test_other_arrays_are_refused(bad: np.ndarray):
    with pytest.raises(ValueError, match="expected uint8"):
        convert(bad, "hsv")
