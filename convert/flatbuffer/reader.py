"""A small, typed, read-only view of a .tflite file's subgraphs: what the file says, checked.

The flatbuffer is mapped, not read, so a gigabyte of weights costs nothing until a value is looked at. Offsets and
indices are checked by convert.flatbuffer.model, which reads it; a truncated or damaged file ends in one UserError.
Left out: writing, sparse and external weights.
"""

import math
import mmap
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convert.flatbuffer import model as fb
from mobileiqa import spec as specs
from mobileiqa import typed_json
from mobileiqa.errors import UserError

IDENTIFIER = b"TFL3"  # at byte 4 of every TensorFlow Lite flatbuffer
METADATA_ENTRY = "mobileiqa"  # our JSON: spec, precision, checkpoint hash

_BITS = {
    "float16": 16,
    "bfloat16": 16,
    "float32": 32,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
    "bool": 8,
    "int2": 2,
    "int4": 4,
    "uint4": 4,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "int32": 32,
    "uint32": 32,
    "int64": 64,
    "uint64": 64,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor; `stored` is its raw constant data as uint8, None for everything computed while running."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str  # numpy's name, or int4, int2, string...
    buffer: int
    dynamic: bool = False  # a dimension is only known at run time; `shape` then holds a placeholder
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    quantized_axis: int = 0
    stored: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def constant(self) -> bool:
        """True when the file holds the values."""
        return self.stored is not None

    @property
    def elements(self) -> int:
        """How many values the tensor holds (1 for a scalar)."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory; 0 for types without a fixed width (strings, resources)."""
        return (_BITS.get(self.dtype, 0) * self.elements + 7) // 8

    def values(self) -> np.ndarray:
        """The constant's values, in `shape`. Only for constants of a type that numpy knows."""
        assert self.stored is not None, f"tensor {self.index} ({self.name}) is not a constant"
        return self.stored[: self.nbytes].view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Operator:
    """One operator; inputs and outputs are tensor indices, -1 where an optional input was left out."""

    index: int
    name: str  # "CONV_2D"; a custom operator's own name, such as "FlexErf"
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: bool = False
    options: Any = field(default=None, repr=False, compare=False)

    @property
    def flex(self) -> bool:
        """True for TensorFlow's own kernels, which a phone's runtime does not carry."""
        return self.custom and self.name.startswith("Flex")

    def option(self, name: str, default: Any = 0) -> Any:
        """A builtin option by its schema name in camelCase ("strideH"); `default` where the file has none."""
        return getattr(self.options, name, default)


@dataclass(frozen=True)
class Signature:
    """A named entry point: argument names to tensor indices."""

    key: str
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True)
class _Description:
    """The types of what our metadata entry says, apart from its spec; files of other versions may say more."""

    version: str | None = None
    precision: str | None = None
    checkpoint_sha256: str | None = None
    untrained: bool | None = None


@dataclass(frozen=True)
class Graph:
    """One subgraph in execution order, and what the file says about itself."""

    path: Path
    file_bytes: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signatures: tuple[Signature, ...]
    metadata: dict[str, bytes]
    subgraphs: int  # how many the file has
    entries: int = 1  # how many of them a signature names
    index: int = 0  # which of them this is

    @cached_property
    def consumers(self) -> dict[int, tuple[int, ...]]:
        """Tensor index -> the operators that read it, in execution order."""
        readers: dict[int, list[int]] = {}
        for op in self.operators:
            for tensor in dict.fromkeys(i for i in op.inputs if i >= 0):
                readers.setdefault(tensor, []).append(op.index)
        return {tensor: tuple(ops) for tensor, ops in readers.items()}

    @property
    def description(self) -> dict[str, Any]:
        """Our metadata entry; empty for a file of another origin. Raises UserError when it is not JSON."""
        source, todo = f"the {METADATA_ENTRY!r} metadata of {self.path}", "convert the model again"
        content = typed_json.parse(self.metadata.get(METADATA_ENTRY, b"{}").rstrip(b"\0"), source, todo)
        if not isinstance(content, dict):
            return {}
        typed_json.decode(_Description, typed_json.known(_Description, content), source, todo)
        if "spec" in content:
            specs.from_json(content["spec"], source)
        return content

    @property
    def reduced_precision(self) -> str:
        """TFLite's mark for FP16 arithmetic, "fp16accfp16"; empty when the file stays in FP32."""
        return self.metadata.get(fb.REDUCED_PRECISION, b"").rstrip(b"\0").decode("utf-8", "replace")


def read_graph(path: str | Path) -> Graph:
    """The first subgraph of a .tflite file, the one that runs by default.

    Raises UserError for a file that is none, is damaged or is truncated.
    """
    return graphs_of(_mapped(Path(path)), Path(path), first_only=True)[0]


def read_graphs(path: str | Path) -> tuple[Graph, ...]:
    """Every subgraph of a .tflite file, in the file's order: one for each signature of a packaged file's sizes.

    Raises UserError as `read_graph` does.
    """
    return graphs_of(_mapped(Path(path)), Path(path))


