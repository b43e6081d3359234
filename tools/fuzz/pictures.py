"""Valid pictures to start from: every format and variant that Pillow writes, small, some with what phones add.

What Pillow does not write (16-bit RGB TIFF, a Camera's preview directory, Apple's HEIC header) is for mutations.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from mobileiqa.photos.generated_images import photo_like

WIDTH, HEIGHT = 45, 33
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F")
NOT_TRIED = {"BUFR", "EPS", "GRIB", "HDF5", "PDF", "WMF", "PALM"}  # no raster, or nobody reads it
SUFFIXES = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2", "SPIDER": "spi"}


def pictures() -> Iterator[tuple[str, bytes]]:
    """(file name, content) of every seed; the same in every run of one Pillow."""
    Image.init()
    for form in sorted(set(Image.SAVE) - NOT_TRIED):
        for mode in MODES:
            yield from _saved(form, mode, f"{form.lower()}_{mode.replace(';', '')}", {})
    for name, form, mode, options in _variants():
        yield from _saved(form, mode, name, options)


def base(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture of that mode, in which no two quarters are alike."""
    image = photo_like(seed, WIDTH, HEIGHT)
    if mode in ("I;16", "I;16B", "I"):
        wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
        return Image.fromarray(wide.astype(np.int32) if mode == "I" else wide)
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        return ImageCms.applyTransform(image, to_lab) or image
    if mode in ("LA", "RGBA"):
        alpha = np.tile(255 - (np.arange(WIDTH) * 3) % 256, (HEIGHT, 1))
        image.putalpha(Image.fromarray(alpha.astype(np.uint8)))
        return image.convert(mode)
    return image.quantize(32) if mode == "P" else image.convert(mode)


def _saved(form: str, mode: str, name: str, options: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """One seed, unless Pillow cannot write the mode in that format or cannot read it back."""
    content = io.BytesIO()
    if form == "AVIF":
        options = {"speed": 10, **options}
    try:
        base(mode).save(content, form, **options)
        Image.open(io.BytesIO(content.getvalue())).load()
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, AttributeError, RuntimeError):
        return
    suffix = options.get("suffix", SUFFIXES.get(form, form.lower()))
    yield f"{name}.{suffix}", content.getvalue()


def _variants() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(name, format, mode, options of save) of what one format holds in several ways."""
    exif, profile = _exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        yield f"{form.lower()}_exif", form, "RGB", {"exif": exif}
        yield f"{form.lower()}_icc", form, "RGB", {"icc_profile": profile}
    yield "jpeg_cmyk_icc", "JPEG", "CMYK", {"icc_profile": profile}
    yield "jpeg_progressive", "JPEG", "RGB", {"progressive": True, "comment": "a comment"}
    yield "jpeg_444", "JPEG", "RGB", {"subsampling": 0, "quality": 95, "restart_marker_rows": 1}
    yield "jpeg_xmp", "JPEG", "RGB", {"xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}
    for compression in (
        "raw",
        "tiff_lzw",
        "tiff_deflate",
        "packbits",
        "jpeg",
        "tiff_adobe_deflate",
        "lzma",
        "zstd",
    ):
        yield f"tiff_{compression}", "TIFF", "RGB", {"compression": compression}
    for compression in ("group3", "group4", "tiff_ccitt"):
        yield f"tiff_{compression}", "TIFF", "1", {"compression": compression}
    yield "tiff_big", "TIFF", "RGB", {"big_tiff": True}
    yield "tiff_g16_deflate", "TIFF", "I;16", {"compression": "tiff_deflate"}
    yield "png_palette_trns", "PNG", "P", {"transparency": 3}
    yield "png_grey_trns", "PNG", "L", {"transparency": 128}
    yield "png_best", "PNG", "RGB", {"compress_level": 9, "dpi": (300, 300)}
    yield "webp_lossless", "WEBP", "RGBA", {"lossless": True}
    yield "tga_rle", "TGA", "RGBA", {"compression": "tga_rle"}
    yield "jp2_lossless", "JPEG2000", "RGB", {"irreversible": False}
    animated: Callable[[], dict[str, Any]] = lambda: {"save_all": True, "append_images": [base("RGB", 1)]}  # noqa: E731
    for form in ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"):
        yield f"{form.lower()}_two", form, "RGB", {**animated()}


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "maker", "2026:11:27 10:00:00"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:27 10:00:00"
    return exif
