"""Image files to 8-bit RGB, the way a person sees them; every file is untrusted.

EXIF orientation is applied. Transparent pixels are shown on white, as a page or a viewer shows them, so that
colours hidden under transparency do not count. 16-bit samples keep their high byte, as Pillow and OpenCV do.
Of a phone's MPO file (a photo with a second picture behind it) the photo is read. Colour profiles are not
applied: the published models were trained without. Refused: animations and pages, floating-point and other
samples whose range is unknown, vector formats (EPS would start Ghostscript, WMF a system library).
"""

import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from mobileiqa.errors import UserError

MAX_PIXELS = 200_000_000  # the largest phone sensors make 199.8 megapixels

_TIFF_BITS_PER_SAMPLE = 258
_NOT_RASTER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged data.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    OverflowError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_pillow_settings = threading.Lock()


def load_image(path: str | os.PathLike[str]) -> Image.Image:
    """The picture in a file, upright, as a mode RGB image of 8 bits.

    Raises UserError, naming the file, when it is missing, not a file, not readable, empty, not an image,
    damaged, larger than MAX_PIXELS (seen in its header, before decoding), animated, zero-sized, or when the
    range of its samples is unknown.
    """
    path = Path(path)
    with _user_errors(str(path)):
        _check_file(path)
        with _pillow_limits(), Image.open(path, formats=_formats()) as image:
            return _upright_rgb(image, str(path))


def to_rgb(image: Image.Image) -> Image.Image:
    """The same from a Pillow image of any mode, lazily opened or in memory: a new mode RGB image, upright.

    Raises UserError as load_image does.
    """
    name = str(getattr(image, "filename", "")) or "the image"
    with _user_errors(name):
        return _upright_rgb(image, name)


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Every file named, and every image below every folder named: once each, folders sorted by path.

    Folders are searched to any depth for the suffixes Pillow knows, in either case; hidden files and folders
    are left out. Raises UserError when a path does not exist, or when there is no image at all.
    """
    found: dict[Path, None] = {}
    named = [Path(path) for path in paths]
    for path in named:
        if path.is_dir():
            found.update(dict.fromkeys(sorted(_images_below(path))))
        elif path.exists():
            found[path] = None
        else:
            raise UserError("an image or a folder of images", f"nothing at {path}", "check the path")
    if not found:
        raise UserError(
            "at least one image",
            f"none in {', '.join(map(str, named)) or 'no paths'}",
            "name image files, or folders that hold some (JPEG, PNG, WebP, TIFF...)",
        )
    return list(found)


def _images_below(folder: Path) -> Iterator[Path]:
    suffixes = _suffixes()
    for root, folders, files in os.walk(folder, onerror=_fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield Path(root, name)


def _fail(error: OSError) -> None:
    raise error  # os.walk would leave out a folder that it may not read


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_RASTER)


@cache
def _suffixes() -> frozenset[str]:
    formats = {*_formats(), "MPO"}  # MPO has a suffix, but is opened as a kind of JPEG
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


@contextmanager
def _pillow_limits() -> Iterator[None]:
    """Pillow refuses more than MAX_PIXELS (twice its limit, which only warns), and its warnings stay inside.

    Both settings are global to the process, so they change under a lock and are put back.
    """
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _user_errors(name: str) -> Iterator[None]:
    """Whatever Pillow raises on bad input becomes a UserError that names the image."""
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f"at most {MAX_PIXELS / 1e6:g} megapixels in {name}", str(error), "scale the image down first"
        ) from error
    except UnidentifiedImageError as error:
        raise UserError(
            f"an image in {name}", "no image format that Pillow knows", "give a JPEG, PNG, WebP, TIFF... file"
        ) from error
    except PermissionError as error:
        raise UserError(f"a readable file at {name}", "no permission to read it", "check its mode") from error
    except _DAMAGED as error:
        raise UserError(
            f"a whole image in {name}",
            f"a truncated or damaged one ({str(error) or type(error).__name__})",
            "copy or export the image again",
        ) from error


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError("an image file", f"nothing at {path}", "check the path")
    if not path.is_file():
        raise UserError(
            "an image file",
            f"{'a folder' if path.is_dir() else 'no ordinary file'} at {path}",
            "name an image file",
        )
    if path.stat().st_size == 0:
        raise UserError(f"an image in {path}", "an empty file", "copy the image again")


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    if 0 in image.size:
        raise UserError(f"pixels in {name}", f"a size of {image.width}x{image.height}", "export it again")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise UserError(
            f"a still image in {name}", f"{frames} frames or pages", "save the one to score alone"
        )
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    rgb = _eight_bit(image, name)
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {}  # else the orientation would be applied again by the next reader
    return rgb


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
        return 1  # EXIF that cannot be read says nothing: shown as stored, as every viewer does


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """A mode RGB copy of a loaded image, not turned."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        bits = 12 if getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE) == (12,) else 16
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode not in _EIGHT_BIT:
        raise UserError(
            f"8-bit or 16-bit samples in {name}",
            f"mode {image.mode}",
            "save the image as 8-bit RGB",
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")
