"""Whether every offset and count in a .tflite file leads to bytes that are there.

The reader that ships with LiteRT believes them: a damaged count makes it collect objects until memory is gone, and a
damaged offset reads elsewhere. `check` walks the tables that convert reads, by the field numbers of schema.fbs, before
any object is made; values (types, indices, shapes) are convert.flatbuffer.reader's to check.
"""

import mmap
import struct
from collections.abc import Iterable, Iterator

Bytes = bytes | bytearray | mmap.mmap

MAX_TABLES = 1 << 18  # a graph of 20,000 operators has 70,000; tables that stand in two vectors count twice
TEXT, BYTES, NUMBERS, LONGS, TABLE = (
    "text",
    1,
    4,
    8,
    "table",
)  # vectors by their element's bytes; a table of any kind

# What LiteRT's generated reader raises on values that lead nowhere: it has no errors of its own.
DAMAGE = (struct.error, LookupError, TypeError, ValueError, OverflowError, AttributeError, MemoryError)

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
    """Raises ValueError where something leads beyond the file's end, or where there are more than MAX_TABLES."""
    count, waiting = 0, [(_read(data, "<I", 0), "Model")]
    while waiting:
        at, kind = waiting.pop()
        count += 1
        for index, place in _fields(data, at, TABLES[kind]):
            waiting += _below(data, place, TABLES[kind][index])
        if count + len(waiting) > MAX_TABLES:
            raise ValueError(f"more than {MAX_TABLES} tables")


def _fields(data: Bytes, at: int, known: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(number, position) of the fields of `known` that the table at `at` has."""
    start = at - _read(data, "<i", at)
    length, inline = _read(data, "<H", start), _read(data, "<H", start + 2)
    if length < 4 or start + length > len(data) or at + inline > len(data):
        raise ValueError(f"a table at {at} that does not fit {len(data)} bytes")
    for index in known:
        slot = 4 + 2 * index
        if slot + 2 <= length and (offset := _read(data, "<H", start + slot)):
            yield index, at + offset


def _below(data: Bytes, place: int, content: str | int | list[str]) -> list[tuple[int, str]]:
    """(position, kind) of the tables that the field at `place` leads to; vectors of values are checked here."""
    if isinstance(content, list):
        start, length = _vector(data, place, 4)
        if length > MAX_TABLES:
            raise ValueError(f"a vector of {length} tables")
        each = range(start, start + 4 * length, 4)
        return [(position + _read(data, "<I", position), content[0]) for position in each]
    if content in TABLES:
        return [(place + _read(data, "<I", place), str(content))]
    _vector(data, place, 1 if content == TEXT else int(content))
    return []


def _vector(data: Bytes, at: int, item: int) -> tuple[int, int]:
    """(start, length) of the vector that the offset at `at` leads to, its values `item` bytes each."""
    start = at + _read(data, "<I", at)
    length = _read(data, "<I", start)
    if start + 4 + length * item > len(data):
        raise ValueError(f"a vector of {length} values at {start}, beyond the end of {len(data)} bytes")
    return start + 4, length


def _read(data: Bytes, layout: str, at: int) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(layout):
        raise ValueError(f"an offset of {at} in {len(data)} bytes")
    return struct.unpack_from(layout, data, at)[0]
