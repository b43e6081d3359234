"""What Pillow does not look at before it hands out pixels: previews, pages, checksums.

PNG's chunks carry a CRC each and its pixels an Adler-32, a TIFF's deflated strips an Adler-32 each. Pillow reads
pixels without comparing them, so that a flipped bit becomes another picture. Comparing costs an inflation more.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mobileiqa.errors import UserError
from mobileiqa.photos import tiff_directories as tiff

PNG_START = b"\x89PNG\r\n\x1a\n"
_DEFLATE = frozenset({8, 32946})  # TIFF's two numbers for it
_YCBCR = 6  # a value of PhotometricInterpretation
_PIECE = 1 << 20  # bytes inflated at a time
_MOST_PIXEL_BYTES = 64  # of one pixel, in any number of channels that Pillow reads
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip  # an interlaced PNG's passes: where they start, and their steps
_SMALL = 1 << 16  # chunks whose content is looked at; longer ones are none of those

DEVELOP = "develop or export the photo as JPEG, PNG or TIFF, and give that file"


@dataclass(frozen=True)
class PngHeader:
    """What of a PNG's chunks decides how its samples are shown."""

    bit_depth: int
    color_type: int
    transparent: tuple[int, ...] = ()  # the one transparent grey level or colour, as tRNS has it
    coding: tuple[int, int] | None = None  # cICP's colour primaries and transfer function (ITU-T H.273)


def check_photo(file: BinaryIO, name: str, is_raw_name: bool = False) -> tiff.Tiff | None:
    """Refuses a TIFF file whose first picture is a preview; its directories otherwise, None for other formats.

    `is_raw_name`: the file is called as camera raw files are (IMG_1.NEF), which are previews whatever they mark.
    """
    content = tiff.read_tiff(file)
    if content is None:
        return None
    first = content.pages[0]
    reason = content.preview_reason or ("a camera raw file by its name" if is_raw_name else "")
    if reason:
        size = f"{first.value(tiff.WIDTH)}x{first.value(tiff.HEIGHT)}"
        raise UserError(
            f"a photo in {name}",
            f"{reason}: without a raw converter only a preview ({size}) can be read",
            DEVELOP,
        )
    if content.photos == 1:
        _check_table(first, name)
        if first.value(tiff.COMPRESSION, 1) in _DEFLATE:
            _check_strips(file, first, name)
    return content


