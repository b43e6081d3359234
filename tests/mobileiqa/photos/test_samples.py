"""Bit depth, polarity and transparency: the same picture stored in another way gives the same pixels."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileiqa.errors import UserError
from mobileiqa.photos.loading import load_image, to_rgb
from tests.mobileiqa.photos.tiff_files import Page, tiff

GREY = np.random.default_rng(2).integers(0, 256, (10, 16), np.uint8)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def grey(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def packed_12(levels: np.ndarray) -> bytes:
    """12-bit samples as TIFF packs them: two in three bytes."""
    bits = "".join(f"{level:012b}" for level in levels.ravel())
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_white_is_zero(tmp_path: Path, order: str, white_is_zero: bool, bits: int):
    stored = 255 - GREY if white_is_zero else GREY
    wide = stored.astype(np.uint16) << (bits - 8)
    levels = stored if bits == 8 else wide
    page = Page(levels, photometric=0 if white_is_zero else 1, bits=bits)
    if bits == 12:
        page.content = packed_12(wide)
    path = write(tmp_path / "grey.tif", tiff([page], order))
    np.testing.assert_array_equal(grey(load_image(path)), GREY)
    if bits == 8 or (order == "<" and not (bits == 12 and white_is_zero)):  # Pillow opens no others
        with Image.open(path) as opened:
            np.testing.assert_array_equal(grey(to_rgb(opened)), GREY)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [0, 1])
def test_compressed_16_bit_grey(tmp_path: Path, order: str, photometric: int):
    levels = (GREY if photometric else 255 - GREY).astype(np.uint16) * 257
    content = zlib.compress(levels.astype(levels.dtype.newbyteorder(order)).tobytes())
    page = Page(levels, photometric, {259: (3, [8])}, content=content)
    np.testing.assert_array_equal(grey(load_image(write(tmp_path / "z.tif", tiff([page], order)))), GREY)


@pytest.mark.parametrize(("kind", "bits"), [(2, 8), (2, 16), (3, 32)])
def test_samples_of_an_unknown_range_are_named(tmp_path: Path, kind: int, bits: int):
    levels = GREY.astype({8: np.uint8, 16: np.uint16, 32: np.uint32}[bits])
    path = write(tmp_path / "odd.tif", tiff([Page(levels, 1, {339: (3, [kind])})]))
    words = {2: "signed", 3: "float"}[kind]
    with pytest.raises(UserError, match=f"TIFF with {bits}-bit {words} grey samples"):
        load_image(path)


def png(
    width: int, height: int, depth: int, color_type: int, rows: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize(("depth", "row", "key"), [
    (1, b"\x00\x50", 0), (2, b"\x00\x1b", 1), (4, b"\x00\x05\x5a", 5), (8, b"\x00\x07\x00\xff\x07", 7),
    (16, b"\x00\x12\x34\x12\x35\x00\x00\x12\x34", 0x1234),
])  # fmt: skip
def test_the_transparent_grey_of_a_png(tmp_path: Path, depth: int, row: bytes, key: int):
    content = png(4, 1, depth, 0, row, (b"tRNS", struct.pack(">H", key)))
    bits = "".join(f"{byte:08b}" for byte in row[1:])
    levels = [int(bits[i * depth : (i + 1) * depth], 2) for i in range(4)]
    top = (1 << depth) - 1
    expected = [255 if v == key else (v >> 8 if depth == 16 else v * 255 // top) for v in levels]
    assert grey(load_image(write(tmp_path / "key.png", content))).tolist() == [expected]
    with Image.open(io.BytesIO(content)) as opened:
        assert grey(to_rgb(opened)).tolist() == [expected]


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_color_of_a_png(tmp_path: Path, depth: int):
    kind = ">u1" if depth == 8 else ">u2"
    samples = np.array([[[1, 2, 3], [1, 2, 4], [9, 2, 3]]], kind)
    if depth == 16:
        samples[..., 1] += 0x5500
    key = samples[0, 0]
    content = png(3, 1, depth, 2, b"\0" + samples.tobytes(), (b"tRNS", key.astype(">u2").tobytes()))
    shown = samples.astype(np.uint16) >> (depth - 8)
    shown[0, 0] = 255
    assert np.asarray(load_image(write(tmp_path / "key.png", content))).tolist() == shown.tolist()


def test_alpha_of_16_bits(tmp_path: Path):
    la = np.array([[[0x8000, 0xFFFF], [0x8000, 0x0000]]], ">u2")
    rgba = np.array([[[1 << 8, 2 << 8, 3 << 8, 0xFFFF], [1 << 8, 2 << 8, 3 << 8, 0]]], ">u2")
    for color_type, samples, shown in ((4, la, [[128] * 3, [255] * 3]), (6, rgba, [[1, 2, 3], [255] * 3])):
        content = png(2, 1, 16, color_type, b"\0" + samples.tobytes())
        path = write(tmp_path / f"{color_type}.png", content)
        assert np.asarray(load_image(path)).tolist() == [shown]


def tga(pixels: np.ndarray, descriptor: int) -> bytes:
    height, width = pixels.shape[:2]
    bgra = np.ascontiguousarray(pixels[::-1, :, [2, 1, 0, 3]])
    return struct.pack("<BBB5xHHHHBB", 0, 0, 2, 0, 0, width, height, 32, descriptor) + bgra.tobytes()


def bmp(pixels: np.ndarray, alpha_mask: int, header: int = 108) -> bytes:
    height, width = pixels.shape[:2]
    body = np.ascontiguousarray(pixels[::-1, :, [2, 1, 0, 3]]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, alpha_mask)
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, 32, 3, len(body), 0, 0, 0, 0)
    info += masks.ljust(header - 40, b"\0") if header > 40 else masks[:12]
    return struct.pack("<2sIHHI", b"BM", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


@pytest.fixture
def unset_alpha() -> np.ndarray:
    pixels = np.random.default_rng(5).integers(0, 256, (6, 5, 4), np.uint8)
    pixels[..., 3] = 0
    return pixels


def test_alpha_that_no_header_declares_is_no_alpha(tmp_path: Path, unset_alpha: np.ndarray):
    for name, content in {
        "desc0.tga": tga(unset_alpha, 0), "v4.bmp": bmp(unset_alpha, 0), "v3.bmp": bmp(unset_alpha, 0, 40),
    }.items():  # fmt: skip
        np.testing.assert_array_equal(
            load_image(write(tmp_path / name, content)), unset_alpha[..., :3], err_msg=name
        )


def test_a_fourth_channel_that_no_tag_explains_is_no_alpha(tmp_path: Path, unset_alpha: np.ndarray):
    path = write(tmp_path / "four.tif", tiff([Page(unset_alpha)]))
    np.testing.assert_array_equal(load_image(path), unset_alpha[..., :3])
    with pytest.raises(UserError, match="transparent"):
        load_image(write(path, tiff([Page(unset_alpha, tags={338: (3, [2])})])))


@pytest.mark.parametrize("attribute", [0, 1])
@pytest.mark.parametrize("descriptor", [0x20, 0x21])
def test_a_tga_of_16_bit_colors(tmp_path: Path, attribute: int, descriptor: int):
    header = struct.pack("<BBB5xHHHHBB", 0, 0, 2, 0, 0, 8, 4, 16, descriptor)
    body = struct.pack("<H", 0x7C00 | attribute << 15) * 32
    loaded = np.asarray(load_image(write(tmp_path / "a.tga", header + body)))
    assert (loaded == [255, 0, 0]).all()


def test_a_picture_of_which_nothing_is_seen_is_refused(tmp_path: Path, unset_alpha: np.ndarray):
    files = {"desc8.tga": tga(unset_alpha, 8), "mask.bmp": bmp(unset_alpha, 0xFF000000)}
    for suffix in ("png", "webp", "tif"):
        file = io.BytesIO()
        Image.fromarray(unset_alpha).save(file, {"tif": "TIFF"}.get(suffix, suffix.upper()), **(
            {"lossless": True, "exact": True} if suffix == "webp" else {}
        ))  # fmt: skip
        files[f"none.{suffix}"] = file.getvalue()
    files["key.png"] = png(2, 1, 16, 0, b"\0\1\2\1\2", (b"tRNS", b"\1\2"))
    for name, content in files.items():
        with pytest.raises(UserError, match="every pixel is transparent"):
            load_image(write(tmp_path / name, content))


def test_one_visible_pixel_is_a_picture(tmp_path: Path, unset_alpha: np.ndarray):
    unset_alpha[2, 3, 3] = 255
    expected = np.full((6, 5, 3), 255, np.uint8)
    expected[2, 3] = unset_alpha[2, 3, :3]
    for name, content in {"a.tga": tga(unset_alpha, 8), "a.bmp": bmp(unset_alpha, 0xFF000000)}.items():
        np.testing.assert_array_equal(load_image(write(tmp_path / name, content)), expected, err_msg=name)
