"""Samples that Pillow has decoded, as 8-bit colour and alpha: bit depth, polarity, and which pixels are transparent.

16-bit samples keep their high byte, as Pillow and OpenCV do; 12-bit ones their upper eight bits.
"""

import io
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from mobileiqa.errors import UserError
from mobileiqa.photos import checks, formats, jpeg_scans
from mobileiqa.photos import tiff_directories as tags
from mobileiqa.photos.checks import PngHeader
from mobileiqa.photos.formats import RAW_SUFFIXES
from mobileiqa.photos.jpeg_scans import JpegScans
from mobileiqa.photos.psd_header import PsdHeader, read_psd

_WITH_ALPHA = {
    "LA": "LA",
    "La": "LA",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "PA": "RGBA",
}  # a mode, and it not premultiplied
_COLOR = {"1": "L", "L": "L", "RGB": "RGB", "RGBX": "RGB", "CMYK": "CMYK", "YCbCr": "RGB", "HSV": "RGB", "P": "RGB",
          "LAB": "LAB"}  # fmt: skip
_SIGNED, _FLOAT = 2, 3  # TIFF's SampleFormat


@dataclass(frozen=True)
class Stored:
    """What the file itself says, which Pillow does not pass on."""

    png: PngHeader | None = None
    tiff: tags.Tiff | None = None
    jpeg: JpegScans | None = None
    psd: PsdHeader | None = None
    declares_alpha: bool = True
    profile: bytes | None = None  # an ICC profile
    coding: tuple[int, int] | None = None  # colour primaries and transfer function (ITU-T H.273)
    opaque: Image.Image | None = None  # mode L, where the transparent colour needs all 16 bits to be told

    @property
    def bits(self) -> int:
        """Of a 16-bit sample, how many are used."""
        return 12 if self.tiff and self.tiff.pages[0].value(tags.BITS) == 12 else 16

    @property
    def is_negative(self) -> bool:
        """A TIFF whose lowest sample is white. Pillow inverts those of 8 bits and fewer itself."""
        return self.tiff is not None and self.tiff.pages[0].value(tags.PHOTOMETRIC, 1) == 0


def read_stored(file: BinaryIO, form: str | None, name: str) -> Stored:
    """The Stored of a file that Pillow opens as `form`. Raises UserError for a preview and for wrong checksums."""
    if form == "PNG":
        header = checks.check_png(file, name)
        return Stored(png=header, opaque=_opaque_of_16_bits(file, header) if header else None)
    if form == "TIFF":
        suffix = name[name.rfind(".") :].lower()
        content = checks.check_photo(file, name, suffix in RAW_SUFFIXES)
        return Stored(
            tiff=content, declares_alpha=content is None or tags.EXTRA_SAMPLES in content.pages[0].tags
        )
    if form in ("JPEG", "MPO"):
        scans = jpeg_scans.read_scans(file, name)
        return Stored(jpeg=scans, profile=scans.profile if scans else None)
    if form == "PSD":
        return Stored(psd=read_psd(file, name), declares_alpha=False)
    if form == "JPEG2000":
        return Stored(profile=checks.jpeg_2000_profile(file))
    if form in ("AVIF", "HEIF"):
        return Stored(coding=checks.coded_colors(file))
    if form in ("ICO", "ICNS"):
        checks.check_embedded_pngs(file, name)
    if form == "TGA":
        file.seek(0)
        header = file.read(18)
        # Of 16-bit colours Pillow reads the attribute bit the wrong way round: all set is all opaque.
        is_16_bit_color = header[2] in (2, 10) and header[16] == 16
        return Stored(declares_alpha=bool(header[17] & 15) and not is_16_bit_color)
    return Stored()


