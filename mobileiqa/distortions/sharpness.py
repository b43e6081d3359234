"""Too much sharpening."""

import numpy as np

from mobileiqa.distortions.pixels import Pixels, from_lab, gaussian, to_lab

_RADIUS = 3.0  # sigma


def high_sharpen(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """24: unsharp mask on Lab's L: L + amount (L - L blurred by sigma 3)."""
    lab = to_lab(rgb)
    light = lab[..., 0]
    sharp = light + np.float32(amount) * (light - gaussian(light, _RADIUS))
    lab[..., 0] = np.clip(sharp, 0, 100)
    return from_lab(lab)
