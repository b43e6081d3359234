"""Golden images are what their formulas say, in plain integers, whatever the size."""

import numpy as np
import pytest

from convert.packaging import golden_vectors


def by_formula(name: str, x: int, y: int, c: int, w: int, h: int) -> int:
    """The formulas of golden.IMAGES, pixel by pixel, as an app would write them."""
    if name == "ramp":
        a, b = x * 255 // (w - 1), y * 255 // (h - 1)
        return a if c == 0 else b if c == 1 else (a + b) // 2
    if name == "tiles":
        return (x // 16 * 73 + y // 16 * 151 + c * 37) & 255
    m = ((y * w + x) * 3 + c) * 2654435769 & 0xFFFFFFFF
    return ((m ^ m >> 15) * 2246822519 & 0xFFFFFFFF) >> 24


@pytest.mark.parametrize("name", golden_vectors.IMAGES)
@pytest.mark.parametrize(("width", "height"), [(64, 48), (37, 600), (8192, 3)])
def test_images_follow_their_formulas(name: str, width: int, height: int) -> None:
    picture = golden_vectors.draw(name, width, height)
    assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
    rng = np.random.default_rng(0)
    for _ in range(300):
        x, y, c = (int(rng.integers(0, n)) for n in (width, height, 3))
        assert picture[y, x, c] == by_formula(name, x, y, c, width, height)
    assert picture[-1, -1].tolist() == [
        by_formula(name, width - 1, height - 1, c, width, height) for c in range(3)
    ]


def test_noise_is_noise() -> None:
    picture = golden_vectors.draw("noise", 200, 100).astype(float)
    assert abs(picture.mean() - 127.5) < 2 and abs(picture.std() - 73.9) < 2
    assert abs(np.corrcoef(picture[:, 1:].ravel(), picture[:, :-1].ravel())[0, 1]) < 0.02
