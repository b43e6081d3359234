"""How an image becomes a model's inputs: the one definition, for training, conversion, parity and scoring.

The colour space (OpenCV's, on the 8-bit image), then fit (Pillow's filters), then (pixel / 255 - mean) / std,
each value being the float32 nearest to the exact one. Colour before fit is LAR-IQA's public order: its
checkpoints have seen resampled hues, and padding that is 0 in every channel of the colour space.
"""

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa import color
from mobileiqa.images import read_image
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec, Resample

CROP_SEED = 0  # the random crops are the same for every image and on every run

_FILTERS = {
    Resample.BILINEAR: Image.Resampling.BILINEAR,
    Resample.BICUBIC: Image.Resampling.BICUBIC,
    Resample.LANCZOS: Image.Resampling.LANCZOS,
}


def prepare(image: Image.Image | str | os.PathLike[str], spec: ModelSpec) -> dict[str, NDArray[np.float32]]:
    """The model's named inputs for one image: contiguous float32 NCHW, InputSpec.shape (N is the crops).

    A Pillow image of any mode is first made upright 8-bit RGB, exactly as a file is (see mobileiqa.images); its
    colours become sRGB unless spec.color_management says `as_stored`.
    Raises UserError for an image that cannot be read.
    """
    rgb = read_image(image, spec.color_management)
    return {wanted.name: _input(rgb, wanted) for wanted in spec.inputs}


def _input(rgb: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    out = np.empty(spec.shape, np.float32)
    tables = _normalization(spec)
    if spec.color_space is not ColorSpace.RGB:
        rgb = Image.fromarray(color.convert(np.asarray(rgb), spec.color_space))
    for index, crop in enumerate(fit_pixels(rgb, spec)):
        pixels = np.asarray(crop)
        for channel, table in enumerate(tables):
            out[index, channel] = table[pixels[:, :, channel]]
    return out


def _normalization(spec: InputSpec) -> NDArray[np.float32]:
    """(3, 256): what each byte becomes in each channel, computed in float64 and rounded once."""
    mean, std = (np.array(values)[:, None] for values in (spec.mean, spec.std))
    return ((np.arange(256) / 255 - mean) / std).astype(np.float32)


def fit_pixels(rgb: Image.Image, spec: InputSpec) -> list[Image.Image]:
    """The image's crops, each of the input's size, mode RGB (whatever its channels mean)."""
    size = (spec.width_px, spec.height_px)
    if spec.fit is Fit.RESIZE:
        return [rgb.resize(size, _FILTERS[spec.resample])]
    if spec.fit is Fit.CENTER_CROP:
        return [_crop(rgb, centred(rgb.width, size[0]), centred(rgb.height, size[1]), spec)]
    assert spec.resize_px is not None, "InputSpec checks this"
    height, width = spec.resize_px
    resized = rgb.resize((width, height), _FILTERS[spec.resample])
    corners = np.random.default_rng(CROP_SEED).integers(
        (0, 0), (width - size[0], height - size[1]), size=(spec.crops, 2), endpoint=True
    )
    return [_crop(resized, int(left), int(top), spec) for left, top in corners]


def _crop(rgb: Image.Image, left: int, top: int, spec: InputSpec) -> Image.Image:
    """A window of the input's size; Pillow makes what lies outside the image black."""
    return rgb.crop((left, top, left + spec.width_px, top + spec.height_px))


def centred(length: int, window: int) -> int:
    """Where a centred window starts, negative where it is longer, by torchvision's two rounding rules.

    Cutting rounds half to even; padding puts the odd pixel on the far side (its functional.center_crop).
    """
    return round((length - window) / 2) if length >= window else -((window - length) // 2)
