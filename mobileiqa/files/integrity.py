"""Whether a file is the one that was written: its SHA-256 against every one recorded at hand.

A recorded hash is the checksum inside a file with embedded preprocessing, the sidecar of a converted file, or the
JSON beside a checkpoint. It guards against damage and mix-ups, not against a forger. A file is hashed once per process
as long as its size and times stay: hashing costs a few milliseconds for each 10 MB. They pass while LiteRT loads
a file that passed before (`hashed_meanwhile`): a 12.6 MB file's hash adds 1 ms to a first score of 105 ms, 9 in turn.

The checksum inside a file is the metadata entry `mobileiqa_seal`, a mark and 32 bytes. They hold the SHA-256 of the
whole file with those 32 bytes zero, so that no table, name, weight or padding can change unseen, and a check needs
no flatbuffer reader: search the mark, hash the rest.
"""

import hashlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from mobileiqa import typed_json
from mobileiqa.errors import UserError

T = TypeVar("T")

ENTRY = "mobileiqa_seal"
MARK = b"mobileiqa seal, SHA-256 of this file with the 32 bytes after the colon zero:"
DIGEST_BYTES = 32
EMPTY = MARK + bytes(DIGEST_BYTES)  # the entry's content before it is written
HEAD_BYTES = (
    1 << 20
)  # names of entries stand before the weights; to search those costs a third of hashing them
PACKAGED = Path(__file__).parents[1] / "reference"  # what the installation itself brings

_FRESH_NS = (
    50_000_000  # a file written again this soon can keep its time of change: clocks of file systems tick
)
_HEX_DIGITS = frozenset("0123456789abcdef")
_hashed_meanwhile: dict[tuple[int, ...], str] = {}


@dataclass(frozen=True)
class Checksum:
    """Where the digest is, what it says and what it should say; `at` is -1 where there is not exactly one mark."""

    at: int
    stored: bytes
    computed: bytes

    @property
    def intact(self) -> bool:
        """Whether no byte has changed since the checksum was written."""
        return self.at >= 0 and self.stored == self.computed


def sha256(path: str | os.PathLike[str]) -> str:
    """The file's SHA-256 in hex. Raises OSError where it cannot be read."""
    return _once(_sha256, path)


@contextmanager
def hashed_meanwhile(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hashes the file on another thread while the block runs, unless it is known; `sha256` has the answer then.

    The thread maps the file, so that it needs Python's lock only at its start and end: LiteRT holds that lock as long
    as it builds an interpreter.
    """
    if file_identity(path) in _hashed_meanwhile:
        yield
        return
    under_way = threading.Event()
    thread = threading.Thread(target=_hash_mapped, args=(path, under_way), daemon=True)
    thread.start()
    under_way.wait()
    try:
        yield
    finally:
        thread.join()


def _hash_mapped(path: str | os.PathLike[str], under_way: threading.Event) -> None:
    try:
        with suppress(OSError, ValueError):  # which `sha256` will say
            identity = file_identity(path)
            with _mapped(path) as content:
                under_way.set()
                digest = hashlib.sha256(content).hexdigest()
            if file_identity(path) == identity and not _is_fresh(identity):
                _hashed_meanwhile[identity] = digest
    finally:
        under_way.set()


def check_recorded(path: str | os.PathLike[str], recorded: str, source: str, todo: str) -> None:
    """Raises UserError where the file's SHA-256 is not `recorded`, which `source` (a sidecar's name, say) states."""
    actual = sha256(path)
    if actual != recorded.lower():
        raise UserError(
            f"the file that {source} describes, SHA-256 {recorded[:12]}..., at {Path(path)}",
            f"SHA-256 {actual[:12]}...: it is another file, or one changed since",
            todo,
        )


def verify(path: str | os.PathLike[str], is_whole: Callable[[str], bool] = lambda sha256: False) -> str:
    """Checks a converted file against every hash at hand; returns what vouches for it, "" where nothing does.

    That is "packaged" for a file of the installation itself, "checksum" for one inside the file, "sidecar" for
    the `sha256` of FILE.json. `is_whole`: whether the file of this SHA-256 is known to agree with the checksum inside
    it, so that it is hashed once and not twice. Raises UserError where a hash speaks of other bytes, and OSError
    where the file cannot be read.
    """
    path = Path(path)
    if path.resolve().parent == PACKAGED:
        check_sidecar(path)
        return "packaged"
    inside = _once(_names_checksum, path)
    if inside and not is_whole(sha256(path)):
        inside = _once(_check_inside, path)
    beside = check_sidecar(path)
    return inside or beside


def require_checksum(path: str | os.PathLike[str], voucher: str) -> None:
    """Raises UserError for a file of convert.package in which `verify`, whose answer is `voucher`, met no checksum.

    Damage took its entry.
    """
    if voucher not in ("checksum", "packaged"):
        raise _changed(str(path), "none, although every file with embedded preprocessing has one")


def read_checksum(path: str | os.PathLike[str]) -> Checksum:
    """The checksum inside a file of any kind. Raises OSError when it cannot be read."""
    with _mapped(path) as content:
        return _read_checksum(content)


def with_checksum(content: bytes) -> bytes:
    """A file's bytes, which hold EMPTY once, with the digest in its place."""
    empty = _read_checksum(content)
    assert empty.at >= 0 and empty.stored == bytes(DIGEST_BYTES), "the file must hold one empty checksum"
    return content[: empty.at] + empty.computed + content[empty.at + DIGEST_BYTES :]


