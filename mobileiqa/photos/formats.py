"""What kind of picture a file holds, told from its first bytes: for errors, and for what a folder holds unread.

Pillow says only that it knows no such image. A reader is helped by "HEIC" or "TIFF with 32-bit float samples".
"""

import importlib.util
import io
import logging
import os
import struct
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from mobileiqa.photos import tiff_directories as tiff

Source = bytes | str | os.PathLike[str]  # a file's content, or its path
_START = 64  # bytes that tell the format

RAW_SUFFIXES = frozenset({
    ".3fr", ".ari", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc",
    ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".ptx", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf",
    ".srw", ".x3f",
})  # fmt: skip
# Pictures that Pillow may not read. Where it does, by itself or with a plugin, they are images like others.
PICTURE_SUFFIXES = RAW_SUFFIXES | {
    ".avif", ".avifs", ".bpg", ".emf", ".eps", ".exr", ".heic", ".heics", ".heif", ".heifs", ".hif", ".jls", ".jxl",
    ".jxr", ".psb", ".svg", ".wdp", ".webp", ".wmf", ".xcf",
}  # fmt: skip
_log = logging.getLogger(__name__)

HEIC_PLUGIN = "pillow_heif"
_NOT_RASTER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}

# Told by their first bytes where a file in a folder has no suffix.
PLAIN_FORMATS = frozenset({"JPEG", "PNG", "GIF", "WebP", "TIFF"})
UNREAD_FORMATS = frozenset({
    "HEIC", "HEIF", "AVIF", "JPEG XL", "JPEG XR", "ORF (camera raw)", "RW2 (camera raw)", "RAF (camera raw)",
    "X3F (camera raw)", "MRW (camera raw)", "CR3 (camera raw)",
})  # fmt: skip

# The first bytes of a file, and what it is.
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS\0\x01", "PSD"),
    (b"8BPS\0\x02", "PSB"),
    (b"IIRO", "ORF (camera raw)"),
    (b"IIRS", "ORF (camera raw)"),
    (b"MMOR", "ORF (camera raw)"),
    (b"IIU\0", "RW2 (camera raw)"),
    (b"FUJIFILMCCD-RAW", "RAF (camera raw)"),
    (b"FOVb", "X3F (camera raw)"),
    (b"\0MRM", "MRW (camera raw)"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"gimp xcf", "XCF"),
    (b"BPG\xfb", "BPG"),
    (b"%!PS", "PostScript"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"SIMPLE  =", "FITS"),
    (b"qoif", "QOI"),
    (b"farbfeld", "farbfeld"),
    (b"DDS ", "DDS"),
    (b"\xab\x4b\x54\x58", "KTX"),
    (b"BM", "BMP"),
)
# The brands of an ISO media file's `ftyp` box.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "HEIC"),
    **dict.fromkeys((b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC sequence"),
    **dict.fromkeys((b"mif1", b"mif2", b"msf1", b"jpeg", b"avci", b"j2ki"), "HEIF"),
    b"avif": "AVIF",
    b"avis": "AVIF sequence",
    b"crx ": "CR3 (camera raw)",
}
_PHOTOMETRIC = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab",
                10: "Lab", 32803: "sensor", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}  # fmt: skip
_SAMPLE_FORMATS = {
    1: "",
    2: "signed ",
    3: "float ",
    4: "undefined ",
    5: "complex integer ",
    6: "complex float ",
}
_COMPRESSIONS = {34712: "JPEG 2000", 34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA", 34933: "PNG",
                 34934: "JPEG XR", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}  # fmt: skip
_PSD_MODES = {
    0: "bitmap",
    1: "grey",
    2: "palette",
    3: "RGB",
    4: "CMYK",
    7: "multichannel",
    8: "duotone",
    9: "Lab",
}
_JPEG_PROCESSES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "lossless hierarchical",
                   0xC9: "arithmetic", 0xCA: "arithmetic", 0xCB: "lossless arithmetic", 0xF7: "JPEG-LS"}  # fmt: skip


