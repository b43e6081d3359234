"""Mutations that know nothing of a format: bits, bytes, numbers, lengths, pieces of another file."""

import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

EXTREMES = (0, 1, 2, 3, 4, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF,
            0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # fmt: skip

Mutation = tuple[bytes, str]  # the new content, and what was done, in words


def damage(content: bytes, rng: random.Random, others: Sequence[bytes] = (b"",)) -> Mutation:
    """One of OPERATIONS, at a place drawn with a bias to the front, where headers are."""
    if not content:
        return rng.randbytes(rng.randrange(1, 64)), "random bytes for an empty file"
    name = rng.choice(list(OPERATIONS))
    at = place(len(content), rng)
    return OPERATIONS[name](content, at, rng, rng.choice(others)), f"{name} at byte {at}"


def tried(mutate: Callable[[bytes, random.Random], Mutation], content: bytes, rng: random.Random) -> Mutation:
    """What `mutate` makes, or blind damage where earlier mutations left it nothing that it could read."""
    try:
        return mutate(content, rng)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, MemoryError, OSError,
            struct.error, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):  # fmt: skip
        return damage(content, rng)


def place(length: int, rng: random.Random) -> int:
    """A byte's index: half of the time in the first 256."""
    return rng.randrange(min(length, 256) if rng.random() < 0.5 else length)


def number(rng: random.Random) -> int:
    """An extreme, or one next to it, or any of 32 bits."""
    value = rng.choice(EXTREMES) if rng.random() < 0.8 else rng.getrandbits(32)
    return max(0, value + rng.choice((-1, 0, 0, 0, 1)))


def put(content: bytes, at: int, layout: str, value: int) -> bytes:
    """The content with a number of struct's `layout` at byte `at`, cut to its width; unchanged where none fits."""
    size = struct.calcsize(layout)
    if at < 0 or at + size > len(content):
        return content
    value &= (1 << 8 * size) - 1
    order = "little" if layout[0] == "<" else "big"
    return content[:at] + value.to_bytes(size, order) + content[at + size :]


def _flip(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _flips(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    for _ in range(rng.randrange(2, 20)):
        content = _flip(content, place(len(content), rng), rng, other)
    return content


def _number(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    return put(content, at, rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q")), number(rng))


def _cut(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    return content[:at]


def _remove(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    return content[:at] + content[at + rng.randrange(1, 64) :]


def _repeat(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    piece = content[at : at + rng.randrange(1, 64)]
    return content[:at] + piece * rng.randrange(2, 9) + content[at + len(piece) :]


def _insert(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    return content[:at] + rng.randbytes(rng.randrange(1, 32)) + content[at:]


def _fill(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    length = min(rng.randrange(1, 256), len(content) - at)
    return content[:at] + bytes([rng.choice((0, 0xFF, 0x7F, 0x20))]) * length + content[at + length :]


def _splice(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    return content[:at] + other[rng.randrange(len(other) + 1) :]


def _append(content: bytes, at: int, rng: random.Random, other: bytes) -> bytes:
    return content + (other[:4096] if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 99)))


OPERATIONS: dict[str, Callable[[bytes, int, random.Random, bytes], bytes]] = {
    "one bit": _flip, "several bits": _flips, "an extreme number": _number, "cut off": _cut, "bytes removed": _remove,
    "bytes repeated": _repeat, "bytes inserted": _insert, "bytes filled": _fill, "another file": _splice,
    "bytes appended": _append,
}  # fmt: skip
