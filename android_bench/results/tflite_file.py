"""What a benchmark needs to know of a .tflite file, read without any runtime.

A flatbuffer is a few offsets: a reader for the six tables needed here is shorter than a dependency, and it
tells a truncated file from a good one before a process is started for it. Field numbers are those of
schema.fbs (Model: subgraphs 2, buffers 4, metadata 6, signature_defs 7; SubGraph: tensors 0, inputs 1;
Tensor: shape 0, type 1, shape_signature 7; Buffer: data 0, offset 1, size 2; Metadata: name 0, buffer 1;
SignatureDef: key 2, subgraph_index 4).
"""

import mmap
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.files import integrity

IDENTIFIER = b"TFL3"
REDUCED_PRECISION = "reduced_precision_support"  # the metadata name that runtimes look for
CONVERTED_AS = "mobileiqa"  # where `convert.tflite` writes the model's spec and the file's precision
# TensorType -> numpy's name.
TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "bytes", 6: "bool", 7: "int16", 8: "complex64",
    9: "int8", 10: "float64", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
SIGNATURE_NAME = re.compile(r"[\w./:-]{1,256}")  # words: they stand in tables, file names and commands
MAX_TABLES = 1 << 20  # of a vector: a damaged count would be read for minutes
MAX_SUBGRAPHS = 4096
_MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA, _MODEL_SIGNATURES = 2, 4, 6, 7
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_SHAPE_SIGNATURE = 0, 1, 0, 1, 7
_SIGNATURE_KEY, _SIGNATURE_SUBGRAPH = 2, 4
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_METADATA_NAME, _METADATA_BUFFER = 0, 1


Bytes = mmap.mmap | bytearray


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
        if head[4:8] != IDENTIFIER:
            raise UserError(
                f"a TFLite model ('TFL3' at byte 4) in {path}",
                f"bytes {head[:8]!r}",
                "convert a checkpoint with `python -m convert.tflite`",
            )
        integrity.verify(path)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                marks, signatures = _metadata(data), _signatures(data)
            except (struct.error, UnicodeDecodeError) as error:
                raise _damaged(path, len(data), error) from error
            capable = b"fp16" in marks.get(REDUCED_PRECISION, b"")
            return TfliteFile(path, integrity.sha256(path), len(data), capable, signatures, _precision(marks))


def with_fixed_sizes(path: Path | str) -> bytes | None:
    """The file with every dynamic size (-1) made the one in its tensor's shape; None for a file without any.

    Raises UserError for a damaged file.
    """
    content, changed = bytearray(Path(path).read_bytes()), False
    try:
        for graph in _tables(content, _follow(content, 0), _MODEL_SUBGRAPHS):
            for tensor in _tables(content, graph, _SUBGRAPH_TENSORS):
                sizes = _integers(content, tensor, _TENSOR_SHAPE_SIGNATURE)
                shape = _integers(content, tensor, _TENSOR_SHAPE)
                if len(sizes) == len(shape) and min(sizes, default=0) < 0:
                    start, _ = _vector(content, _field(content, tensor, _TENSOR_SHAPE_SIGNATURE), item=4)
                    struct.pack_into(f"<{len(shape)}i", content, start, *shape)
                    changed = True
    except struct.error as error:
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


def _signatures(data: Bytes) -> tuple[Signature, ...]:
    """The file's signatures; the first subgraph in a file without any."""
    model = _follow(data, 0)
    tables = list(_tables(data, model, _MODEL_SUBGRAPHS))
    if len(tables) > MAX_SUBGRAPHS:
        raise struct.error(f"{len(tables)} subgraphs, more than {MAX_SUBGRAPHS}")
    graphs = [_inputs(data, graph) for graph in tables]
    signatures = []
    for table in _tables(data, model, _MODEL_SIGNATURES):
        name_at, index_at = _field(data, table, _SIGNATURE_KEY), _field(data, table, _SIGNATURE_SUBGRAPH)
        index = _read(data, "<I", index_at) if index_at else 0
        if not name_at or index >= len(graphs):
            raise struct.error("a signature without a name or a subgraph")
        start, size = _vector(data, name_at)
        signatures.append(Signature(_word(data[start : start + size].decode()), *graphs[index]))
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


