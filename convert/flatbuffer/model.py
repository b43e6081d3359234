"""The editor of .tflite files: a model in object form (the schema's ModelT), read, held and written.

`unpack` and `pack` are the two ends of every change in memory; `read` and `write` are the same with a file. Changes
of the graph are convert.flatbuffer.passes; reading for people is convert.flatbuffer.reader.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobileiqa.errors import UserError
from mobileiqa.files import tflite
from mobileiqa.text import printable
from mobileiqa.typed_json import shortened

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

    Model = schema.ModelT

SIGNATURE = "serving_default"
OUTPUT = "score"
REDUCED_PRECISION = "reduced_precision_support"  # XNNPACK's delegate reads this entry
FP16_ACCUMULATE_FP16 = b"fp16accfp16"
WEIGHT_INPUT = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1}  # operator -> index of its weight


def read(path: Path) -> "Model":
    """The model in a file; raises what `unpack` does."""
    return unpack(path.read_bytes(), str(path))


def unpack(content: bytes, source: str = "the converted model") -> "Model":
    """The model of a file's bytes. Raises UserError for a damaged file, and for one whose indices lead nowhere.

    Buffers that lie behind the flatbuffer, where ai-edge-quantizer puts them, are brought into it.
    """
    model = view(content, source)
    with damage(source):
        for graph in model.subgraphs:
            if any(part is None for part in (graph.tensors, graph.operators, graph.inputs, graph.outputs)):
                raise ValueError("a subgraph without tensors, operators, inputs or outputs")
        for buffer in model.buffers:
            buffer.offset = buffer.size = 0
        _check_constants(model)
    return model


def view(data: tflite.Bytes, source: str) -> "Model":
    """`unpack` of what may be another converter's or larger than the memory: constants are `data`'s own, unchecked."""
    from ai_edge_litert import schema_py_generated as schema

    with damage(source):
        tflite.check(data)
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        if not model.subgraphs or model.buffers is None:
            raise ValueError("no subgraph or no buffers")
        for buffer in model.buffers:
            if buffer.offset > 1:  # 0 and 1 say that there is none; files above 2 GB keep their data so
                buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
        _check_indices(model)
    return model


@contextmanager
def damage(source: str) -> Iterator[None]:
    """What LiteRT's generated reader raises on damage, as one UserError."""
    try:
        yield
    except UserError:
        raise
    except tflite.DAMAGE as error:
        reason = shortened(str(error) or type(error).__name__, 200)
        raise UserError(
            f"a whole TFLite file in {source}", f"a damaged one ({reason})", "copy or convert it again"
        ) from error


def write(model: "Model", path: Path) -> None:
    """`pack` into a file (not atomic: callers write to a temporary name)."""
    path.write_bytes(pack(model))


def pack(model: "Model") -> bytes:
    """The file's bytes."""
    builder = _sharing_builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _check_indices(model: "Model") -> None:
    """Raises ValueError for the first index of a graph, a signature or an entry that is out of range."""
    for graph in model.subgraphs:
        count = len(graph.tensors or ())
        _check_range("tensor", [*_indices(graph.inputs), *_indices(graph.outputs)], count)
        _check_range("buffer", (tensor.buffer for tensor in graph.tensors or ()), len(model.buffers))
        for operator in graph.operators or ():
            _check_range("operator code", [operator.opcodeIndex], len(model.operatorCodes))
            _check_range("tensor", (i for i in _indices(operator.inputs) if i != -1), count)  # -1: left out
            _check_range("tensor", _indices(operator.outputs), count)
    for signature in model.signatureDefs or ():
        _check_range("subgraph", [signature.subgraphIndex], len(model.subgraphs))
        entries = [*(signature.inputs or ()), *(signature.outputs or ())]
        tensors = model.subgraphs[signature.subgraphIndex].tensors or ()
        _check_range("tensor", (entry.tensorIndex for entry in entries), len(tensors))
    _check_range("buffer", (entry.buffer for entry in model.metadata or ()), len(model.buffers))


