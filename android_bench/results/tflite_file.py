"""What a benchmark needs to know of a .tflite file, read without any runtime.

The checked view (mobileiqa.files.tflite) tells a truncated file from a good one before a process is started for it.
"""

import mmap
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.files import integrity, tflite

REDUCED_PRECISION = "reduced_precision_support"  # the metadata name that runtimes look for
CONVERTED_AS = "mobileiqa"  # where `convert.tflite` writes the model's spec and the file's precision
# TensorType -> numpy's name.
TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "bytes", 6: "bool", 7: "int16", 8: "complex64",
    9: "int8", 10: "float64", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
SIGNATURE_NAME = re.compile(r"[\w./:-]{1,256}")  # words: they stand in tables, file names and commands
MAX_SUBGRAPHS = 4096
MAX_ENTRY = 1 << 20  # bytes of a metadata entry that are looked at


@dataclass(frozen=True)
class Signature:
    """A way to run a file. `name`: "" for the first subgraph of a file that names none.

    `input_types` (as numpy calls them) and `input_shapes`: of its subgraph's inputs, in their order.
    """

    name: str
    input_types: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]

    @property
    def takes(self) -> str:
        """Its inputs, for people: `uint8 1x480x640x3`, several with a plus between them."""
        return takes(self.input_types, self.input_shapes)


def takes(types: Sequence[str], shapes: Sequence[Sequence[int]]) -> str:
    """`uint8 1x480x640x3`; "" for nothing."""
    sizes = ("x".join(map(str, shape)) for shape in shapes)
    return " + ".join(f"{kind} {size}" for kind, size in zip(types, sizes, strict=True))


@dataclass(frozen=True)
class TfliteFile:
    """A .tflite file that was read to its end. `fp16_capable`: its metadata allows FP16 arithmetic.

    `signatures`: at least one, in the file's order. `precision`: fp32, fp16, int8 as our converter wrote it
    into the file, "" in files of other converters.
    """

    path: Path
    sha256: str
    size_bytes: int
    fp16_capable: bool
    signatures: tuple[Signature, ...]
    precision: str = ""


def read(path: Path | str) -> TfliteFile:
    """Reads and checks one file, against the hashes at hand too (mobileiqa.files.integrity).

    Raises UserError when it is missing, not a TFLite model, or truncated, and UserError where a hash is another's.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise UserError(f"a .tflite file at {path}", kind, "check the path")
    with path.open("rb") as file:
        head = file.read(8)
        if head[4:8] != tflite.IDENTIFIER:
            raise UserError(
                f"a TFLite model ('TFL3' at byte 4) in {path}",
                f"bytes {head[:8]!r}",
                "convert a checkpoint with `python -m convert.tflite`",
            )
        integrity.verify(path)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                marks, signatures = _metadata(data), _signatures(data)
            except tflite.DamageError as error:
                raise _damaged(path, len(data), error) from error
            capable = b"fp16" in marks.get(REDUCED_PRECISION, b"")
            return TfliteFile(path, integrity.sha256(path), len(data), capable, signatures, _precision(marks))


def with_fixed_sizes(path: Path | str) -> bytes | None:
    """The file with every dynamic size (-1) made the one in its tensor's shape; None for a file without any.

    Raises UserError for a damaged file.
    """
    content, changed = bytearray(Path(path).read_bytes()), False
    try:
        graphs = tflite.model(content).tables(tflite.SUBGRAPHS)
        for tensor in (tensor for graph in graphs for tensor in graph.tables(tflite.TENSORS)):
            sizes, shape = tensor.integers(tflite.SHAPE_SIGNATURE), tensor.integers(tflite.SHAPE)
            if len(sizes) == len(shape) and min(sizes, default=0) < 0:
                start, _ = tensor.vector(tflite.SHAPE_SIGNATURE, 4)
                struct.pack_into(f"<{len(shape)}i", content, start, *shape)
                changed = True
    except tflite.DamageError as error:
        raise _damaged(Path(path), len(content), error) from error
    return bytes(content) if changed else None


def _damaged(path: Path, size: int, error: Exception) -> UserError:
    return UserError(
        f"a whole TFLite model in {path}", f"{size} damaged bytes: {error}", "copy or convert the file again"
    )


def _precision(marks: dict[str, bytes]) -> str:
    """What our converter says of the file; "" when it says nothing."""
    try:
        content = typed_json.parse(marks.get(CONVERTED_AS, b"{}"), CONVERTED_AS)
    except UserError:  # another tool's entry of that name
        return ""
    precision = content.get("precision") if isinstance(content, dict) else None
    return precision if isinstance(precision, str) else ""


def _signatures(data: tflite.Bytes) -> tuple[Signature, ...]:
    """The file's signatures; the first subgraph in a file without any."""
    model = tflite.model(data)
    tables = list(model.tables(tflite.SUBGRAPHS))
    if len(tables) > MAX_SUBGRAPHS:
        raise tflite.DamageError(f"{len(tables)} subgraphs, more than {MAX_SUBGRAPHS}")
    graphs = [_inputs(graph) for graph in tables]
    signatures = []
    for table in model.tables(tflite.SIGNATURES):
        index = table.number(tflite.SUBGRAPH_INDEX)
        if not table.place(tflite.KEY) or index >= len(graphs):
            raise tflite.DamageError("a signature without a name or a subgraph")
        signatures.append(Signature(_word(table.text(tflite.KEY)), *graphs[index]))
    return tuple(signatures) or (Signature("", *(graphs[0] if graphs else ((), ()))),)


def _word(name: str) -> str:
    """A signature's name. Raises UserError for one that is no word; "" is the name of a signature without one."""
    if name and not SIGNATURE_NAME.fullmatch(name):
        raise UserError(
            "signature names of letters, digits and _ . - / : (at most 256)",
            repr(name[:60]),
            "convert the model again with another name",
        )
    return name


def _inputs(graph: tflite.Table) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Types and shapes of a subgraph's inputs."""
    tensors = list(graph.tables(tflite.TENSORS))
    inputs = [tensors[i] for i in graph.integers(tflite.INPUTS) if 0 <= i < len(tensors)]
    types = (one.number(tflite.TYPE, "<b") for one in inputs)
    return tuple(TYPES.get(kind, f"type {kind}") for kind in types), tuple(
        one.integers(tflite.SHAPE) for one in inputs
    )


def _metadata(data: tflite.Bytes) -> dict[str, bytes]:
    """Metadata entries by name; walks every buffer on the way, so that a truncated file is noticed."""
    for buffer in tflite.model(data).tables(tflite.BUFFERS):
        tflite.buffer_range(buffer)
    return {
        name: bytes(data[start : start + min(length, MAX_ENTRY)])
        for name, (start, length) in tflite.metadata(data)
    }