def _check_table(first: tiff.Directory, name: str) -> None:
    """Refuses a TIFF with fewer strips or tiles than its size needs: Pillow leaves black what is not there.

    And 16-bit planes without compression, whose bytes Pillow takes for 8-bit samples.
    """
    rows, tags = first.rows_of_strips(), first.tags
    listed = len(tags.get(tiff.STRIP_OFFSETS, ())) if rows else len(tags.get(tiff.TILE_OFFSETS, ()))
    if listed < (len(rows) or first.tiles):
        kind = "strips" if rows else "tiles"
        raise damaged(name, f"{listed} of its {len(rows) or first.tiles} {kind} are there")
    if first.value(tiff.COMPRESSION, 1) != 1:
        return
    bits = tags.get(tiff.BITS, (1,))
    if first.is_planar and max(bits, default=1) > 8:
        raise UserError(
            f"8-bit or compressed channels in {name}",
            f"TIFF with {max(bits)}-bit channels, each in strips of its own",
            "save it with interleaved channels (chunky, contiguous)",
        )
    if first.value(tiff.PHOTOMETRIC) == _YCBCR or len(rows) < 2:
        return  # subsampled rows are shorter; of a single strip readers do not look at the length
    row_bits = first.value(tiff.WIDTH) * (max(bits) if first.is_planar else sum(bits))
    lengths = tags.get(tiff.STRIP_BYTES, ())
    for number, (length, count) in enumerate(zip(lengths, rows, strict=False)):
        if 0 < length < count * ((row_bits + 7) // 8):
            raise damaged(name, f"strip {number} is too short for its rows")


def _check_strips(file: BinaryIO, first: tiff.Directory, name: str) -> None:
    """Every strip or tile of a deflated TIFF against its Adler-32."""
    tags = first.tags
    offsets = tags.get(tiff.STRIP_OFFSETS) or tags.get(tiff.TILE_OFFSETS, ())
    lengths = tags.get(tiff.STRIP_BYTES) or tags.get(tiff.TILE_BYTES, ())
    budget = first.pixels * _MOST_PIXEL_BYTES + _PIECE
    for offset, length in zip(offsets, lengths, strict=False):
        try:
            file.seek(offset)
        except (ValueError, OverflowError):
            return  # BigTIFF's offsets have 64 bits, those of files 63: Pillow finds no pixels there
        budget -= _inflate(_read_pieces(file, length), budget, name)


def _read_pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    """The next `length` bytes, or those that there are: a damaged length makes no buffer of its size."""
    while length > 0 and (piece := file.read(min(length, _PIECE))):
        length -= len(piece)
        yield piece


def _inflate(pieces: Iterator[bytes], budget: int, name: str) -> int:
    """Refuses a zlib stream that does not inflate to what its checksum says. Returns how many bytes it inflates to.

    After `budget` bytes, more than the pixels have, it stops: a small file can inflate to terabytes.
    """
    stream, inflated = zlib.decompressobj(), 0
    try:
        for piece in pieces:
            rest = piece
            while rest and not stream.eof and inflated <= budget:
                inflated += len(stream.decompress(rest, _PIECE))
                rest = stream.unconsumed_tail
    except zlib.error as error:
        raise damaged(name, f"its compressed pixels do not fit their checksum: {error}") from error
    return inflated


def check_png(file: BinaryIO, name: str, start: int = 0) -> PngHeader | None:
    """Compares every chunk's CRC and the pixels' Adler-32 of the PNG at `start`; None where there is none.

    Raises UserError for a mismatch. A file that ends early is left to Pillow, which knows whether pixels are missing.
    """
    file.seek(start)
    if file.read(8) != PNG_START:
        return None
    chunks: dict[bytes, bytes] = {}
    first_of_data = None
    for kind, position, length in _chunks(file, name):
        if kind == b"IDAT" and first_of_data is None:
            first_of_data = position
        if kind in (b"IHDR", b"tRNS", b"cICP") and length <= _SMALL:
            file.seek(position)
            chunks[kind] = file.read(length)
    ihdr = chunks.get(b"IHDR", b"")
    if len(ihdr) != 13:
        return None
    if first_of_data is not None:
        width, height = struct.unpack(">II", ihdr[:8])
        budget = (width + 8) * (height + 8) * 8 + _PIECE
        rows = _row_bytes(ihdr)
        if _inflate(_pixel_data(file, first_of_data), max(budget, rows), name) < rows:
            raise damaged(name, "its last rows are missing")
    return PngHeader(ihdr[8], ihdr[9], _transparent(ihdr, chunks), _coding(chunks))


def _chunks(file: BinaryIO, name: str) -> Iterator[tuple[bytes, int, int]]:
    """(type, where its content starts, length) of the chunks up to IEND, each proved by its CRC."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        position = file.tell()
        crc, rest = zlib.crc32(kind), length
        while rest and (piece := file.read(min(rest, _PIECE))):
            crc, rest = zlib.crc32(piece, crc), rest - len(piece)
        recorded = file.read(4)
        if rest or len(recorded) < 4:
            return  # cut: Pillow sees whether pixels are missing
        if int.from_bytes(recorded) != crc:
            shown = kind.decode("ascii", "backslashreplace")
            raise damaged(name, f"the checksum of its {shown} chunk at byte {position - 8} is wrong")
        yield kind, position, length
        if kind == b"IEND":
            return
        file.seek(position + length + 4)


def _row_bytes(ihdr: bytes) -> int:
    """What the pixels of a PNG inflate to: a filter byte and the packed samples of every row, of every pass."""
    width, height, depth, color_type, _, _, interlaced = struct.unpack(">IIBBBBB", ihdr)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(color_type, 0)
    total = 0
    for x, y, dx, dy in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _pixel_data(file: BinaryIO, position: int) -> Iterator[bytes]:
    """The content of the consecutive IDAT chunks, the first of which starts at `position`."""
    file.seek(position - 8)
    while len(head := file.read(8)) == 8 and head[4:] == b"IDAT":
        rest = int.from_bytes(head[:4])
        while rest and (piece := file.read(min(rest, _PIECE))):
            rest -= len(piece)
            yield piece
        file.read(4)


def _transparent(ihdr: bytes, chunks: dict[bytes, bytes]) -> tuple[int, ...]:
    """tRNS of grey and colour pictures: one 16-bit number per channel, of which `bit depth` bits count."""
    channels = {0: 1, 2: 3}.get(ihdr[9], 0)
    content = chunks.get(b"tRNS", b"")
    if not channels or len(content) < 2 * channels:
        return ()
    levels = struct.unpack(f">{channels}H", content[: 2 * channels])
    return tuple(level & ((1 << ihdr[8]) - 1) for level in levels)


def _coding(chunks: dict[bytes, bytes]) -> tuple[int, int] | None:
    content = chunks.get(b"cICP", b"")
    return (content[0], content[1]) if len(content) == 4 else None


def coded_colors(file: BinaryIO) -> tuple[int, int] | None:
    """The colour primaries and transfer function in the `colr` box of an AVIF or HEIF file (ISO 23008-12)."""
    file.seek(0)
    head = file.read(_PIECE)
    at = head.find(b"colrnclx")
    if at < 0 or len(head) < at + 12:
        return None
    primaries, transfer = struct.unpack(">HH", head[at + 8 : at + 12])
    return primaries, transfer


def jpeg_2000_profile(file: BinaryIO) -> bytes | None:
    """The ICC profile in the `colr` box of a JP2 file (ISO 15444-1, I.5.3.3), which Pillow does not pass on."""
    file.seek(0)
    head = file.read(_PIECE)
    at = head.find(b"colr\2")
    if at < 4 or not head.startswith(b"\0\0\0\x0cjP  "):
        return None
    length = int.from_bytes(head[at - 4 : at])
    return head[at + 7 : at - 4 + length]


def check_embedded_pngs(file: BinaryIO, name: str) -> None:
    """The PNG pictures inside an icon file (ICO, ICNS)."""
    file.seek(0)
    content = file.read()
    at = content.find(PNG_START)
    while at >= 0:
        check_png(file, name, at)
        at = content.find(PNG_START, at + 1)


def damaged(name: str, reason: str) -> UserError:
    """The error for a file whose pixels are not those that were written."""
    return UserError(
        f"a whole image in {name}", f"a truncated or damaged one: {reason}", "copy or export the image again"
    )