def _check_constants(model: "Model") -> None:
    """Raises ValueError for the first constant that does not hold what its type and shape say."""
    sizes = _item_sizes()
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        data, item = model.buffers[tensor.buffer].data, sizes.get(tensor.type)
        if data is None or not len(data) or item is None or tensor.sparsity is not None:
            continue
        expected = item * math.prod(int(n) for n in _indices(tensor.shape))
        if len(data) != expected:
            name = printable((tensor.name or b"").decode(errors="replace"))
            raise ValueError(f"{len(data)} bytes in the constant {name}, whose shape has {expected}")


@functools.cache
def _item_sizes() -> dict[int, int]:
    """Bytes of one value by the schema's type code; types that are packed or of no fixed size are left out."""
    from ai_edge_litert.schema_py_generated import TensorType as Type

    bytes_of = {
        1: (Type.INT8, Type.UINT8, Type.BOOL),
        2: (Type.FLOAT16, Type.BFLOAT16, Type.INT16, Type.UINT16),
        4: (Type.FLOAT32, Type.INT32, Type.UINT32),
        8: (Type.FLOAT64, Type.INT64, Type.UINT64, Type.COMPLEX64),
        16: (Type.COMPLEX128,),
    }
    return {code: size for size, codes in bytes_of.items() for code in codes}


def _indices(values: Any) -> Any:
    return () if values is None else values


def _check_range(kind: str, indices: Iterable[Any], count: int) -> None:
    for index in indices:
        if not 0 <= int(index) < count:
            raise ValueError(f"{kind} {index} of {count}")


def _sharing_builder() -> Any:
    """A flatbuffers builder that writes equal vectors of numbers once.

    Each channel of each INT8 weight has a zero point of eight bytes, nearly all of them 0: half a megabyte of
    MobileNet-IQA. Weights themselves are bytes here, and stay as they are.
    """
    import flatbuffers

    class Sharing(flatbuffers.Builder):
        written: dict[tuple[str, bytes], int]

        def CreateNumpyVector(self, x: np.ndarray) -> int:
            if x.dtype.itemsize == 1:
                return super().CreateNumpyVector(x)
            key = (x.dtype.str, x.tobytes())
            if key not in self.written:
                self.written[key] = super().CreateNumpyVector(x)
            return self.written[key]

    builder = Sharing(1 << 20)
    builder.written = {}
    return builder


def kind(model: "Model", operator: Any) -> str:
    """The operator's builtin name, such as CONV_2D; its number where this version knows none."""
    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    return _kinds().get(code, str(code))


@functools.cache
def _kinds() -> dict[int, str]:
    """The schema's builtin operators, code -> name."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def is_constant(model: "Model", tensor: Any) -> bool:
    """Whether the tensor's value is stored in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def add_buffer(model: "Model", content: bytes) -> int:
    """Appends a buffer; returns its index."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def opcode(model: "Model", name: str) -> int:
    """Index of the operator code of builtin `name`, added when the model has none yet."""
    from ai_edge_litert import schema_py_generated as schema

    builtin = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def drop_unused_buffers(model: "Model") -> None:
    """Empties buffers that nothing refers to any more, such as the float32 form of a halved weight."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def has_metadata(model: "Model", name: str) -> bool:
    """Whether there is an entry of that name."""
    return any(entry.name == name.encode() for entry in model.metadata or [])


def set_metadata(model: "Model", name: str, content: bytes) -> None:
    """Adds or replaces one metadata entry."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = [m for m in model.metadata or [] if m.name not in (name, name.encode())]
    entry = schema.MetadataT()
    entry.name, entry.buffer = name.encode(), add_buffer(model, content)
    model.metadata.append(entry)


def name_signature(model: "Model", inputs: Sequence[str], outputs: Sequence[str] = (OUTPUT,)) -> None:
    """Makes the one signature serving_default: `inputs` in the graph's order -> `outputs` in the graph's order."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    ends = [*zip(inputs, graph.inputs, strict=True), *zip(outputs, graph.outputs, strict=True)]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs = [_named(name, index) for name, index in ends[: len(inputs)]]
    signature.outputs = [_named(name, index) for name, index in ends[len(inputs) :]]
    for name, index in ends:
        graph.tensors[index].name = name.encode()
    model.signatureDefs = [signature]


def _named(name: str, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), int(index)
    return entry
