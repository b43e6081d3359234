"""The seal: one SHA-256 over every byte of a file, kept in the file.

The metadata entry `mobileiqa_seal` is a mark and 32 bytes. They hold the SHA-256 of the whole file with those 32
bytes zero, so that no table, name, weight or padding can change unseen, and a check needs no flatbuffer reader:
search the mark, hash the rest. It guards against damage, not against a forger, who can seal again.

The hashes of the parts, in the JSON entry `mobileiqa`, then say what was hit, as far as the file can still be read.
"""

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.delivery import golden, metadata
from convert.graph import Graph

ENTRY = "mobileiqa_seal"
MARK = b"mobileiqa seal, SHA-256 of this file with the 32 bytes after the colon zero:"
DIGEST_BYTES = 32
EMPTY = MARK + bytes(DIGEST_BYTES)  # the entry's content before the file is sealed


@dataclass(frozen=True)
class Seal:
    """Where the digest is, what it says and what it should say; `at` is -1 where there is not exactly one mark."""

    at: int
    stored: bytes
    computed: bytes

    @property
    def intact(self) -> bool:
        """Whether no byte has changed since the file was sealed."""
        return self.at >= 0 and self.stored == self.computed


def read_seal(path: Path) -> Seal:
    """The seal of a file of any kind. Raises OSError when it cannot be read."""
    if path.stat().st_size == 0:
        return Seal(-1, b"", b"")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(MARK)
        if at < 0 or content.find(MARK, at + 1) >= 0 or at + len(EMPTY) > len(content):
            return Seal(-1, b"", b"")
        start = at + len(MARK)
        end = start + DIGEST_BYTES
        digest = hashlib.sha256(memoryview(content)[:start])
        digest.update(bytes(DIGEST_BYTES))
        digest.update(memoryview(content)[end:])
        return Seal(start, content[start:end], digest.digest())


def seal(path: Path) -> None:
    """Writes the digest into a file that holds EMPTY once."""
    found = read_seal(path)
    assert found.at >= 0 and found.stored == bytes(DIGEST_BYTES), "the file must hold one empty seal"
    with path.open("r+b") as file:
        file.seek(found.at)
        file.write(found.computed)


def parts(graphs: Sequence[Graph]) -> dict[str, str]:
    """SHA-256 of the constants, of the golden vectors and of the standard metadata of a file's subgraphs.

    Constants in the order of subgraphs and tensors, each with its shape and type.
    """
    weights = hashlib.sha256()
    for tensor in (tensor for graph in graphs for tensor in graph.tensors if tensor.stored is not None):
        weights.update(f"{tensor.dtype}{tensor.shape}{tensor.scales}{tensor.zero_points}".encode())
        weights.update(tensor.stored)
    entries = {"golden": golden.ENTRY, "metadata": metadata.ENTRY}
    stored = graphs[0].metadata
    found = {name: hashlib.sha256(stored.get(entry, b"")).hexdigest() for name, entry in entries.items()}
    return {"weights": weights.hexdigest(), **found}
