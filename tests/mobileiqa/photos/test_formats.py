"""A file that Pillow does not read is called what it is."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileiqa.errors import UserError
from mobileiqa.photos.formats import file_format, pillow_formats, variant
from mobileiqa.photos.loading import load_image
from tests.mobileiqa.photos.tiff_files import Page, tiff

GREY = np.zeros((4, 4), np.uint8)


def ftyp(major: bytes, *others: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(others)
    return struct.pack(">I", 4 + len(body)) + body + b"x" * 60


def psd(depth: int, mode: int) -> bytes:
    return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 2, 2, depth, mode) + bytes(40)


def jpeg(code: int, bits: int) -> bytes:
    frame = struct.pack(">BBHBHHB", 0xFF, code, 11, bits, 4, 4, 1) + bytes(3)
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(9) + frame


UNREAD = {
    "photo.heic": (ftyp(b"heic"), "HEIC"),
    "photo.hif": (ftyp(b"mif1", b"heix"), "HEIC"),
    "photo.heif": (ftyp(b"mif1"), "HEIF"),
    "photo.cr3": (ftyp(b"crx "), r"CR3 \(camera raw\).*develop"),
    "photo.jxl": (b"\xff\x0a" + bytes(40), "JPEG XL"),
    "boxed.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
    "photo.raf": (b"FUJIFILMCCD-RAW 0201" + bytes(40), r"RAF \(camera raw\)"),
    "photo.orf": (b"IIRO\x08\0\0\0" + bytes(40), r"ORF \(camera raw\)"),
    "photo.rw2": (b"IIU\0\x08\0\0\0" + bytes(40), r"RW2 \(camera raw\)"),
    "photo.exr": (b"\x76\x2f\x31\x01" + bytes(40), "OpenEXR"),
    "photo.hdr": (b"#?RADIANCE\n" + bytes(40), "Radiance HDR"),
    "photo.xcf": (b"gimp xcf v011\0" + bytes(40), "XCF"),
    "photo.pdf": (b"%PDF-1.7\n" + bytes(40), "PDF"),
    "photo.svg": (b"<svg xmlns='x'/>" + bytes(40), "SVG"),
    "big.psb": (b"8BPS\0\2" + bytes(40), "PSB"),
    "lab.psd": (psd(32, 9), "PSD with 32-bit Lab samples in 3 channels"),
    "float.tif": (
        tiff([Page(GREY, 1, {339: (3, [3]), 258: (3, [64])})]),
        "TIFF with 64-bit float grey samples",
    ),
    "cmyk.tif": (
        tiff([Page(np.zeros((4, 4, 4), np.uint16), 5, {258: (3, [32] * 4)})]),
        "TIFF with 32-bit CMYK",
    ),
    "jxl.tif": (
        tiff([Page(GREY, 1, {259: (3, [50002])})]),
        "TIFF with 8-bit grey samples, JPEG XL compressed",
    ),
    "lerc.tif": (tiff([Page(GREY, 1, {259: (3, [34887])})]), "LERC compressed"),
    "lossless.jpg": (jpeg(0xC3, 12), "JPEG, lossless, 12-bit samples"),
    "twelve.jpg": (jpeg(0xC1, 12), "JPEG, 12-bit samples"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_format_and_variant_are_named(tmp_path: Path, name: str):
    content, words = UNREAD[name]
    (tmp_path / name).write_bytes(content)
    if "HEI" in words and "HEIF" in pillow_formats():
        pytest.skip("pillow-heif reads them here")
    with pytest.raises(UserError, match=rf"{name}.*{words}") as error:
        load_image(tmp_path / name)
    assert "pillow_heif" not in str(error.value) and "\n" not in str(error.value)


def test_words_are_no_format(tmp_path: Path):
    (tmp_path / "notes.jpg").write_text("only words, no picture\n" * 9)
    assert variant(tmp_path / "notes.jpg") == "" == variant(tmp_path / "missing") == file_format(b"")
    with pytest.raises(UserError, match="no image format that Pillow knows"):
        load_image(tmp_path / "notes.jpg")


@pytest.mark.parametrize(
    "form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "DDS", "QOI"]
)
def test_what_pillow_writes_is_recognised(form: str):
    if form not in Image.SAVE and (Image.init() or form not in Image.SAVE):
        pytest.skip(f"this Pillow writes no {form}")
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, form)
    assert file_format(file.getvalue()[:64]).upper().replace(" ", "") == form


def test_what_is_cut_anywhere_never_ends_in_another_error(tmp_path: Path):
    for name, (content, _) in UNREAD.items():
        for length in range(0, min(len(content), 200), 7):
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(UserError):
                load_image(tmp_path / name)


def test_layers_of_a_psd_are_no_pages(tmp_path: Path):
    """Two empty layers over a flattened 2x2 picture, as Photoshop stores it for readers of no layers."""
    layer = (
        struct.pack(">4iH", 0, 0, 2, 2, 0)
        + b"8BIMnorm"
        + bytes([255, 0, 0, 0])
        + struct.pack(">I", 12)
        + bytes(12)
    )
    layers = struct.pack(">h", 2) + layer * 2
    info = struct.pack(">I", len(layers)) + layers
    planes = bytes(range(12))
    content = psd(8, 3)[:26] + bytes(8) + struct.pack(">I", len(info)) + info + b"\0\0" + planes
    (tmp_path / "layers.psd").write_bytes(content)
    expected = np.frombuffer(planes, np.uint8).reshape(3, 2, 2).transpose(1, 2, 0)
    np.testing.assert_array_equal(load_image(tmp_path / "layers.psd"), expected)
