"""Image files to 8-bit sRGB, the way a person sees them on a phone; every file is untrusted.

EXIF orientation is applied. Transparent pixels are shown on white. Colours are converted to sRGB where the file says
that they are others (see color_profiles). Of a phone's MPO file (a photo with a second picture behind it) and of a
layered PSD the photo is read; reduced versions and masks in a TIFF are no pages. Refused: animations and pages,
previews of camera raw files, wrong checksums, floating-point and other samples whose range is unknown, pictures of
which nothing is visible, vector formats (EPS would start Ghostscript, WMF a system library).
"""

import hashlib
import io
import logging
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from mobileiqa.errors import UserError, install_command
from mobileiqa.photos import checks, color_profiles, formats, jpeg_scans, samples
from mobileiqa.photos.color_profiles import ColorTags
from mobileiqa.photos.formats import pillow_formats
from mobileiqa.photos.samples import Stored
from mobileiqa.photos.search import find_images as find_images
from mobileiqa.spec import ColorManagement

MAX_PIXELS = 200_000_000  # the largest phone sensors make 199.8 megapixels
MAX_TEXT_BYTES = 32 << 20  # of a PNG's text or profile: editors and generators write more than Pillow's 1 MB

_MANY_IN_ONE = {"MPO", "PSD", "HEIF"}  # formats whose first picture is the whole photo, whatever follows
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
# Grey TIFFs that Pillow's decoders can read but its table does not list: byte order, photometric, bits.
_GREY_TIFFS = {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
}
Pixels = Image.Image | NDArray[np.uint8]  # upright RGB
Photo = Pixels | bytes | str | os.PathLike[str]
_pillow_settings = threading.Lock()
_log = logging.getLogger(__name__)
# What Pillow logs comes as an exception too; an application that listens still gets it, the terminal does not.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def load_image(path: str | os.PathLike[str], colors: ColorManagement = ColorManagement.SRGB) -> Image.Image:
    """The picture in a file, upright, as a mode RGB image of 8 bits; its colours sRGB, or as stored.

    Raises UserError, naming the file, when it is missing, not a file, not readable, empty, not an image,
    damaged, larger than MAX_PIXELS (seen in its header, before decoding), animated, zero-sized, a preview, wholly
    transparent, or when the range of its samples is unknown. A colour profile that says nothing about the pixels
    is logged, once per file, and not applied.
    """
    return as_image(_load_file(Path(path), colors))


def load_bytes(
    content: bytes, name: str = "the image", colors: ColorManagement = ColorManagement.SRGB
) -> Image.Image:
    """`load_image` of a file's content. `name`: what errors call it."""
    return as_image(_load_content(content, name, colors))


def read_image(image: Photo, colors: ColorManagement) -> Image.Image:
    """What a model with that color_management is shown: `to_rgb` of a Pillow image, `load_image` of a path.

    Bytes are a file's content; an array, uint8 (height, width, 3), is upright RGB of those colours already.
    """
    return as_image(read_pixels(image, colors))


def read_pixels(image: Photo, colors: ColorManagement) -> Pixels:
    """The same without a copy: an array or an image, whichever the decoder makes. It is not to be changed."""
    if isinstance(image, Image.Image):
        return image if _is_plain(image) else to_rgb(image, colors)
    if isinstance(image, np.ndarray):
        return _checked_array(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return _load_content(bytes(image), "the image", colors)
    return _load_file(Path(image), colors)


def as_image(pixels: Pixels) -> Image.Image:
    """The mode RGB image of (height, width, 3) uint8; an image as it is."""
    return pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)


