"""Previews, pages and checksums: what Pillow would hand out as a photo without a word."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mobileiqa.errors import UserError
from mobileiqa.photos.checks import check_png
from mobileiqa.photos.loading import load_image, to_rgb
from tests.mobileiqa.photos.tiff_files import Page, tiff

SMALL = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
LARGE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
REDUCED, MASK = {254: (4, [1])}, {254: (4, [4])}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "page",
    {
        "reduced": Page(SMALL, tags=REDUCED),
        "old tag": Page(SMALL, tags={255: (3, [2])}),
        "DNG": Page(SMALL, tags={50706: (1, [1, 4, 0, 0])}),
        "larger below": Page(SMALL, below=[Page(LARGE)]),
        "sensor below": Page(LARGE, below=[Page(SMALL, photometric=32803)]),
        "unreadable below": Page(LARGE, tags={330: (4, [10_000_000])}),
    }.items(),
    ids=lambda item: item[0],
)
def test_previews_are_refused(tmp_path: Path, order: str, big: bool, page: tuple[str, Page]):
    path = write(tmp_path / "photo.tif", tiff([page[1]], order, big))
    with pytest.raises(UserError, match=r"photo\.tif.*preview.*develop or export"):
        load_image(path)
    if not (big and order == ">"):  # which Pillow cannot open
        with Image.open(path) as opened, pytest.raises(UserError, match="preview"):
            to_rgb(opened)


@pytest.mark.parametrize("suffix", ["NEF", "cr2", "ARW", "dng"])
def test_a_raw_files_name_is_enough(tmp_path: Path, suffix: str):
    with pytest.raises(UserError, match="camera raw file by its name"):
        load_image(write(tmp_path / f"IMG.{suffix}", tiff([Page(LARGE)])))


def test_a_canon_file_is_refused_whatever_it_is_called(tmp_path: Path):
    with pytest.raises(UserError, match="CR2"):
        load_image(write(tmp_path / "photo.tif", tiff([Page(LARGE)], mark=b"CR\2\0")))


def test_a_sensors_samples_are_named(tmp_path: Path):
    with pytest.raises(UserError, match="sensor"):
        load_image(write(tmp_path / "raw.tif", tiff([Page(LARGE[..., 0], photometric=32803)])))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_overviews_and_masks_are_no_pages(tmp_path: Path, order: str, big: bool):
    after = [Page(SMALL, tags=REDUCED), Page(SMALL, tags={255: (3, [2])}), Page(SMALL[..., 0], 4, MASK)]
    path = write(
        tmp_path / "photo.tif", tiff([Page(LARGE, below=[Page(SMALL, tags=REDUCED)]), *after], order, big)
    )
    if big and order == ">":
        with pytest.raises(UserError, match="big-endian BigTIFF"):
            load_image(path)
        return
    np.testing.assert_array_equal(load_image(path), LARGE)
    with pytest.raises(UserError, match="2 frames or pages"):
        load_image(write(path, tiff([Page(LARGE), *after, Page(SMALL)], order, big)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_directory_beyond_any_file_is_damage(tmp_path: Path, order: str, offset: int):
    content = bytearray(tiff([Page(LARGE)], order, big=True))
    struct.pack_into(f"{order}Q", content, 8, offset)
    with pytest.raises(UserError, match="TIFF"):
        load_image(write(tmp_path / "far.tif", bytes(content)))


def test_offsets_outside_every_file_are_damage(tmp_path: Path):
    for tags in ({273: (16, [1 << 63])}, {259: (3, [8]), 273: (16, [1 << 63])}, {330: (16, [(1 << 64) - 1])}):
        with pytest.raises(UserError):
            load_image(write(tmp_path / "far.tif", tiff([Page(LARGE, tags=tags)], big=True)))


def test_metadata_of_an_odd_type_does_not_damage_pixels(tmp_path: Path):
    text = list(b"<x:xmpmeta/>" * 9)
    for kind, values in ((2, [bytes([c]) for c in text]), (3, text), (4, text), (1, text), (7, text)):
        page = Page(LARGE, tags={700: (kind, values), 34665: (4, [99_999_999]), 34853: (4, [7])})
        path = write(tmp_path / f"xmp{kind}.tif", tiff([page]))
        np.testing.assert_array_equal(load_image(path), LARGE, err_msg=str(kind))


def test_orientation_beside_odd_metadata_is_applied(tmp_path: Path):
    page = Page(LARGE, tags={700: (2, [b"x", b"y"]), 274: (3, [6])})
    np.testing.assert_array_equal(load_image(write(tmp_path / "t.tif", tiff([page]))), np.rot90(LARGE, -1))


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        chunks.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def png_file(chunks: list[tuple[bytes, bytes]], wrong: bytes = b"") -> bytes:
    body = b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data) ^ (kind == wrong))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def chunks(photo) -> list[tuple[bytes, bytes]]:
    file = io.BytesIO()
    photo(3, 90, 70).convert("P").save(file, "PNG")
    result = png_chunks(file.getvalue())
    return [*result[:-1], (b"tEXt", b"Comment\0x"), (b"prVt", b"own"), result[-1]]


@pytest.mark.parametrize("wrong", [b"IHDR", b"PLTE", b"IDAT", b"tEXt", b"prVt", b"IEND"])
def test_a_wrong_crc_is_damage(tmp_path: Path, chunks, wrong: bytes):
    assert load_image(write(tmp_path / "good.png", png_file(chunks))).size == (90, 70)
    with pytest.raises(UserError, match=r"bad\.png.*truncated or damaged"):
        load_image(write(tmp_path / "bad.png", png_file(chunks, wrong)))


def test_what_follows_the_end_of_a_png_does_not_matter(tmp_path: Path, chunks):
    whole = png_file(chunks)
    for content in (whole + b"more", whole[:-12]):
        assert load_image(write(tmp_path / "long.png", content)).size == (90, 70)


def test_pixels_that_do_not_fit_their_adler32(tmp_path: Path, chunks):
    data = b"".join(data for kind, data in chunks if kind == b"IDAT")
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    content = png_file([(b"IDAT", wrong) if kind == b"IDAT" else (kind, rest) for kind, rest in chunks])
    with pytest.raises(UserError, match="checksum"):
        load_image(write(tmp_path / "adler.png", content))


def test_a_png_inside_an_icon_is_checked(tmp_path: Path, photo):
    photo(4, 64, 64).save(tmp_path / "icon.ico", sizes=[(64, 64)])
    whole = (tmp_path / "icon.ico").read_bytes()
    at = whole.index(b"IDAT") - 4
    end = at + 8 + int.from_bytes(whole[at : at + 4])
    load_image(tmp_path / "icon.ico")
    with pytest.raises(UserError, match="IDAT"):
        load_image(write(tmp_path / "bad.ico", whole[:end] + bytes([whole[end] ^ 1]) + whole[end + 1 :]))


@pytest.mark.parametrize("compression", [8, 32946])
def test_a_deflated_tiff_with_a_wrong_checksum(tmp_path: Path, compression: int):
    strip = zlib.compress(LARGE.tobytes())
    pages = {
        name: Page(LARGE, tags={259: (3, [compression])}, content=content)
        for name, content in {"good": strip, "bad": strip[:-1] + bytes([strip[-1] ^ 1])}.items()
    }
    good, bad = (write(tmp_path / f"{name}.tif", tiff([page])) for name, page in pages.items())
    np.testing.assert_array_equal(load_image(good), LARGE)
    with pytest.raises(UserError, match=r"bad\.tif.*checksum"):
        load_image(bad)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_png_with_much_text_is_whole(tmp_path: Path, chunks, kind: bytes):
    head = b"workflow\0\1\0\0\0" if kind == b"iTXt" else b"workflow\0\0"
    text = (kind, head + zlib.compress(bytes(3 << 20)))
    before = PngImagePlugin.MAX_TEXT_CHUNK
    for content in ([chunks[0], text, *chunks[1:]], [*chunks[:-1], text, chunks[-1]]):
        assert load_image(write(tmp_path / "text.png", png_file(content))).size == (90, 70)
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


@pytest.mark.parametrize(("tag", "value"), [(279, 2**62), (279, 2**64 - 1), (273, 2**63), (273, 2**64 - 1)])
def test_a_strip_beyond_any_file_is_damage(tmp_path: Path, tag: int, value: int):
    """No buffer of the size that a damaged length claims: 2**62 bytes would be a MemoryError."""
    page = Page(LARGE, content=zlib.compress(LARGE.tobytes()), tags={259: (3, [8]), tag: (16, [value])})
    with pytest.raises(UserError, match=r"TIFF|whole image"):
        load_image(write(tmp_path / "far.tif", tiff([page], big=True)))


def test_a_small_file_that_inflates_to_much_ends_soon(tmp_path: Path):
    bomb = zlib.compress(bytes(200 << 20), 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)), (b"IDAT", bomb), (b"IEND", b"")]
    assert load_image(write(tmp_path / "bomb.png", png_file(chunks))).size == (4, 4)


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(
    ("color_type", "depth", "bits"), [(2, 8, 24), (2, 16, 48), (0, 1, 1), (6, 8, 32), (4, 16, 32)]
)
def test_a_png_of_too_few_rows_is_damage_though_its_checksums_are_right(
    tmp_path: Path, interlaced: int, color_type: int, depth: int, bits: int
):
    width, height = 13, 21
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    raw = b""
    for x, y, dx, dy in passes if interlaced else [(0, 0, 1, 1)]:
        raw += bytes(1 + (len(range(x, width, dx)) * bits + 7) // 8) * len(range(y, height, dy))

    def stored(pixels: bytes) -> Path:
        header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
        content = b"\x89PNG\r\n\x1a\n"
        for kind, body in chunks:
            content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        (tmp_path / "rows.png").write_bytes(content)
        return tmp_path / "rows.png"

    with stored(raw).open("rb") as whole:
        assert check_png(whole, "rows.png") is not None
    for missing in (1, len(raw) // 3):
        with pytest.raises(UserError, match="last rows are missing"):
            load_image(stored(raw[:-missing]))


COLORS = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def rows_16(offsets: list[int], lengths: list[int] | None = None) -> dict[int, tuple[int, list[int]]]:
    """The tags of strips of 16 rows."""
    return {278: (4, [16]), 273: (4, offsets), 279: (4, lengths or [16 * 64 * 3] * len(offsets))}


PLACES = [16 + strip * 16 * 64 * 3 for strip in range(3)]  # Page's pixels come first, behind 16 bytes


@pytest.mark.parametrize("order", ["<", ">"])
def test_strips_that_are_not_there_are_damage_and_not_black(tmp_path: Path, order: str):
    whole = Page(COLORS, tags=rows_16(PLACES))
    np.testing.assert_array_equal(load_image(write(tmp_path / "a.tif", tiff([whole], order))), COLORS)
    without_lengths = Page(COLORS, tags=rows_16(PLACES, [16 * 64 * 3, 0, 16 * 64 * 3]))
    np.testing.assert_array_equal(
        load_image(write(tmp_path / "a.tif", tiff([without_lengths], order))), COLORS
    )
    for tags, words in [
        (rows_16(PLACES[:2]), "2 of its 3 strips"),
        ({278: (4, [1])}, "1 of its 48 strips"),
        ({284: (3, [2])}, "1 of its 3 strips"),
        (rows_16(PLACES, [16 * 64 * 3, 1000, 16 * 64 * 3]), "strip 1 is too short"),
    ]:
        with pytest.raises(UserError, match=words):
            load_image(write(tmp_path / "a.tif", tiff([Page(COLORS, tags=tags)], order)))


def test_tiles_that_are_not_there_are_damage_and_not_black(tmp_path: Path):
    tiles = [COLORS[y : y + 16, x : x + 16].tobytes() for y in range(0, 48, 16) for x in range(0, 64, 16)]
    for number in (12, 9):
        table = {
            324: (4, [16 + 768 * n for n in range(number)]),
            325: (4, [768] * number),
            273: (4, ()),
            279: (4, ()),
        }
        page = Page(COLORS, tags={322: (4, [16]), 323: (4, [16]), **table}, content=b"".join(tiles))
        path = write(tmp_path / "a.tif", tiff([page]))
        if number == 12:
            np.testing.assert_array_equal(load_image(path), COLORS)
        else:
            with pytest.raises(UserError, match="9 of its 12 tiles"):
                load_image(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_channels_in_strips_of_their_own(tmp_path: Path, order: str, bits: int):
    samples = COLORS if bits == 8 else COLORS.astype(np.uint16) * 257
    planes = samples.transpose(2, 0, 1).astype(samples.dtype.newbyteorder(order)).tobytes()
    size = len(planes) // 3
    table = {284: (3, [2]), 273: (4, [16, 16 + size, 16 + 2 * size]), 279: (4, [size] * 3)}
    path = write(tmp_path / "a.tif", tiff([Page(samples, tags=table, content=planes)], order))
    if bits == 8:
        np.testing.assert_array_equal(load_image(path), COLORS)
    else:
        with pytest.raises(UserError, match="16-bit channels, each in strips of its own"):
            load_image(path)
