"""The checked view of a .tflite file: its tables as they are, every offset and count checked, nothing copied.

What LiteRT's generated reader believes (a damaged count makes it collect objects until memory is gone, a damaged
offset reads elsewhere) is checked here in the standard library alone, so that scoring and the benchmark can read a
file that nobody vouches for. `check` walks a whole file before convert.flatbuffer.model, the editor, makes objects of
it. Field numbers are those of TensorFlow Lite's schema.fbs; values (types, indices, shapes) are the caller's to check.
"""

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Bytes = bytes | bytearray | mmap.mmap

IDENTIFIER = b"TFL3"  # at byte 4 of every file
MAX_TABLES = 1 << 18  # a graph of 20,000 operators has 70,000; tables that stand in two vectors count twice
TEXT, BYTES, NUMBERS, LONGS, TABLE = "text", 1, 4, 8, "table"  # vectors by their elements' bytes; any table

# What damage raises here and in LiteRT's generated reader, which has no errors of its own.
DAMAGE = (struct.error, LookupError, TypeError, ValueError, OverflowError, AttributeError, MemoryError)


class DamageError(ValueError):
    """Something leads beyond the file's end, or nowhere."""


# Field numbers by table, of what is read by them.
SUBGRAPHS, BUFFERS, METADATA, SIGNATURES = 2, 4, 6, 7  # of Model
TENSORS, INPUTS = 0, 1  # of SubGraph
SHAPE, TYPE, SHAPE_SIGNATURE = 0, 1, 7  # of Tensor
KEY, SUBGRAPH_INDEX = 2, 4  # of SignatureDef
NAME, BUFFER = 0, 1  # of Metadata
DATA, OFFSET, SIZE = 0, 1, 2  # of Buffer

# Table -> field number -> what it holds: one of the above, a table's name, or [a table's name] for a vector of them.
TABLES: dict[str, dict[int, str | int | list[str]]] = {
    "Model": {
        1: ["OperatorCode"], 2: ["SubGraph"], 3: TEXT, 4: ["Buffer"], 5: NUMBERS, 6: ["Metadata"], 7: ["SignatureDef"],
    },
    "OperatorCode": {1: TEXT},
    "SubGraph": {0: ["Tensor"], 1: NUMBERS, 2: NUMBERS, 3: ["Operator"], 4: TEXT},
    "Tensor": {0: NUMBERS, 3: TEXT, 4: "Quantization", 6: TABLE, 7: NUMBERS, 9: [TABLE]},
    "Quantization": {0: NUMBERS, 1: NUMBERS, 2: NUMBERS, 3: LONGS, 5: TABLE},
    "Operator": {1: NUMBERS, 2: NUMBERS, 4: TABLE, 5: BYTES, 7: BYTES, 8: NUMBERS, 12: TABLE},
    "Buffer": {0: BYTES},
    "Metadata": {0: TEXT},
    "SignatureDef": {0: ["TensorMap"], 1: ["TensorMap"], 2: TEXT},
    "TensorMap": {0: TEXT},
    TABLE: {},
}  # fmt: skip


def check(data: Bytes) -> None:
    """Raises DamageError where something leads beyond the file's end, or where there are more than MAX_TABLES."""
    count, waiting = 0, [(read(data, "<I", 0), "Model")]
    while waiting:
        at, kind = waiting.pop()
        count += 1
        for index, place in _fields(data, at, TABLES[kind]):
            waiting += _below(data, place, TABLES[kind][index])
        if count + len(waiting) > MAX_TABLES:
            raise DamageError(f"more than {MAX_TABLES} tables")


