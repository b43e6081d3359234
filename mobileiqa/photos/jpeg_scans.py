"""Whether a JPEG file holds all of its picture: libjpeg fills what is missing with grey, and says nothing to Pillow.

A file that is merely cut has no end, which Pillow refuses. One whose end was put back, by a camera's card, a download
or a repair, or whose header names more rows than there are, decodes without an error. Three signs of it: restart
markers that are missing or out of order, a progressive picture whose last scans are missing, and a grey last block
that is not in the file. Damage inside an interval that keeps its length leaves none: JPEG has no checksum; nor does
the loss of the last block alone.
ISO 10918-1 (ITU-T T.81), annexes B, E and G.

`decode` gives the pixels by simplejpeg, where it is installed: the same as Pillow's, for a third less time. Both are
libjpeg-turbo with the same transform and the same upsampling; Pillow copies rows into an image of four bytes a pixel
as they come, simplejpeg fills one array. Whatever is odd is left to Pillow: other modes than RGB, a header that the
two read differently, and every file of which the decoder has anything to say.
"""

import importlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa.photos.checks import damaged

START = b"\xff\xd8\xff"  # of every JPEG file
DECODER = "simplejpeg"
# What it raises for warnings, for damage, and for a picture larger than memory.
_REFUSED = (ValueError, RuntimeError, TypeError, OverflowError, MemoryError)
MAX_SCANS = 1000  # an encoder writes 10; more are made to keep a decoder busy
_PADDING = b"\xff\0" * 16  # what a decoder reads ahead at most; as codes, these are invalid ones
_EOI, _SOS, _DRI, _APP2 = 0xD9, 0xDA, 0xDD, 0xE2
_ICC = b"ICC_PROFILE\0"
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2  # frames of Huffman codes; arithmetic ones end anywhere
_HUFFMAN = (*_SEQUENTIAL, _PROGRESSIVE)
_NO_SEGMENT = frozenset({0x01, *range(0xD0, 0xD8)})
_GREY = 128  # the sample of a block without coefficients


@dataclass
class _Frame:
    """What the header says, and which bits of which coefficients the scans so far have."""

    process: int = 0
    size: tuple[int, int] = (0, 0)  # width, height
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)  # component: horizontal, vertical
    interval: int = 0  # MCUs between restart markers, 0: none
    profile: dict[int, bytes] = field(default_factory=dict)  # the ICC profile's parts by number
    parts: int = 0  # of the profile
    lowest_bits: dict[int, dict[int, int]] = field(default_factory=dict)  # component: coefficient: bit

    def mcus(self, components: list[int]) -> int:
        """Minimum coded units of a scan of these components (A.2)."""
        h_max, v_max = (max(sampling) for sampling in zip(*self.sampling.values(), strict=True))
        if len(components) > 1:
            return _up(self.size[0], 8 * h_max) * _up(self.size[1], 8 * v_max)
        h, v = self.sampling[components[0]]
        return _up(_up(self.size[0] * h, h_max), 8) * _up(_up(self.size[1] * v, v_max), 8)

    @property
    def is_refined(self) -> bool:
        """Whether every component is there, of a progressive picture with all coefficients to their last bit."""
        if self.process != _PROGRESSIVE:
            return self.sampling.keys() <= self.lowest_bits.keys()
        return all(
            all(self.lowest_bits.get(component, {}).get(k, 1) == 0 for k in range(64))
            for component in self.sampling
        )


@dataclass(frozen=True)
class JpegScans:
    """What a JPEG file holds that Pillow does not look at.

    `endless`: a file of one scan without its end marker, which decodes whole only where no block is missing.
    `profile`: the ICC profile, also where its segments stand behind the frame header.
    """

    endless: bytes | None
    profile: bytes | None


@cache
def decoder() -> Any:
    """The module simplejpeg; None where it is not installed, or does not start."""
    try:
        return importlib.import_module(DECODER)
    except (ImportError, AttributeError, OSError):
        return None


def decode(content: bytes, image: Image.Image) -> NDArray[np.uint8] | None:
    """(height, width, 3) RGB of a JPEG file that Pillow has opened as `image` and not decoded; None: Pillow must.

    Neither the orientation nor a colour profile is applied.
    """
    if decoder() is None or image.format not in ("JPEG", "MPO") or image.mode != "RGB":
        return None
    try:
        pixels = decoder().decode_jpeg(content, "RGB", fastdct=False, fastupsample=False, strict=True)
    except _REFUSED:
        return None
    return pixels if pixels.shape == (image.height, image.width, 3) else None