def _inputs(data: Bytes, graph: int) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Types and shapes of a subgraph's inputs."""
    tensors = list(_tables(data, graph, _SUBGRAPH_TENSORS))
    inputs = [tensors[i] for i in _integers(data, graph, _SUBGRAPH_INPUTS) if 0 <= i < len(tensors)]
    types = [_read(data, "<b", at) if (at := _field(data, one, _TENSOR_TYPE)) else 0 for one in inputs]
    shapes = tuple(_integers(data, one, _TENSOR_SHAPE) for one in inputs)
    return tuple(TYPES.get(kind, f"type {kind}") for kind in types), shapes


def _integers(data: Bytes, table: int, field: int) -> tuple[int, ...]:
    """The 32-bit numbers of a vector field; () when it is absent."""
    at = _field(data, table, field)
    if not at:
        return ()
    start, count = _vector(data, at, item=4)
    return struct.unpack_from(f"<{count}i", data, start)


def _metadata(data: Bytes) -> dict[str, bytes]:
    """Metadata entries by name; walks every buffer on the way, so that a truncated file is noticed."""
    model = _follow(data, 0)
    buffers = [_buffer(data, table) for table in _tables(data, model, _MODEL_BUFFERS)]
    entries = {}
    for table in _tables(data, model, _MODEL_METADATA):
        name_at, index_at = _field(data, table, _METADATA_NAME), _field(data, table, _METADATA_BUFFER)
        index = _read(data, "<I", index_at) if index_at else 0
        if name_at and index < len(buffers):
            start, size = _vector(data, name_at)
            begin, length = buffers[index]
            entries[data[start : start + size].decode()] = data[begin : begin + min(length, 1 << 20)]
    return entries


def _buffer(data: Bytes, table: int) -> tuple[int, int]:
    """(start, length) of a buffer's content: inline, or behind the flatbuffer in files beyond 2 GB."""
    inline = _field(data, table, _BUFFER_DATA)
    if inline:
        return _vector(data, inline)
    offset_at, size_at = _field(data, table, _BUFFER_OFFSET), _field(data, table, _BUFFER_SIZE)
    if not (offset_at and size_at):
        return 0, 0
    start, length = _read(data, "<Q", offset_at), _read(data, "<Q", size_at)
    return _inside(data, start, length)


def _tables(data: Bytes, table: int, field: int) -> Iterator[int]:
    """Positions of the tables in a vector field."""
    at = _field(data, table, field)
    if at:
        start, count = _vector(data, at, item=4)
        if count > MAX_TABLES:
            raise struct.error(f"{count} tables in one vector, more than {MAX_TABLES}")
        for index in range(count):
            yield _follow(data, start + 4 * index)


def _field(data: Bytes, table: int, index: int) -> int:
    """Position of a table's field; 0 when the field is absent."""
    vtable = table - _read(data, "<i", table)
    slot = 4 + 2 * index
    offset = _read(data, "<H", vtable + slot) if slot < _read(data, "<H", vtable) else 0
    return table + offset if offset else 0


def _vector(data: Bytes, at: int, item: int = 1) -> tuple[int, int]:
    """(start, count) of the vector or string that the field at `at` points to."""
    vector = _follow(data, at)
    count = _read(data, "<I", vector)
    _inside(data, vector + 4, count * item)
    return vector + 4, count


def _follow(data: Bytes, at: int) -> int:
    return at + _read(data, "<I", at)


def _read(data: Bytes, layout: str, at: int) -> int:
    _inside(data, at, struct.calcsize(layout))
    return struct.unpack_from(layout, data, at)[0]


def _inside(data: Bytes, start: int, length: int) -> tuple[int, int]:
    if start < 0 or start + length > len(data):
        raise struct.error(f"{length} bytes at {start} are beyond the end")
    return start, length