@dataclass(frozen=True)
class Table:
    """One table of `data`, at a position; absent fields read as 0 or empty. Raises DamageError for damage."""

    data: Bytes
    at: int

    def place(self, field: int) -> int:
        """The field's position; 0 where it is absent."""
        return next((place for _, place in _fields(self.data, self.at, (field,))), 0)

    def number(self, field: int, layout: str = "<I") -> int:
        """A number of one of struct's layouts."""
        place = self.place(field)
        return read(self.data, layout, place) if place else 0

    def vector(self, field: int, item: int = 1) -> tuple[int, int]:
        """(start, length) of a vector of values of `item` bytes."""
        place = self.place(field)
        return _vector(self.data, place, item) if place else (0, 0)

    def integers(self, field: int) -> tuple[int, ...]:
        """A vector of 32-bit numbers."""
        start, length = self.vector(field, 4)
        return struct.unpack_from(f"<{length}i", self.data, start)

    def content(self, field: int) -> bytes:
        """A string or a vector of bytes, copied."""
        start, length = self.vector(field)
        return bytes(self.data[start : start + length])

    def text(self, field: int) -> str:
        """A string."""
        try:
            return self.content(field).decode()
        except UnicodeDecodeError as error:
            raise DamageError(f"a name that is not UTF-8: {error}") from error

    def tables(self, field: int) -> Iterator["Table"]:
        """The tables of a vector."""
        start, length = self.vector(field, 4)
        if length > MAX_TABLES:
            raise DamageError(f"a vector of {length} tables")
        for position in range(start, start + 4 * length, 4):
            yield Table(self.data, position + read(self.data, "<I", position))


def model(data: Bytes) -> Table:
    """The file's Model table."""
    return Table(data, read(data, "<I", 0))


def metadata(data: Bytes) -> list[tuple[str, tuple[int, int]]]:
    """Every metadata entry's name and where its content is, (start, length), in the file's order.

    An entry whose buffer is not there, or lies beyond the file's end, is damage too: DamageError.
    """
    root = model(data)
    buffers = list(root.tables(BUFFERS))
    entries = []
    for entry in root.tables(METADATA):
        name, index = entry.text(NAME), entry.number(BUFFER)
        if index >= len(buffers):
            raise DamageError(f"buffer {index} of {len(buffers)}")
        entries.append((name, buffer_range(buffers[index])))
    return entries


def buffer_range(buffer: Table) -> tuple[int, int]:
    """(start, length) of a buffer's content: inline, or behind the flatbuffer, as in files beyond 2 GB."""
    if buffer.place(DATA):
        return buffer.vector(DATA)
    start, length = buffer.number(OFFSET, "<Q"), buffer.number(SIZE, "<Q")
    if start <= 1:  # 0 and 1 say that there is none
        return 0, 0
    if start + length > len(buffer.data):
        raise DamageError(f"{length} bytes at {start}, beyond the end of {len(buffer.data)}")
    return start, length


def read(data: Bytes, layout: str, at: int) -> int:
    """A number of one of struct's layouts at a position. Raises DamageError beyond the file's ends."""
    if not 0 <= at <= len(data) - struct.calcsize(layout):
        raise DamageError(f"an offset of {at} in {len(data)} bytes")
    return struct.unpack_from(layout, data, at)[0]


def _fields(data: Bytes, at: int, known: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(number, position) of the fields of `known` that the table at `at` has."""
    start = at - read(data, "<i", at)
    length, inline = read(data, "<H", start), read(data, "<H", start + 2)
    if length < 4 or start + length > len(data) or at + inline > len(data):
        raise DamageError(f"a table at {at} that does not fit {len(data)} bytes")
    for index in known:
        slot = 4 + 2 * index
        if slot + 2 <= length and (offset := read(data, "<H", start + slot)):
            yield index, at + offset


def _below(data: Bytes, place: int, content: str | int | list[str]) -> list[tuple[int, str]]:
    """(position, kind) of the tables that the field at `place` leads to; vectors of values are checked here."""
    if isinstance(content, list):
        start, length = _vector(data, place, 4)
        if length > MAX_TABLES:
            raise DamageError(f"a vector of {length} tables")
        each = range(start, start + 4 * length, 4)
        return [(position + read(data, "<I", position), content[0]) for position in each]
    if content in TABLES:
        return [(place + read(data, "<I", place), str(content))]
    _vector(data, place, 1 if content == TEXT else int(content))
    return []


def _vector(data: Bytes, at: int, item: int) -> tuple[int, int]:
    """(start, length) of the vector that the offset at `at` leads to, its values `item` bytes each."""
    start = at + read(data, "<I", at)
    length = read(data, "<I", start)
    if start + 4 + length * item > len(data):
        raise DamageError(f"a vector of {length} values at {start}, beyond the end of {len(data)} bytes")
    return start + 4, length