def as_array(pixels: Pixels) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) of a mode RGB image; an array as it is."""
    return pixels if isinstance(pixels, np.ndarray) else np.asarray(pixels)


def size_of(pixels: Pixels) -> tuple[int, int]:
    """(width, height)."""
    return pixels.size if isinstance(pixels, Image.Image) else (pixels.shape[1], pixels.shape[0])


def _is_plain(image: Image.Image) -> bool:
    """Whether a Pillow image is in memory, mode RGB, and says nothing of its colours or its orientation."""
    return type(image) is Image.Image and image.mode == "RGB" and not image.info and not image.getexif()


def _checked_array(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(
            "a uint8 array (height, width, 3) of RGB",
            f"{array.dtype} {array.shape}",
            "convert it, or give the photo's file or a Pillow image",
        )
    return array


def _load_file(path: Path, colors: ColorManagement) -> Pixels:
    with _user_errors(str(path), path):
        _check_file(path)
        with path.open("rb") as file:
            if file.read(len(jpeg_scans.START)) == jpeg_scans.START:
                file.seek(0)
                return _decoded(file.read(), None, str(path), colors)
            return _decoded(path, file, str(path), colors)


def _load_content(content: bytes, name: str, colors: ColorManagement) -> Pixels:
    with _user_errors(name, content):
        if not content:
            raise UserError(f"an image in {name}", "an empty file", "copy the image again")
        return _decoded(content, None, name, colors)


def _decoded(source: Path | bytes, file: BinaryIO | None, name: str, colors: ColorManagement) -> Pixels:
    """`source`: a path, and `file`, the same opened; or the file's content."""
    content = source if isinstance(source, bytes) else b""
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    with _pillow_limits(), Image.open(opened, formats=pillow_formats()) as image:
        stored = samples.read_stored(file or io.BytesIO(content), image.format, name)
        return _upright_rgb(image, stored, name, colors, content)


def to_rgb(image: Image.Image, colors: ColorManagement = ColorManagement.SRGB) -> Image.Image:
    """The same from a Pillow image of any mode, lazily opened or in memory: a new mode RGB image, upright.

    Raises UserError as load_image does.
    """
    name = str(getattr(image, "filename", "")) or "the image"
    limits = nullcontext() if getattr(image, "fp", None) is None else _pillow_limits()
    with _user_errors(name), limits:
        return as_image(_upright_rgb(image, _stored_of(image, name), name, colors))


@cache
def decoding_sha256() -> str:
    """Changes with the code that decodes: stored pixels of another version must not be found."""
    digest = hashlib.sha256(PIL.__version__.encode())
    for module in (
        "loading",
        "samples",
        "checks",
        "jpeg_scans",
        "psd_header",
        "color_profiles",
        "tiff_directories",
    ):
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return digest.hexdigest()


def _stored_of(image: Image.Image, name: str) -> Stored:
    """The Stored of an image that was opened and not loaded; what is known of one in memory is in its mode."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        return Stored()
    position = file.tell()
    try:
        return samples.read_stored(file, image.format, name)
    finally:
        file.seek(position)


@contextmanager
def _pillow_limits() -> Iterator[None]:
    """Pillow refuses more than MAX_PIXELS (twice its limit, which only warns), and its warnings stay inside.

    The settings are global to the process, so they change under a lock and are put back.
    """
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
        text, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, MAX_TEXT_BYTES
        added = {key: value for key, value in _GREY_TIFFS.items() if key not in TiffImagePlugin.OPEN_INFO}
        TiffImagePlugin.OPEN_INFO.update(added)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
            PngImagePlugin.MAX_TEXT_CHUNK = text
            for key in added:
                del TiffImagePlugin.OPEN_INFO[key]


@contextmanager
def _user_errors(name: str, source: formats.Source | None = None) -> Iterator[None]:
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
        raise _unidentified(name, source) from error
    except PermissionError as error:
        raise UserError(f"a readable file at {name}", "no permission to read it", "check its mode") from error
    except MemoryError as error:
        raise UserError(
            f"a whole image in {name}, and memory to decode it",
            "a length that asks for more than there is",
            "copy the image again; where it is that large, scale it down first",
        ) from error
    except _DAMAGED as error:
        variant = formats.variant(source) if source else ""
        reason = str(error) or type(error).__name__
        raise UserError(
            f"a whole image in {name}",
            f"a truncated or damaged one ({reason}{f'; {variant}' if variant else ''})",
            "copy or export the image again",
        ) from error


def _unidentified(name: str, source: formats.Source | None) -> UserError:
    """What the file is, where that can be told."""
    variant = formats.variant(source) if source else ""
    if source is None or not variant:
        return UserError(
            f"an image in {name}", "no image format that Pillow knows", "give a JPEG, PNG, WebP, TIFF... file"
        )
    try:
        with formats.opened(source) as file:
            samples.read_stored(file, variant.partition(" ")[0], name)
    except UserError as error:
        return error
    except _DAMAGED:
        pass  # it is damaged, which is said below
    if "camera raw" in variant:
        todo = checks.DEVELOP
    elif variant.startswith(("HEIC", "HEIF")):
        todo = f"{install_command('heic')}, or export it as JPEG"
    else:
        todo = "export it as 8-bit JPEG, PNG or TIFF"
    return UserError(f"an image in {name}", f"{variant}: damaged, or no image format that Pillow reads", todo)


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


def _upright_rgb(
    image: Image.Image, stored: Stored, name: str, colors: ColorManagement, content: bytes = b""
) -> Pixels:
    """`content`: of a file that was read whole."""
    if 0 in image.size:
        raise UserError(f"pixels in {name}", f"a size of {image.width}x{image.height}", "export it again")
    frames = _frames(image, stored)
    if frames > 1:
        raise UserError(
            f"a still image in {name}", f"{frames} frames or pages", "save the one to score alone"
        )
    frame = _frame(image)
    pixels = jpeg_scans.decode(content, image) if stored.jpeg is not None and content else None
    if pixels is None:
        _load(image)
    if stored.jpeg is not None:
        last = image.getpixel((image.width - 1, image.height - 1)) if pixels is None else pixels[-1, -1]
        jpeg_scans.check_last_block(np.asarray(last, np.int16), image.size, stored.jpeg, name)
    if pixels is not None:
        return _turned(_srgb(pixels, image, stored, name, colors), image)
    color, alpha = samples.eight_bit(image, stored, name)
    rgb = samples.on_white(_srgb(color, image, stored, name, colors), alpha)
    if frame is not None:
        rgb, part = Image.new("RGB", rgb.size, "white"), rgb.crop(frame)
        rgb.paste(part, frame)
    return _turned(rgb, image)


def _turned(rgb: Pixels, image: Image.Image) -> Pixels:
    """Upright, by what the loaded image's EXIF says."""
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        rgb = as_image(rgb).transpose(turn)
    if isinstance(rgb, Image.Image):
        rgb.info = {}  # else the orientation and the profile would be applied again by the next reader
    return rgb


