"""TIFF files of any byte order and size, written tag by tag: what Pillow's own writer cannot make."""

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_FORMS = {1: "B", 2: "c", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}


@dataclass
class Page:
    """One directory: its pixels, the tags beside those that the pixels need, and the directories below it."""

    pixels: np.ndarray  # (H, W) or (H, W, channels), uint8 or uint16
    photometric: int = 2
    tags: dict[int, tuple[int, Sequence[int]]] = field(default_factory=dict)  # number: (type, values)
    below: "Sequence[Page]" = ()
    content: bytes | None = None  # the strip as it is stored, where it is not plain
    bits: int = 0


def tiff(pages: Sequence[Page], order: str = "<", big: bool = False, mark: bytes = b"") -> bytes:
    """The file; `order`: struct's; `mark`: bytes after a classic header, where CR2 has its own."""
    writer = _Writer(order, big)
    offsets = [writer.page(page) for page in pages]
    writer.link(offsets)
    return writer.file(offsets[0], mark)


class _Writer:
    def __init__(self, order: str, big: bool) -> None:
        self.order, self.big = order, big
        self.body = bytearray(16)  # the header's place
        self.next_at: dict[int, int] = {}
        self.long, self.long_type = ("Q", 16) if big else ("I", 4)

    def page(self, page: Page) -> int:
        height, width = page.pixels.shape[:2]
        channels = page.pixels.shape[2] if page.pixels.ndim == 3 else 1
        bits = page.bits or page.pixels.dtype.itemsize * 8
        stored = page.pixels.astype(page.pixels.dtype.newbyteorder(self.order)).tobytes()
        strip = self.add(stored if page.content is None else page.content)
        length = len(stored if page.content is None else page.content)
        tags = {
            256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [1]),
            262: (3, [page.photometric]), 273: (self.long_type, [strip]), 277: (3, [channels]), 278: (4, [height]),
            279: (self.long_type, [length]), **page.tags,
        }  # fmt: skip
        if page.below:
            tags[330] = (self.long_type, [self.page(below) for below in page.below])
        return self.directory({number: tag for number, tag in tags.items() if tag[1]})  # () takes one out

    def directory(self, tags: dict[int, tuple[int, Sequence[int]]]) -> int:
        entries = []
        for number in sorted(tags):
            kind, values = tags[number]
            content = b"".join(struct.pack(self.order + _FORMS[kind], value) for value in values)
            if len(content) > (8 if self.big else 4):
                content = struct.pack(self.order + self.long, self.add(content))
            entry = struct.pack(self.order + "HH" + self.long, number, kind, len(values))
            entries.append(entry + content.ljust(8 if self.big else 4, b"\0"))
        count = struct.pack(self.order + ("Q" if self.big else "H"), len(entries))
        at = self.add(count + b"".join(entries))
        self.next_at[at] = len(self.body)
        self.body += bytes(8 if self.big else 4)
        return at

    def add(self, content: bytes) -> int:
        self.body += bytes(len(self.body) % 2)
        at = len(self.body)
        self.body += content
        return at

    def link(self, offsets: Sequence[int]) -> None:
        for at, following in itertools.pairwise(offsets):
            struct.pack_into(self.order + self.long, self.body, self.next_at[at], following)

    def file(self, first: int, mark: bytes) -> bytes:
        start = (b"II" if self.order == "<" else b"MM") + struct.pack(
            self.order + "H", 43 if self.big else 42
        )
        start += (
            struct.pack(self.order + "HHQ", 8, 0, first) if self.big else struct.pack(self.order + "I", first)
        )
        start += mark
        self.body[: len(start)] = start
        return bytes(self.body)