def _read_checksum(content: "mmap.mmap | bytes") -> Checksum:
    at = content.find(MARK)
    start, end = at + len(MARK), at + len(MARK) + DIGEST_BYTES
    if at < 0 or content.find(MARK, at + 1) >= 0 or end > len(content):
        return Checksum(-1, b"", b"")
    with memoryview(content) as view:
        digest = hashlib.sha256(view[:start])
        digest.update(bytes(DIGEST_BYTES))
        digest.update(view[end:])
    return Checksum(start, content[start:end], digest.digest())


def _names_checksum(path: str) -> str:
    """`checksum` for a file that has its entry, whole or not; an empty string for any other."""
    with _mapped(path) as content:
        return "checksum" if content.find(ENTRY.encode(), 0, HEAD_BYTES) >= 0 else ""


def _check_inside(path: str) -> str:
    """`checksum` for a whole file with its checksum's entry. UserError for any other."""
    checksum = read_checksum(path)
    if checksum.at < 0:
        raise _changed(path, "an entry without its digest")
    if not checksum.intact:
        raise _changed(
            path, f"{checksum.computed.hex()[:12]}... where {checksum.stored.hex()[:12]}... is stored"
        )
    return "checksum"


def _changed(path: str, state: str) -> UserError:
    return UserError(
        f"{path} as it was packaged, by the SHA-256 inside it",
        f"{state}: bytes of it have changed since",
        "copy it again; `python -m convert.selftest` checks a copy",
    )


@contextmanager
def unchanged(
    path: str | os.PathLike[str], todo: str = "try again, once nothing writes to it"
) -> Iterator[None]:
    """Raises UserError where the file at `path` is another at the end of the block than at its start.

    What is checked, described and loaded in the block is then one file. Raises OSError where it is gone.
    """
    before = file_identity(path)
    yield
    if file_identity(path) != before:
        raise UserError(
            f"one file at {path} while it is loaded", "another, or one written to meanwhile", todo
        )


@contextmanager
def _mapped(path: str | os.PathLike[str]) -> "Iterator[mmap.mmap | bytes]":
    """The file's bytes, mapped; an empty file, which nothing maps, as no bytes."""
    with Path(path).open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def check_sidecar(path: Path) -> str:
    """`sidecar` where FILE.json holds this file's hash, an empty string where there is none."""
    sidecar = path.with_name(path.name + ".json")
    if not sidecar.is_file():
        return ""
    content = typed_json.parse(typed_json.content_of(sidecar), str(sidecar), "copy it again, or remove it")
    recorded = content.get("sha256") if isinstance(content, dict) else None
    if recorded is None:
        return ""
    if not isinstance(recorded, str) or len(recorded) != 64 or not set(recorded.lower()) <= _HEX_DIGITS:
        raise UserError(
            f'"sha256" of 64 hex digits in {sidecar}',
            typed_json.shortened(repr(recorded), 80),
            "convert again, or remove it",
        )
    check_recorded(path, recorded, sidecar.name, "convert again, or put the sidecar beside its own file")
    return "sidecar"


def _once(measure: Callable[[str], T], path: str | os.PathLike[str]) -> T:
    """`measure(path)`, remembered as long as the file stays what it is; errors are not remembered."""
    identity, real = file_identity(path), os.path.realpath(path)
    return measure(real) if _is_fresh(identity) else _remembered(measure, real, *identity)


def _is_fresh(identity: tuple[int, ...]) -> bool:
    return time.time_ns() - max(identity[-2:]) < _FRESH_NS


def file_identity(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What changes with a file: another one in its place, its size, its times of change."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=512)
def _remembered(measure: Callable[[str], T], path: str, *identity: int) -> T:
    return measure(path)


def _sha256(path: str) -> str:
    digest = _hashed_meanwhile.get(file_identity(path))
    if digest is not None:
        return digest
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