def _frames(image: Image.Image, stored: Stored) -> int:
    if image.format in _MANY_IN_ONE:
        return 1
    return stored.tiff.photos if stored.tiff else getattr(image, "n_frames", 1)


def _frame(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Where the one frame of a GIF lies, if it leaves part of the canvas bare, which is transparent."""
    tiles = getattr(image, "tile", [])
    if image.format != "GIF" or not tiles or tiles[0].extents == (0, 0, *image.size):
        return None
    return tiles[0].extents


def _load(image: Image.Image) -> None:
    """Decodes the pixels. Pillow's own look at a TIFF's metadata afterwards, which turns it, is left out.

    That look fails on metadata of an odd type, XMP as text for instance, and the pixels are whole all the same.
    """
    if image.format == "TIFF" and isinstance(image, TiffImagePlugin.TiffImageFile):
        image.load_end = lambda: None  # type: ignore[method-assign]
    image.load()


def _orientation(image: Image.Image) -> int:
    tags = getattr(image, "tag_v2", {})
    try:
        if ExifTags.Base.Orientation in tags:
            return tags[ExifTags.Base.Orientation]
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED:
        return 1  # EXIF that cannot be read says nothing: shown as stored, as every viewer does


def _srgb(color: Pixels, image: Image.Image, stored: Stored, name: str, colors: ColorManagement) -> Pixels:
    """`color` as mode RGB by what the image says of its colours; as stored where it says nothing of use."""
    is_rgb = isinstance(color, np.ndarray) or color.mode == "RGB"
    if colors is ColorManagement.AS_STORED and (is_rgb or as_image(color).mode != "LAB"):
        return color if is_rgb else as_image(color).convert("RGB")
    try:
        tags = _color_tags(image, stored)
        return color if is_rgb and tags.icc() is None else color_profiles.to_srgb(as_image(color), tags)
    except color_profiles.ProfileError as error:
        _log.warning("note: %s: %s; its colours are taken as sRGB, as phones do", name, error)
        return color if is_rgb else as_image(color).convert("RGB")


def _color_tags(image: Image.Image, stored: Stored) -> ColorTags:
    info = image.info
    profile = info.get("icc_profile", stored.profile)
    if isinstance(profile, str):
        profile = profile.encode("latin-1", "replace")  # a TIFF tag of the wrong type
    elif "icc_profile" in info and not isinstance(profile, bytes):
        profile = b""  # parts of it are missing
    if stored.png is None:
        return ColorTags(profile, stored.coding if profile is None else None)
    return ColorTags(profile, stored.png.coding, "srgb" in info, info.get("gamma"), info.get("chromaticity"))
