"""The directories of a TIFF file, read without Pillow: which pictures it holds, and which of them is the photo.

Classic TIFF and BigTIFF of either byte order. Camera raw files (DNG, NEF, CR2, ARW...) are TIFF files too, whose
first directory is a small preview: Pillow opens that one, and says nothing. Tags: TIFF 6.0, its technical notes 1
(SubIFDs) and the DNG specification.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

MAX_PAGES = 10_000
MAX_VALUES = 1_000_000  # of one tag: strips of the largest photo are fewer
MAX_SUB_DIRECTORIES = 64

NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = (
    254,
    255,
    256,
    257,
    258,
    259,
    262,
)
STRIP_OFFSETS, SAMPLES, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES, SUB_IFDS = 273, 277, 279, 324, 325, 330
ROWS_PER_STRIP, PLANAR, TILE_WIDTH, TILE_HEIGHT = 278, 284, 322, 323
EXTRA_SAMPLES, SAMPLE_FORMAT, DNG_VERSION = 338, 339, 50706
_TAGS = frozenset({
    NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, SAMPLES,
    STRIP_BYTES, TILE_OFFSETS, TILE_BYTES, SUB_IFDS, ROWS_PER_STRIP, PLANAR, TILE_WIDTH, TILE_HEIGHT,
    EXTRA_SAMPLES, SAMPLE_FORMAT, DNG_VERSION,
})  # fmt: skip
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}

_REDUCED, _PAGE, _MASK = 1, 2, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # a value of SubfileType
_UNREADABLE = (struct.error, OverflowError, OSError, ValueError)  # seeking has all of them for odd offsets
_RAW_PHOTOMETRIC = frozenset({32803, 34892})  # colour filter array, linear raw


@dataclass(frozen=True)
class Directory:
    """One picture of the file: its tags as integers, and the directories below it (None: one that is unreadable)."""

    tags: Mapping[int, tuple[int, ...]]
    sub_directories: tuple["Directory | None", ...] = ()

    def value(self, tag: int, default: int = 0) -> int:
        """The tag's first value, or `default` where it is not there."""
        return next(iter(self.tags.get(tag, ())), default)

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.value(WIDTH) * self.value(HEIGHT)

    @property
    def is_planar(self) -> bool:
        """Each channel in strips of its own."""
        return self.value(PLANAR, 1) == 2 and self.value(SAMPLES, 1) > 1

    def rows_of_strips(self) -> tuple[int, ...]:
        """The rows of every strip that a whole picture has, plane after plane; empty for tiles."""
        height, planes = self.value(HEIGHT), self.value(SAMPLES, 1) if self.is_planar else 1
        rows = min(self.value(ROWS_PER_STRIP, height), height)
        if STRIP_OFFSETS not in self.tags or not 0 < height <= MAX_VALUES or rows <= 0 or planes > 64:
            return ()
        last = height % rows
        return (*(rows,) * (height // rows), *((last,) if last else ())) * planes

    @property
    def tiles(self) -> int:
        """How many tiles a whole picture has; 0 for strips."""
        width, height = self.value(TILE_WIDTH), self.value(TILE_HEIGHT)
        if (
            STRIP_OFFSETS in self.tags or width <= 0 or height <= 0
        ):  # Pillow reads strips where both are there
            return 0
        planes = self.value(SAMPLES, 1) if self.is_planar else 1
        return -(-self.value(WIDTH) // width) * -(-self.value(HEIGHT) // height) * planes

    @property
    def is_reduced(self) -> bool:
        """A smaller version of another picture, by the new tag or by the old one."""
        return bool(self.value(NEW_SUBFILE_TYPE) & _REDUCED) or self.value(SUBFILE_TYPE) == _OLD_REDUCED

    @property
    def is_mask(self) -> bool:
        """A transparency mask of another picture."""
        return bool(self.value(NEW_SUBFILE_TYPE) & _MASK) or self.value(PHOTOMETRIC) == _MASK

    @property
    def is_raw(self) -> bool:
        """Samples of a sensor, not of a picture."""
        return self.value(PHOTOMETRIC) in _RAW_PHOTOMETRIC


@dataclass(frozen=True)
class Tiff:
    """The chain of directories. `pages`: at least one."""

    pages: tuple[Directory, ...]
    is_canon_raw: bool

    @property
    def photos(self) -> int:
        """How many pictures there are: reduced versions and masks of the first are none of their own."""
        return 1 + sum(not (page.is_reduced or page.is_mask) for page in self.pages[1:])

    @property
    def preview_reason(self) -> str:
        """Why the first picture is not the photo; empty where it is."""
        first = self.pages[0]
        if DNG_VERSION in first.tags:
            return "a DNG camera raw file"
        if self.is_canon_raw:
            return "a CR2 camera raw file"
        if first.is_raw:
            return "samples of a camera's sensor"
        if first.is_reduced:
            return "a file whose first picture is marked as a reduced version"
        for below in first.sub_directories:
            if below is None:
                return "a file whose first picture refers to others that cannot be read"
            if below.is_raw or (below.pixels > first.pixels and not (below.is_reduced or below.is_mask)):
                return "a file whose first picture is smaller than the photo below it"
        return ""


def read_tiff(file: BinaryIO) -> Tiff | None:
    """The file's directories; None where it is no TIFF or its first directory cannot be read. Moves `file`."""
    file.seek(0)
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        return None
    version = struct.unpack(order + "H", start[2:4])[0]
    try:
        if version == 42:
            reader, offset = _Reader(file, order, False), struct.unpack(order + "I", start[4:8])[0]
        elif version == 43:
            reader, offset = _Reader(file, order, True), struct.unpack(order + "Q", start[8:16])[0]
        else:
            return None
    except struct.error:
        return None
    pages = tuple(reader.chain(offset))
    return Tiff(pages, start[8:10] == b"CR") if pages else None


@dataclass(frozen=True)
class _Reader:
    """Reads directories of one file; whatever lies outside the file ends in a struct.error."""

    file: BinaryIO
    order: str  # struct's "<" or ">"
    is_big: bool

    def chain(self, offset: int) -> Iterator[Directory]:
        """The directories from `offset` on, up to the first that cannot be read."""
        visited: set[int] = set()
        while offset and offset not in visited and len(visited) < MAX_PAGES:
            visited.add(offset)
            try:
                tags, offset = self._directory(offset)
                yield Directory(tags, tuple(self._below(tags.get(SUB_IFDS, ()))))
            except _UNREADABLE:
                return

    def _below(self, offsets: tuple[int, ...]) -> Iterator[Directory | None]:
        for offset in offsets[:MAX_SUB_DIRECTORIES]:
            try:
                tags, _ = self._directory(offset)
                yield Directory(tags)
            except _UNREADABLE:
                yield None

    def _directory(self, offset: int) -> tuple[dict[int, tuple[int, ...]], int]:
        """The tags at `offset`, and where the next directory is."""
        count_form, entry_size, next_form = ("Q", 20, "Q") if self.is_big else ("H", 12, "I")
        (count,) = self._unpack(offset, count_form)
        if not 0 < count < 65_536:
            raise struct.error(f"{count} tags")
        start = offset + struct.calcsize(count_form)
        table = self._read(start, count * entry_size)
        if len(table) < count * entry_size:
            raise struct.error("a directory that is cut")
        tags = {}
        for entry in range(0, len(table), entry_size):
            tag, kind = struct.unpack_from(self.order + "HH", table, entry)
            if tag in _TAGS and kind in _TYPES:
                tags[tag] = self._values(kind, table[entry + 4 : entry + entry_size])
        try:
            (following,) = self._unpack(start + len(table), next_form)
        except struct.error:
            following = 0  # many writers leave it out at the end of the file
        return tags, following

    def _values(self, kind: int, rest: bytes) -> tuple[int, ...]:
        """A tag's values, which stand in the entry where they fit, else at the offset in it."""
        form = "Q" if self.is_big else "I"
        (count,) = struct.unpack_from(self.order + form, rest)
        if count > MAX_VALUES:
            raise struct.error(f"{count} values")
        inline = rest[struct.calcsize(form) :]
        values = f"{count}{_TYPES[kind]}"
        if struct.calcsize(self.order + values) <= len(inline):
            return struct.unpack_from(self.order + values, inline)
        (offset,) = struct.unpack(self.order + form, inline)
        return self._unpack(offset, values)

    def _unpack(self, offset: int, form: str) -> tuple[int, ...]:
        size = struct.calcsize(self.order + form)
        return struct.unpack(self.order + form, self._read(offset, size))

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self.file.seek(offset)
        except (ValueError, OverflowError) as error:  # BigTIFF's offsets have 64 bits, those of files 63
            raise struct.error(f"offset {offset}") from error
        return self.file.read(size)
