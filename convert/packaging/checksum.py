"""The checksum: one SHA-256 over every byte of a file, kept in the file.

The metadata entry `mobileiqa_seal` is a mark and 32 bytes. They hold the SHA-256 of the whole file with those 32
bytes zero, so that no table, name, weight or padding can change unseen, and a check needs no flatbuffer reader:
search the mark, hash the rest. It guards against damage, not against a forger, who can write it again.

The hashes of the parts, in the JSON entry `mobileiqa`, then say what was hit, as far as the file can still be read.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from convert.flatbuffer.reader import Graph
from convert.packaging import golden_vectors, tflite_metadata
from mobileiqa.files.integrity import DIGEST_BYTES, ENTRY, MARK, Checksum, read_checksum

__all__ = [
    "DIGEST_BYTES",
    "EMPTY",
    "ENTRY",
    "MARK",
    "Checksum",
    "part_hashes",
    "read_checksum",
    "write_checksum",
]

EMPTY = MARK + bytes(DIGEST_BYTES)  # the entry's content before it is written


def write_checksum(path: Path) -> None:
    """Writes the digest into a file that holds EMPTY once."""
    empty = read_checksum(path)
    assert empty.at >= 0 and empty.stored == bytes(DIGEST_BYTES), "the file must hold one empty checksum"
    with path.open("r+b") as file:
        file.seek(empty.at)
        file.write(empty.computed)


def part_hashes(graphs: Sequence[Graph]) -> dict[str, str]:
    """SHA-256 of the constants, of the golden vectors and of the standard metadata of a file's subgraphs.

    Constants in the order of subgraphs and tensors, each with its shape and type.
    """
    weights = hashlib.sha256()
    for tensor in (tensor for graph in graphs for tensor in graph.tensors if tensor.stored is not None):
        weights.update(f"{tensor.dtype}{tensor.shape}{tensor.scales}{tensor.zero_points}".encode())
        weights.update(tensor.stored)
    entries = {"golden": golden_vectors.ENTRY, "metadata": tflite_metadata.ENTRY}
    stored = graphs[0].metadata
    hashes = {name: hashlib.sha256(stored.get(entry, b"")).hexdigest() for name, entry in entries.items()}
    return {"weights": weights.hexdigest(), **hashes}