def eight_bit(image: Image.Image, stored: Stored, name: str) -> tuple[Image.Image, Image.Image | None]:
    """A loaded image's colour (mode L, RGB, CMYK or LAB) and its alpha (mode L; None: opaque), 8 bits each.

    Raises UserError for samples whose range is unknown, and where every pixel is transparent.
    """
    color, alpha = _split(image, stored, name)
    if stored.psd is not None:
        color = ImageChops.invert(color) if stored.psd.is_bitmap else color
        alpha = alpha if stored.psd.is_transparent else None
    if alpha is not None:
        low, high = alpha.getextrema()
        if high == 0 and not stored.declares_alpha:
            return color, None  # bits that nobody has set
        if high == 0:
            raise UserError(
                f"a visible picture in {name}", "every pixel is transparent", "export it without transparency"
            )
        alpha = None if low == 255 else alpha
    return color, alpha


def on_white(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """Mode RGB on white, as a page or a viewer shows it, so that colours under transparency do not count."""
    if alpha is None:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _split(image: Image.Image, stored: Stored, name: str) -> tuple[Image.Image, Image.Image | None]:
    key = stored.png.transparent if stored.png else ()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_16_bits(image, stored, key)
    first = stored.tiff.pages[0] if stored.tiff else None
    if first is not None and first.value(tags.SAMPLE_FORMAT, 1) in (_SIGNED, _FLOAT):
        _refuse(image.mode, name)
    if stored.png and key and image.mode in ("1", "L", "RGB"):
        return _with_key(image.convert(_COLOR[image.mode]), stored, key)
    if image.mode in _WITH_ALPHA or image.has_transparency_data:
        mode = _WITH_ALPHA.get(image.mode, "RGBA")
        if mode == "RGBA" and image.mode not in _COLOR and image.mode not in _WITH_ALPHA:
            _refuse(image.mode, name)
        whole = image.convert(mode)
        return whole.convert(mode[:-1]), whole.getchannel("A")
    if image.mode not in _COLOR:
        _refuse(image.mode, name)
    return image.convert(_COLOR[image.mode]), None


def _refuse(mode: str, name: str) -> NoReturn:
    variant = formats.variant(name)
    kind = f"{variant} (Pillow's mode {mode})" if variant else f"mode {mode}"
    raise UserError(f"8-bit or 16-bit samples in {name}", kind, "save the image as 8-bit RGB")


def _from_16_bits(
    image: Image.Image, stored: Stored, key: tuple[int, ...]
) -> tuple[Image.Image, Image.Image | None]:
    samples = np.asarray(image)
    levels = (samples >> (stored.bits - 8)).astype(np.uint8)
    if stored.is_negative:
        levels = 255 - levels
    grey = Image.fromarray(levels)
    return grey, _mask(samples != key[0]) if len(key) == 1 else None


def _with_key(
    color: Image.Image, stored: Stored, key: tuple[int, ...]
) -> tuple[Image.Image, Image.Image | None]:
    """A PNG of at most 8 bits (or 16-bit RGB, decided before) whose one transparent colour is `key`."""
    if stored.opaque is not None:
        return color, stored.opaque
    assert stored.png is not None, "a key is a PNG's"
    scale = 255 // ((1 << min(stored.png.bit_depth, 8)) - 1)  # Pillow spreads 1, 2 and 4 bits over 0..255
    target = np.array(key) * scale
    pixels = np.asarray(color).reshape(color.height, color.width, -1)
    return color, _mask((pixels != target).any(axis=-1))


def _mask(opaque: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.where(opaque, np.uint8(255), np.uint8(0)))


def _opaque_of_16_bits(file: BinaryIO, header: PngHeader) -> Image.Image | None:
    """Which pixels of a 16-bit RGB PNG are not of its transparent colour; None where it has none.

    Pillow keeps the high bytes only, so the picture is decoded twice, the second time for the low ones.
    """
    if header.color_type != 2 or header.bit_depth != 16 or not header.transparent:
        return None
    file.seek(0)
    content = file.read()
    high, low = (_bytes_of_16_bits(content, raw) for raw in ("RGB;16B", "RGB;16L"))
    key = np.array(header.transparent)
    return _mask(((high != key >> 8) | (low != key & 255)).any(axis=-1))


def _bytes_of_16_bits(content: bytes, raw_mode: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.asarray(image)
