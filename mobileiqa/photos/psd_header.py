"""What a Photoshop file says of its flattened picture, which Pillow decodes without a look at it.

Bitmaps are stored with black as 1; of a multichannel file each channel is an ink of its own; without "Maximize
Compatibility" the flattened picture is a white sheet; a fourth channel is transparency only where the layers say so,
else a selection that somebody saved. Source: Adobe Photoshop File Formats Specification (2019).
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from mobileiqa.errors import UserError

_BITMAP, _MULTICHANNEL = 0, 7
_VERSION_INFO = 1057  # the resource with hasRealMergedData
_LONG_NAMES = (b"8BIM", b"8B64")
_MAX_RESOURCES = 64 << 20


@dataclass(frozen=True)
class PsdHeader:
    """How the flattened picture's samples are shown."""

    is_bitmap: bool  # one bit, 1 is black
    is_transparent: bool  # the channel after the colours is the picture's transparency


def read_psd(file: BinaryIO, name: str) -> PsdHeader | None:
    """The header; None where it is cut. Raises UserError for a file without a flattened picture of known colours."""
    file.seek(0)
    try:
        mode = struct.unpack(">24xH", file.read(26))[0]
        file.seek(struct.unpack(">I", file.read(4))[0], 1)
        resources = file.read(min(struct.unpack(">I", file.read(4))[0], _MAX_RESOURCES))
        layers = _layers(file)
    except (struct.error, OSError):
        return None
    if mode == _MULTICHANNEL:
        raise UserError(
            f"RGB, CMYK, Lab or grey in {name}", "PSD with separate inks (multichannel)", "convert it to RGB"
        )
    if not _has_picture(resources):
        raise UserError(
            f"a flattened picture in {name}",
            "a PSD saved without it (Maximize Compatibility was off)",
            "save it again with Maximize Compatibility, or export it as PNG",
        )
    return PsdHeader(mode == _BITMAP, layers < 0)


def _layers(file: BinaryIO) -> int:
    """The number of layers, negative where the flattened picture has a transparency channel; 0 for none."""
    (section,) = struct.unpack(">I", file.read(4))
    if section < 6:
        return 0
    length, layers = struct.unpack(">Ih", file.read(6))
    if length:
        return layers
    file.seek(-2, 1)  # 16-bit files have their layers behind, in a block of their own
    file.seek(struct.unpack(">I", file.read(4))[0], 1)
    signature, key, length, layers = struct.unpack(">4s4sIh", file.read(14))
    return layers if signature in _LONG_NAMES and key in (b"Lr16", b"Lr32", b"Layr") and length else 0


def _has_picture(resources: bytes) -> bool:
    at = 0
    while at + 12 <= len(resources) and resources[at : at + 4] == b"8BIM":
        (kind,) = struct.unpack_from(">H", resources, at + 4)
        at += 6 + (resources[at + 6] | 1) + 1  # a name with its length, padded to even
        (length,) = struct.unpack_from(">I", resources, at)
        if kind == _VERSION_INFO and length >= 5:
            return resources[at + 8] != 0
        at += 4 + length + length % 2
    return True
