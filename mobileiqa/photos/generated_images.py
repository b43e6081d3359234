"""Generated images for work without photos, the one place that draws them: equal seeds, equal images.

Those for calibration exercise a network, each kind reaching values that another does not: flat, dark and bright ones
the ends of the range, noise and textures the largest responses of small filters, gradients and blur the smallest.
Those for parity look more like photos: edges, blur, JPEG's blocks. A calibration set's hash covers what
`calibration_image` draws: a kind that is drawn otherwise is another set.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mobileiqa.errors import UserError

Pixels = NDArray[np.float64]  # (H, W, 3), 0..255
Draw = Callable[[np.random.Generator, int, int], Pixels | Image.Image]  # rng, width, height

# (width, height), in turn
CALIBRATION_SIZES = ((1024, 768), (768, 1024), (800, 800), (1280, 720))
PARITY_SIZES = ((1600, 1200), (1080, 1440), (1024, 1024), (1367, 911))  # the last one divides by nothing


def _gradient(rng: np.random.Generator, width: int, height: int) -> Pixels:
    across, down = np.linspace(0, 1, width)[:, None], np.linspace(0, 1, height)[:, None, None]
    corners = rng.uniform(0, 255, (4, 3))
    top, bottom = (corners[i] * (1 - across) + corners[i + 1] * across for i in (0, 2))
    return top * (1 - down) + bottom * down


def _texture(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Six waves of different direction, from coarse to one period in three pixels, each with a colour."""
    x, y = np.arange(width), np.arange(height)[:, None]
    pixels = np.full((height, width, 3), 127.5)
    for frequency in np.geomspace(0.02, 2, 6):
        angle, color = rng.uniform(0, np.pi), rng.uniform(-40, 40, 3)
        wave = np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + rng.uniform(0, 6))
        pixels += wave[..., None] * color
    return pixels


def _grain(rng: np.random.Generator, width: int, height: int) -> Pixels:
    return rng.normal(rng.uniform(80, 180, 3), rng.uniform(20, 80), (height, width, 3))


def _blocks(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Blocks of colour, blurred."""
    blocks = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    sharp = blocks.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(sharp.filter(ImageFilter.GaussianBlur(float(rng.uniform(4, 16))))).astype(np.float64)


def _flat(rng: np.random.Generator, width: int, height: int) -> Pixels:
    return np.broadcast_to(rng.uniform(0, 255, 3), (height, width, 3))


def _dark(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """A picture as noisy in the shadows as a night shot."""
    return 0.15 * _texture(rng, width, height) + rng.normal(0, 5, (height, width, 3))


def _bright(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """An overexposed picture: much of it is clipped to 255."""
    return 170 + 0.6 * _texture(rng, width, height)


def _waves(rng: np.random.Generator, width: int, height: int) -> Pixels:
    x, y = np.arange(width)[:, None], np.arange(height)[:, None, None]
    frequency = rng.uniform(0.005, 0.4, (3, 2))
    return 127.5 + 100 * np.sin(frequency[:, 0] * x + frequency[:, 1] * y)


def _noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _shapes(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), _color(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        box = (x, y, x + int(rng.integers(5, width // 3)), y + int(rng.integers(5, height // 3)))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=_color(rng))
    return image


def _blurred(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return _shapes(rng, width, height).filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 8))))


def _compressed(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    file = io.BytesIO()
    _shapes(rng, width, height).save(file, "JPEG", quality=int(rng.integers(3, 20)))
    return Image.open(file).convert("RGB")


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)


CALIBRATION_KINDS: dict[str, Draw] = {
    "gradient": _gradient,
    "texture": _texture,
    "noise": _grain,
    "blur": _blocks,
    "flat": _flat,
    "dark": _dark,
    "bright": _bright,
}
PARITY_KINDS: dict[str, Draw] = {
    "shapes": _shapes,
    "noise": _noise,
    "blurred": _blurred,
    "gradient": _gradient,
    "compressed": _compressed,
    "waves": _waves,
}


def calibration_name(index: int) -> str:
    """The id of the index-th image for calibration, such as generated/texture-1."""
    return f"generated/{list(CALIBRATION_KINDS)[index % len(CALIBRATION_KINDS)]}-{index}"


def calibration_image(index: int, seed: int) -> Image.Image:
    """The index-th image of a seed, mode RGB, about 0.6 to 0.9 megapixels; kinds and sizes take turns."""
    if index < 0 or seed < 0:
        raise UserError("an index and a seed of 0 or more", f"{index} and {seed}", "correct them")
    return _draw(list(CALIBRATION_KINDS.values()), CALIBRATION_SIZES, index, seed)


def sample_images(count: int, seed: int = 0) -> list[tuple[str, Image.Image]]:
    """For parity: `count` pairs of a name ("shapes-0") and an RGB image of 1 to 2 megapixels, kinds in turn."""
    names = list(PARITY_KINDS)
    draws = list(PARITY_KINDS.values())
    return [(f"{names[i % len(names)]}-{i}", _draw(draws, PARITY_SIZES, i, seed)) for i in range(count)]


def photo_like(seed: int, width: int, height: int) -> Image.Image:
    """For tests: smooth colour, edges and noise, of every brightness; no two quarters are alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(2 * np.pi * (f * x + g * y) + p) for f, g, p in rng.uniform(0.5, 6, (3, 3))]
    stripes = 60.0 * ((x * 17 + y * 11) % 1 > 0.5)
    pixels = 110 + 80 * np.stack(waves, axis=-1) + stripes[..., None] + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _draw(kinds: list[Draw], sizes: tuple[tuple[int, int], ...], index: int, seed: int) -> Image.Image:
    drawn = kinds[index % len(kinds)](np.random.default_rng([seed, index]), *sizes[index % len(sizes)])
    if isinstance(drawn, Image.Image):
        return drawn
    return Image.fromarray(np.round(drawn).clip(0, 255).astype(np.uint8))
