"""Distortions of colour that leave brightness alone, or nearly: diffusion, shift, saturation."""

import cv2
import numpy as np

from mobileiqa.distortions.pixels import Floats, Pixels, from_lab, gaussian, to_bytes, to_lab

_EDGE_SIGMA = 4.0  # how far the colour shift reaches around an edge
_EDGE_FLOOR = 0.1  # weaker edges, of the strongest, do not count
_EDGE_TAIL = 1  # % at either end that is clipped
_GREEN = 1


def color_diffusion(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """4: Lab's a and b blurred by sigma 1.5 amount + 2, then multiplied by `amount`."""
    lab = to_lab(rgb)
    lab[..., 1:] = gaussian(lab[..., 1:], 1.5 * amount + 2) * np.float32(amount)
    return from_lab(lab)


def color_shift(rgb: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """5: green moved by `amount` pixels, right and down in a random direction, where there are edges."""
    direction = rng.random(2)
    down, right = np.rint(direction / np.linalg.norm(direction) * amount).astype(int)
    green = rgb[..., _GREEN]
    padded = cv2.copyMakeBorder(green, down, 0, right, 0, cv2.BORDER_REFLECT)
    moved = padded[: green.shape[0], : green.shape[1]].astype(np.float32)
    out = rgb.copy()
    out[..., _GREEN] = to_bytes(green + edge_weight(rgb) * (moved - green))
    return out


def edge_weight(rgb: Pixels) -> Floats:
    """(H, W), 0..1: the blurred gradient of brightness, stretched; all 0 where there is no edge."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.array([[-0.5, 0, 0.5]], np.float32)
    across = cv2.filter2D(grey, -1, slope, borderType=cv2.BORDER_REPLICATE)
    down = cv2.filter2D(grey, -1, slope.T, borderType=cv2.BORDER_REPLICATE)
    edges = _stretched(gaussian(cv2.magnitude(across, down), _EDGE_SIGMA))
    edges = _stretched(np.maximum(edges, _EDGE_FLOOR))
    low, high = np.percentile(edges, (_EDGE_TAIL, 100 - _EDGE_TAIL))
    return _stretched(np.clip(edges, low, high))


def _stretched(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def saturation_hsv(rgb: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """7: HSV's S times `factor`, hue and V kept. A negative factor gives complementary colours.

    c = V (1 - S w) with a weight w of the hue alone, so V - c scales with S: HSV itself is not needed.
    """
    red, green, blue = cv2.split(rgb)
    value = cv2.max(cv2.max(red, green), blue)[..., None].astype(np.float32)
    return to_bytes(value - np.float32(factor) * (value - rgb))


def saturation_lab(rgb: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """8: Lab's a and b times `factor`; 1 changes nothing."""
    lab = to_lab(rgb)
    lab[..., 1:] *= np.float32(factor)
    return from_lab(lab)
