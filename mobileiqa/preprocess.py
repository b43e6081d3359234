"""How an image becomes a model's inputs: the one definition, for training, conversion, parity and scoring.

The colour space (OpenCV's, on the 8-bit image), then fit (Pillow's filters), then (pixel / 255 - mean) / std,
each value being the float32 nearest to the exact one. Colour before fit is LAR-IQA's public order: its
checkpoints have seen resampled hues, and padding that is 0 in every channel of the colour space.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa import tokens
from mobileiqa.errors import UserError
from mobileiqa.fragments import fragments, starts
from mobileiqa.photos import color_spaces
from mobileiqa.photos.loading import Photo, Pixels, as_array, as_image, read_pixels, size_of
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec, Resample

CROP_SEED = 0  # the random crops are the same for every image and on every run

_FILTERS = {
    Resample.BILINEAR: Image.Resampling.BILINEAR,
    Resample.BICUBIC: Image.Resampling.BICUBIC,
    Resample.LANCZOS: Image.Resampling.LANCZOS,
}


def prepare(image: Photo, spec: ModelSpec, reference: Photo | None = None) -> dict[str, NDArray[np.float32]]:
    """The model's named inputs for one image: contiguous float32 NCHW, InputSpec.shape (N is the crops).

    A Pillow image of any mode is first made upright 8-bit RGB, exactly as a file is (see mobileiqa.photos.loading); its
    colours become sRGB unless spec.color_management says `as_stored`. Bytes are a file's content; an array, uint8
    (height, width, 3), is upright RGB already. reference: the pristine original, for a model
    with an input that is made of it. Raises UserError for an image that cannot be read, and for a reference that is
    missing, not asked for, or of another size than the image.
    """
    rgb = read_pixels(image, spec.color_management)
    original = _original(rgb, spec, reference)
    return {
        each.name: _input(original if original is not None and each.of_reference else rgb, each)
        for each in spec.inputs
    }


def _original(rgb: Pixels, spec: ModelSpec, reference: Photo | None) -> Pixels | None:
    expected = any(each.of_reference for each in spec.inputs)
    if expected != (reference is not None):
        raise UserError(
            f"{'a' if expected else 'no'} reference image for {spec.name}",
            "none" if expected else "one",
            "give the pristine original" if expected else "leave it out",
        )
    if reference is None:
        return None
    original = read_pixels(reference, spec.color_management)
    if size_of(original) != size_of(rgb):
        raise UserError(
            "a reference image of the image's size, {}x{}".format(*size_of(rgb)),
            "{}x{}".format(*size_of(original)),
            "give the original that the image was made of",
        )
    return original


def _input(rgb: Pixels, spec: InputSpec) -> NDArray[np.float32]:
    tables = byte_tables(spec.mean, spec.std)
    if spec.color_space is not ColorSpace.RGB:
        rgb = color_spaces.convert(as_array(rgb), spec.color_space)
    if spec.fit is Fit.MULTI_SCALE:
        return _tokens(as_image(rgb), spec, tables)
    out = np.empty(spec.shape, np.float32)
    for index, crop in enumerate(fit_pixels(rgb, spec)):
        pixels = np.asarray(crop)
        for channel, table in enumerate(tables):
            out[index, channel] = table[pixels[:, :, channel]]
    return out


def _tokens(rgb: Image.Image, spec: InputSpec, tables: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, tokens, 3075); an image larger than the input is shrunk into it, its aspect ratio kept."""
    ratio = min(spec.width_px / rgb.width, spec.height_px / rgb.height)
    if ratio < 1:
        size = (max(1, round(side * ratio)) for side in rgb.size)
        rgb = rgb.resize(tuple(size), Image.Resampling.BICUBIC)
    pixels = np.asarray(rgb)
    image = np.stack([table[pixels[:, :, channel]] for channel, table in enumerate(tables)])
    return tokens.multi_scale(image, spec.scales_px, spec.resample)[None]


def byte_tables(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(3, 256): what each byte becomes in each channel, computed in float64 and rounded once."""
    means, deviations = (np.array(values)[:, None] for values in (mean, std))
    return ((np.arange(256) / 255 - means) / deviations).astype(np.float32)


def fit_pixels(rgb: Pixels, spec: InputSpec) -> list[Image.Image]:
    """The image's crops, each of the input's size, mode RGB (whatever its channels mean).

    Raises UserError for an input of tokens, which are no pictures.
    """
    if spec.fit is Fit.MULTI_SCALE:
        raise UserError(f"an input of pixels, not {spec.fit}", spec.name, "score with the model's checkpoint")
    size = (spec.width_px, spec.height_px)
    if spec.fit is Fit.RESIZE:
        return [as_image(rgb).resize(size, _FILTERS[spec.resample])]
    if spec.fit is Fit.FRAGMENTS:
        rows, columns = size[1] // spec.patch_px, size[0] // spec.patch_px
        return [Image.fromarray(fragments(as_array(rgb), rows, columns, spec.patch_px))]
    if spec.fit is Fit.CENTER_CROP:
        width, height = size_of(rgb)
        return [_crop(as_image(rgb), centred(width, size[0]), centred(height, size[1]), spec)]
    assert spec.resize_px is not None, "InputSpec checks this"
    height, width = spec.resize_px
    resized = as_image(rgb).resize((width, height), _FILTERS[spec.resample])
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


def what_is_read(spec: ModelSpec) -> str:
    """Which part of a photo a model sees, for people: "the whole photo at 256x256 and 64 patches of 64x64"."""
    return " and ".join(_part_read(each) for each in spec.inputs if not each.of_reference)


def _part_read(spec: InputSpec) -> str:
    size = f"{spec.width_px}x{spec.height_px}"
    if spec.fit is Fit.FRAGMENTS:
        count = spec.width_px * spec.height_px // spec.patch_px**2
        return f"{count} patches of {spec.patch_px}x{spec.patch_px} from all of it at full size"
    if spec.fit is Fit.RANDOM_CROPS:
        assert spec.resize_px is not None, "InputSpec checks this"
        return f"{spec.crops} crops of {size} of the photo at {spec.resize_px[1]}x{spec.resize_px[0]}"
    whole = {Fit.RESIZE: f"the whole photo at {size}", Fit.CENTER_CROP: f"its centre, {size}, at full size"}
    return whole.get(spec.fit, "the whole photo at full size")


def full_size_share(spec: ModelSpec, width: int, height: int) -> float:
    """The share, 0..1, of a photo's pixels that a model reads unreduced; of several inputs the largest."""
    return max(_share_read(each, width, height) for each in spec.inputs)


def _share_read(spec: InputSpec, width: int, height: int) -> float:
    if spec.fit is Fit.CENTER_CROP:
        return min(spec.width_px, width) * min(spec.height_px, height) / (width * height)
    if spec.fit is Fit.FRAGMENTS:
        lengths = ((width, spec.width_px), (height, spec.height_px))
        covered = [_covered(side, of_mosaic // spec.patch_px, spec.patch_px) for side, of_mosaic in lengths]
        return covered[0] * covered[1] / (width * height)
    if spec.fit is Fit.RESIZE:
        return float(spec.width_px >= width and spec.height_px >= height)
    return float(spec.fit is Fit.MULTI_SCALE)


def _covered(length: int, count: int, patch_px: int) -> int:
    """How many of `length` pixels lie in one of `count` patches along it; patches of neighbours may overlap."""
    if length <= patch_px:
        return length
    return len({first + i for first in starts(length, count, patch_px) for i in range(patch_px)})
