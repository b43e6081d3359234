"""Generated images for parity where no photos are given: smooth and rough, sharp and blurred, photo sized.

They are ordinary 8-bit RGB images that take the same way into a model as a photo. Equal seeds, equal images.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Draw = Callable[[np.random.Generator, int, int], Image.Image]

# (width, height): landscape, portrait, square, and an odd one that nothing divides
SIZES = ((1600, 1200), (1080, 1440), (1024, 1024), (1367, 911))


def _noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _gradient(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    across, down = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    corners = rng.uniform(0, 255, (4, 3, 1, 1))
    planes = (corners[0] * (1 - across) + corners[1] * across) * (1 - down)
    planes = planes + (corners[2] * (1 - across) + corners[3] * across) * down
    return _image(planes)


def _waves(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    x, y = np.arange(width), np.arange(height)[:, None]
    frequency = rng.uniform(0.005, 0.4, (3, 2, 1, 1))
    return _image(127.5 + 100 * np.sin(frequency[:, 0] * x + frequency[:, 1] * y))


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


def _image(planes: np.ndarray) -> Image.Image:
    """(3, H, W), 0..255 -> image."""
    return Image.fromarray(np.round(planes.transpose(1, 2, 0)).astype(np.uint8))


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)


KINDS: dict[str, Draw] = {
    "shapes": _shapes,
    "noise": _noise,
    "blurred": _blurred,
    "gradient": _gradient,
    "compressed": _compressed,
    "waves": _waves,
}


def sample_images(count: int, seed: int = 0) -> list[tuple[str, Image.Image]]:
    """`count` pairs of a name ("shapes-0") and an RGB image of about 1 to 2 megapixels, kinds in turn."""
    names = list(KINDS)
    images = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        kind = names[i % len(names)]
        images.append((f"{kind}-{i}", KINDS[kind](rng, *SIZES[i % len(SIZES)])))
    return images