@cache
def pillow_formats() -> tuple[str, ...]:
    """The names of the raster formats that Pillow reads here, HEIF among them where its plugin is installed."""
    if importlib.util.find_spec(HEIC_PLUGIN) is not None:
        try:
            importlib.import_module(HEIC_PLUGIN).register_heif_opener()
        except (ImportError, AttributeError) as error:
            _log.warning(
                "note: HEIC is not read: %s is installed, but does not start (%s)", HEIC_PLUGIN, error
            )
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_RASTER)


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of those formats, in lower case."""
    formats = {*pillow_formats(), "MPO"}  # MPO has a suffix, but is opened as a kind of JPEG
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def file_format(start: bytes) -> str:
    """The format of a file that begins so; empty for none that is known here. At least 12 bytes are looked at."""
    if start[4:8] == b"ftyp":
        return _brand(start)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "")


def _brand(start: bytes) -> str:
    """The first brand that names a picture, the major one before the compatible ones."""
    brands = [start[8:12], *(start[at : at + 4] for at in range(16, len(start) - 3, 4))]
    names = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    return next((name for name in names if name != "HEIF"), names[0] if names else "")


def opened(source: Source) -> BinaryIO:
    """A file by its path, or its content as a file."""
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def variant(source: Source) -> str:
    """The file's format and variant, such as "TIFF with 32-bit float grey samples"; empty for an unknown one."""
    try:
        with opened(source) as file:
            start = file.read(_START)
            name = file_format(start)
            detail = {"TIFF": _tiff, "PSD": _psd, "JPEG": _jpeg, "JPEG 2000": _jpeg_2000, "BMP": _bmp}.get(
                name
            )
            return name + (detail(file, start) if detail else "")
    except (OSError, struct.error, LookupError, ValueError, OverflowError):
        return ""


def left_out_name(path: Path) -> str:
    """What a folder's search calls a picture that it does not read: "HEIC", "DNG"..."""
    return path.suffix[1:].upper() or file_format_of(path)


def file_format_of(path: Path) -> str:
    """`file_format` of an ordinary file; empty where it cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file_format(file.read(_START))
    except OSError:
        return ""


def _tiff(file: BinaryIO, start: bytes) -> str:
    content = tiff.read_tiff(file)
    if content is None:
        return ""
    if start[:4] == b"MM\0+":
        return " (big-endian BigTIFF)"
    first = content.pages[0]
    bits = first.tags.get(tiff.BITS, (1,))
    depth = f"{bits[0]}" if len(set(bits)) == 1 else "/".join(map(str, bits[:4]))
    kind = _SAMPLE_FORMATS.get(first.value(tiff.SAMPLE_FORMAT, 1), "unknown ")
    color = _PHOTOMETRIC.get(first.value(tiff.PHOTOMETRIC, 1), "unknown")
    extra = f" and {len(first.tags[tiff.EXTRA_SAMPLES])} more" if first.tags.get(tiff.EXTRA_SAMPLES) else ""
    compression = _COMPRESSIONS.get(first.value(tiff.COMPRESSION, 1), "")
    packed = f", {compression} compressed" if compression else ""
    return f" with {depth}-bit {kind}{color} samples{extra}{packed}"


def _psd(file: BinaryIO, start: bytes) -> str:
    channels, depth, mode = struct.unpack(">H8xHH", start[12:26])
    return f" with {depth}-bit {_PSD_MODES.get(mode, 'unknown')} samples in {channels} channels"


def _bmp(file: BinaryIO, start: bytes) -> str:
    (header,) = struct.unpack("<I", start[14:18])
    if header < 40:
        return ""
    bits, compression = struct.unpack("<HI", start[28:34])
    packed = {0: "", 1: ", run lengths", 2: ", run lengths", 4: ", JPEG inside", 5: ", PNG inside"}
    return f" with {bits}-bit pixels{packed.get(compression, '')}"


def _jpeg(file: BinaryIO, start: bytes) -> str:
    """The coding process and the bits of the first frame header (ISO 10918-1, B.2.2)."""
    position = 2
    while True:
        file.seek(position)
        marker, code, length = struct.unpack(">BBH", file.read(4))
        if marker != 0xFF or code == 0xDA:
            return ""
        if code in _JPEG_PROCESSES or (0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC)):
            bits = file.read(1)[0]
            process = _JPEG_PROCESSES.get(code, "")
            return (f", {process}" if process else "") + (f", {bits}-bit samples" if bits != 8 else "")
        position += 2 + length


def _jpeg_2000(file: BinaryIO, start: bytes) -> str:
    """The bits of the first component, from the SIZ marker (ISO 15444-1, A.5.1)."""
    file.seek(0)
    at = (head := file.read(4096)).find(b"\xff\x51")
    if at < 0:
        return ""
    components, depth = struct.unpack(">HB", head[at + 38 : at + 41])
    return f" with {(depth & 127) + 1}-bit {'signed ' if depth & 128 else ''}samples in {components} channels"
