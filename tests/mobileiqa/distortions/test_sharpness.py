import numpy as np
import pytest
from scipy import ndimage

from mobileiqa.distortions.sharpness import high_sharpen


@pytest.mark.parametrize("amount", [1, 2, 3, 6, 12])
def test_sharpen_is_an_unsharp_mask_on_lightness(muted, rng, lab, amount):
    light = lab(muted)[..., 0]
    blurred = ndimage.gaussian_filter(light, 3, truncate=2.0, mode="nearest")
    expected = (light + amount * (light - blurred)).clip(0, 100)
    found = lab(high_sharpen(muted, amount, rng))
    inside = (expected > 5) & (expected < 95)  # where a and b still fit into sRGB
    assert inside.mean() > 0.4
    assert found[..., 0][inside] == pytest.approx(expected[inside], abs=0.6)
    assert found[inside][:, 1:] == pytest.approx(lab(muted)[inside][:, 1:], abs=1.5)


def test_flat_stays_flat(rng):
    flat = np.full((48, 48, 3), (180, 90, 40), np.uint8)
    assert np.abs(high_sharpen(flat, 12, rng).astype(int) - flat).max() <= 1