def graphs_of(
    data: bytes | mmap.mmap, path: Path = Path("the converted model"), first_only: bool = False
) -> tuple[Graph, ...]:
    """Every subgraph of a file's bytes; `path` is what errors call it."""
    model = fb.view(data, str(path))
    with fb.damage(str(path)):
        reader = _Reader(path, len(data), model)
        return tuple(reader.graph(i) for i in range(1 if first_only else len(model.subgraphs)))


def _mapped(path: Path) -> mmap.mmap:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing there"
        raise UserError(f"a .tflite file at {path}", kind, "check the path")
    with path.open("rb") as file:
        start = file.read(8)
        if start[4:] != IDENTIFIER:
            raise UserError(
                f"a .tflite file at {path}",
                f"{start[4:]!r} instead of {IDENTIFIER!r} at byte 4",
                "pass a file that convert.tflite wrote",
            )
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Reader:
    """Turns the generated reader's mutable objects into ours."""

    def __init__(self, path: Path, file_bytes: int, model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.path, self.file_bytes, self.model = path, file_bytes, model
        self.dtypes = _names(schema.TensorType)
        self.operator_names = _names(schema.BuiltinOperator)

    def graph(self, index: int) -> Graph:
        main = self.model.subgraphs[index]
        return Graph(
            path=self.path,
            file_bytes=self.file_bytes,
            subgraphs=len(self.model.subgraphs),
            entries=len({s.subgraphIndex for s in self.model.signatureDefs or ()}),
            index=index,
            tensors=tuple(self.tensor(i, t) for i, t in enumerate(main.tensors or ())),
            operators=tuple(self.operator(i, o) for i, o in enumerate(main.operators or ())),
            inputs=_tuple(main.inputs, int),
            outputs=_tuple(main.outputs, int),
            signatures=tuple(
                self.signature(s) for s in self.model.signatureDefs or () if s.subgraphIndex == index
            ),
            metadata={_text(m.name): self.bytes(m.buffer) for m in self.model.metadata or ()},
        )

    def bytes(self, buffer: int) -> bytes:
        stored = self.stored(buffer)
        return b"" if stored is None else stored.tobytes()

    def stored(self, buffer: int) -> np.ndarray | None:
        data = self.model.buffers[buffer].data
        empty = data is None or isinstance(data, int) or len(data) == 0
        return None if empty else np.asarray(data, np.uint8)

    def tensor(self, index: int, entry: Any) -> Tensor:
        shape = tuple(int(d) for d in (() if entry.shape is None else entry.shape))
        if min(shape, default=0) < 0 or entry.externalBuffer or entry.sparsity is not None:
            raise UserError(
                f"dense tensors with their weights inside {self.path}",
                f"tensor {index} of shape {shape}, external or sparse",
                "convert the model again",
            )
        signature = () if entry.shapeSignature is None else entry.shapeSignature
        quantized = entry.quantization
        tensor = Tensor(
            index=index,
            name=_text(entry.name),
            shape=shape,
            dtype=self.dtypes[entry.type],
            buffer=entry.buffer,
            stored=self.stored(entry.buffer),
            dynamic=any(int(d) < 0 for d in signature),
            scales=_tuple(quantized and quantized.scale, float),
            zero_points=_tuple(quantized and quantized.zeroPoint, int),
            quantized_axis=quantized.quantizedDimension if quantized else 0,
        )
        if tensor.stored is not None and len(tensor.stored) < tensor.nbytes:
            raise ValueError(
                f"{len(tensor.stored)} bytes for tensor {index} ({tensor.name}), which needs {tensor.nbytes}"
            )
        return tensor

    def operator(self, index: int, entry: Any) -> Operator:
        code = self.model.operatorCodes[entry.opcodeIndex]
        # Codes below 127 are written in the old field too, and old files have only that one.
        builtin = self.operator_names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        custom = builtin == "CUSTOM"
        return Operator(
            index=index,
            name=_text(code.customCode) if custom else builtin,
            version=code.version,
            custom=custom,
            inputs=_tuple(entry.inputs, int),
            outputs=_tuple(entry.outputs, int),
            options=entry.builtinOptions or entry.builtinOptions2,
        )

    def signature(self, entry: Any) -> Signature:
        def named(entries: Any) -> dict[str, int]:
            return {_text(e.name): int(e.tensorIndex) for e in entries or ()}

        return Signature(_text(entry.signatureKey), named(entry.inputs), named(entry.outputs))


def _names(enum: type) -> dict[int, str]:
    """The schema's enum as code -> name; tensor types in lower case, as numpy writes them."""
    lower = enum.__name__ == "TensorType"
    return {v: k.lower() if lower else k for k, v in vars(enum).items() if isinstance(v, int)}


def _text(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8")


def _tuple(vector: Any, kind: type) -> tuple[Any, ...]:
    return () if vector is None else tuple(kind(v) for v in vector)