def read_scans(file: BinaryIO, name: str) -> JpegScans | None:
    """Refuses a JPEG with missing restart intervals or scans; None where the header cannot be read."""
    file.seek(0)
    content = file.read()
    frame = _Frame()
    try:
        reason, scans, end = _read(frame, content)
    except (struct.error, LookupError, ValueError, ZeroDivisionError):
        return None  # a header that Pillow judges
    if not reason and scans and frame.process in _HUFFMAN and not frame.is_refined:
        reason = "some of its scans are missing"
    if reason:
        raise damaged(name, reason)
    is_single = frame.process in _SEQUENTIAL and scans == 1
    parts = [frame.profile.get(number) for number in range(1, frame.parts + 1)]
    whole = [part for part in parts if part is not None]
    return JpegScans(
        content[:end] + _PADDING if is_single else None,
        b"".join(whole) if parts and len(whole) == len(parts) else None,
    )


def _read(frame: _Frame, content: bytes) -> tuple[str, int, int]:
    """What is wrong with the scans ("": nothing), how many there are, and where the last one ends."""
    scans, end = 0, 0
    for marker, start, stop in _segments(content):
        if marker != _SOS:
            _note(frame, marker, content[start:stop])
            continue
        end, scans = stop, scans + 1
        if scans > MAX_SCANS:
            return f"more than {MAX_SCANS} scans", scans, end
        if not _has_restarts(frame, _scan(frame, content[start : start + 12]), content, start, stop):
            return "restart markers are missing among its codes", scans, end
    return "", scans, end


def check_last_block(last: NDArray[np.int16], size: tuple[int, int], scans: JpegScans, name: str) -> None:
    """Refuses a JPEG whose last block is the grey of missing ones, where the file does not hold it.

    `last`: its last pixel as decoded; `size`: (width, height). Only such a picture is decoded again, at an eighth of
    its size.
    """
    if scans.endless is None:
        return
    if np.abs(last - _GREY).max() > 1:
        return
    try:
        with Image.open(io.BytesIO(scans.endless), formats=("JPEG",)) as again:
            again.draft(None, (max(1, size[0] // 8), max(1, size[1] // 8)))
            again.load()
    except OSError as error:
        raise damaged(name, "its last rows are missing") from error


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its parameters start, where they end) up to the first end marker; a scan's codes are in it."""
    at = 2
    while True:
        at = content.index(b"\xff", at)
        while content[at] == 0xFF:  # fill bytes
            at += 1
        marker = content[at]
        if marker == _EOI:
            return
        if marker == 0 or marker in _NO_SEGMENT:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", content, at + 1)
        stop = at + 1 + length
        if marker == _SOS:
            stop = _end_of_codes(content, stop)
        yield marker, at + 3, stop
        at = stop


def _end_of_codes(content: bytes, start: int) -> int:
    """Where the next marker begins that is no restart marker; the file's end where there is none."""
    for at, code in _markers(content, start):
        if not 0xD0 <= code <= 0xD7:
            return at
    return len(content)


def _markers(content: bytes, start: int, stop: int | None = None) -> Iterator[tuple[int, int]]:
    """(position, code) of the markers among a scan's codes: bytes FF before neither 0 nor FF."""
    codes = np.frombuffer(content, np.uint8)[start:stop]
    after = codes[1:]
    for at in np.flatnonzero((codes[:-1] == 0xFF) & (after != 0) & (after != 0xFF)):
        yield start + int(at), int(codes[at + 1])


def _note(frame: _Frame, marker: int, parameters: bytes) -> None:
    if marker == _DRI:
        (frame.interval,) = struct.unpack_from(">H", parameters)
    elif marker == _APP2 and parameters.startswith(_ICC):
        number, frame.parts = parameters[len(_ICC)], parameters[len(_ICC) + 1]
        frame.profile[number] = parameters[len(_ICC) + 2 :]
    elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
        _, height, width, components = struct.unpack_from(">BHHB", parameters)
        frame.process, frame.size = marker, (width, height)
        for at in range(6, 6 + 3 * components, 3):
            frame.sampling[parameters[at]] = (parameters[at + 1] >> 4, parameters[at + 1] & 15)


def _scan(frame: _Frame, parameters: bytes) -> list[int]:
    """The scan's components; notes the coefficients that it has."""
    count = parameters[0]
    components = [parameters[1 + 2 * n] for n in range(count)]
    first, last, bits = parameters[1 + 2 * count : 4 + 2 * count]
    for component in components:
        known = frame.lowest_bits.setdefault(component, {})
        known.update(dict.fromkeys(range(first, min(last, 63) + 1), bits & 15))
    return components


def _has_restarts(frame: _Frame, components: list[int], content: bytes, start: int, stop: int) -> bool:
    """Whether the scan's restart markers are D0, D1... D7, D0..., one between every two intervals."""
    if not frame.interval:
        return True
    codes = [code for _, code in _markers(content, start, stop)]
    expected = _up(frame.mcus(components), frame.interval) - 1
    return codes[:expected] == [0xD0 + n % 8 for n in range(expected)]


def _up(value: int, unit: int) -> int:
    """value / unit, rounded up."""
    return -(-value // unit)
