"""Editing a .tflite flatbuffer: what no converter does for us. Reading for people is convert.flatbuffer.reader.

    batch_matmuls   a FULLY_CONNECTED whose weight is an activation becomes the BATCH_MATMUL that it is
    narrow_concatenations   a CONCATENATION of many becomes a tree of at most five
    half_weights    constant weights stored as FP16 behind a DEQUANTIZE
    name_signature, shorten_names, set_metadata   names and metadata entries

Each works on the object form (schema ModelT) and says how many operators it changed.
"""

import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import bounds
from mobileiqa.errors import UserError
from mobileiqa.text import printable
from mobileiqa.typed_json import shortened

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

    Model = schema.ModelT

SIGNATURE = "serving_default"
OUTPUT = "score"
REDUCED_PRECISION = "reduced_precision_support"  # XNNPACK's delegate reads this entry
FP16_ACCUMULATE_FP16 = b"fp16accfp16"
LARGEST_HALF = 65504.0
CONCATENATION_INPUTS = 5  # XNNPACK takes no more at once
WEIGHT_INPUT = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1}  # operator -> index of its weight


def read(path: Path) -> "Model":
    """The model in object form. Raises UserError for a damaged file, and for one whose indices lead nowhere.

    Buffers that lie behind the flatbuffer, where ai-edge-quantizer puts them, are brought into it.
    """
    content = path.read_bytes()
    try:
        bounds.check(content)
        model = _unpacked(content)
        _check_indices(model)
        _check_constants(model)
    except bounds.DAMAGE as error:
        reason = shortened(str(error) or type(error).__name__, 200)
        raise UserError(
            f"a whole TFLite file in {path}", f"a damaged one ({reason})", "copy or convert it again"
        ) from error
    return model


def _unpacked(content: bytes) -> "Model":
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 say that there is none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def _check_indices(model: "Model") -> None:
    """Raises ValueError for the first index of a graph, a signature or an entry that is out of range."""
    for graph in model.subgraphs:
        count = len(graph.tensors)
        _check_range("tensor", [*graph.inputs, *graph.outputs], count)
        _check_range("buffer", (tensor.buffer for tensor in graph.tensors), len(model.buffers))
        for operator in graph.operators:
            _check_range("operator code", [operator.opcodeIndex], len(model.operatorCodes))
            _check_range("tensor", (max(int(i), 0) for i in _indices(operator.inputs)), count)  # -1: left out
            _check_range("tensor", _indices(operator.outputs), count)
    for signature in model.signatureDefs or ():
        _check_range("subgraph", [signature.subgraphIndex], len(model.subgraphs))
        entries = [*signature.inputs, *signature.outputs]
        tensors = model.subgraphs[signature.subgraphIndex].tensors
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


def write(model: "Model", path: Path) -> None:
    """Packs `model` into `path` (not atomic: callers write to a temporary name)."""
    builder = _sharing_builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())


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


def batch_matmuls(model: "Model") -> int:
    """FULLY_CONNECTED(a, b) with an activation b -> BATCH_MATMUL(a, b, adj_y). Returns how many.

    litert-torch writes a @ b.T of two activations as FULLY_CONNECTED with a weight that is not constant.
    XNNPACK refuses that: the graph splits there, and the operator runs in a slow reference kernel. An
    activation function fused into it becomes an operator of its own: BATCH_MATMUL can have none.
    """
    changed = 0
    for graph in model.subgraphs:
        operators: list[Any] = []
        for operator in graph.operators:
            operators.append(operator)
            if kind(model, operator) != "FULLY_CONNECTED" or is_constant(
                model, graph.tensors[operator.inputs[1]]
            ):
                continue
            assert len(operator.inputs) < 3 or operator.inputs[2] < 0, "a bias here would be lost"
            fused = operator.builtinOptions.fusedActivationFunction
            _make_batch_matmul(model, operator)
            if fused:
                operators.append(_activation(model, graph, operator, fused))
            changed += 1
        graph.operators = operators
    return changed


def _make_batch_matmul(model: "Model", operator: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = False, True
    operator.builtinOptionsType = schema.BuiltinOptions.BatchMatMulOptions
    operator.builtinOptions = options
    operator.inputs = operator.inputs[:2]
    operator.opcodeIndex = opcode(model, "BATCH_MATMUL")


def _activation(model: "Model", graph: Any, operator: Any, fused: int) -> Any:
    """An operator for the activation function `fused`, between `operator` and its present output."""
    import copy

    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.ActivationFunctionType).items()}
    before = copy.deepcopy(graph.tensors[operator.outputs[0]])
    before.name += b"_linear"
    graph.tensors.append(before)
    activation = schema.OperatorT()
    activation.opcodeIndex = opcode(model, names[fused])
    activation.inputs, activation.outputs = [len(graph.tensors) - 1], operator.outputs
    operator.outputs = activation.inputs
    return activation


def narrow_concatenations(model: "Model") -> int:
    """CONCATENATION of more than five -> a tree of CONCATENATIONs of at most five. Returns how many it changed.

    XNNPACK's CONCATENATION takes two to five inputs; the converter merges nested ones into one again.
    """
    changed = 0
    for graph in model.subgraphs:
        operators: list[Any] = []
        for operator in graph.operators:
            if kind(model, operator) == "CONCATENATION" and len(operator.inputs) > CONCATENATION_INPUTS:
                operators += tree(graph, operator)
                changed += 1
            operators.append(operator)
        graph.operators = operators
    return changed


def tree(graph: Any, operator: Any) -> list[Any]:
    """The inner operators of the tree; `operator` itself becomes its root."""
    import copy

    inner: list[Any] = []
    inputs = [int(i) for i in operator.inputs]
    axis = operator.builtinOptions.axis % len(graph.tensors[inputs[0]].shape)
    while len(inputs) > CONCATENATION_INPUTS:
        groups = [inputs[i : i + CONCATENATION_INPUTS] for i in range(0, len(inputs), CONCATENATION_INPUTS)]
        inputs = []
        for group in groups:
            if len(group) == 1:
                inputs += group
                continue
            joined = copy.deepcopy(graph.tensors[group[0]])
            joined.shape = np.array(joined.shape)
            joined.shape[axis] = sum(int(graph.tensors[i].shape[axis]) for i in group)
            joined.name += b"_joined"
            joined.buffer = 0  # the empty one, also where the first part is a constant
            graph.tensors.append(joined)
            node = copy.deepcopy(operator)
            node.inputs, node.outputs = group, [len(graph.tensors) - 1]
            inner.append(node)
            inputs.append(len(graph.tensors) - 1)
    operator.inputs = inputs
    return inner


def half_weights(model: "Model", fan_in: int = 0) -> int:
    """Stores constant float32 weights as float16 behind one DEQUANTIZE each. Returns how many.

    Weights of at most `fan_in` values per output stay float32 (see convert.fp16_weights).

    Biases stay float32: they are few. XNNPACK folds the DEQUANTIZE when it packs the weight, in FP16 where
    the file allows FP16 arithmetic and the processor has it. Raises UserError for a weight beyond FP16's range.
    """
    from ai_edge_litert import schema_py_generated as schema

    code = opcode(model, "DEQUANTIZE")
    changed = 0
    for graph in model.subgraphs:
        added: dict[int, Any] = {}
        for operator in graph.operators:
            position = WEIGHT_INPUT.get(kind(model, operator))
            if position is None:
                continue
            index = int(operator.inputs[position])
            tensor = graph.tensors[index]
            if index in added or not is_constant(model, tensor) or tensor.type != schema.TensorType.FLOAT32:
                continue
            if _per_output(kind(model, operator), tensor) <= fan_in:
                continue
            added[index] = _dequantized(model, graph, tensor, index, code)
        graph.operators = [*added.values(), *graph.operators]
        changed += len(added)
    return changed


def _per_output(operator: str, weight: Any) -> int:
    """Values per output: a depthwise weight is (1, kernel rows, kernel columns, outputs), others (outputs, ...)."""
    shape = [int(n) for n in weight.shape]
    return int(np.prod(shape[1:-1] if operator == "DEPTHWISE_CONV_2D" else shape[1:]))


def _dequantized(model: "Model", graph: Any, tensor: Any, index: int, code: int) -> Any:
    """Moves the constant of `tensor` into a new float16 tensor; returns the DEQUANTIZE that refills it."""
    from ai_edge_litert import schema_py_generated as schema

    values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LARGEST_HALF:
        name = tensor.name.decode(errors="replace")
        raise UserError(
            f"weights within FP16's range (+-{LARGEST_HALF:g})", f"{largest:g} in {name}", "use --fp32"
        )
    half = schema.TensorT()
    half.shape, half.type, half.name = tensor.shape, schema.TensorType.FLOAT16, tensor.name + b"_half"
    half.buffer, half.hasRank = add_buffer(model, values.astype(np.float16).tobytes()), True
    graph.tensors.append(half)
    tensor.buffer = 0  # buffer 0 is the empty one: an activation now
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def drop_unused_buffers(model: "Model") -> None:
    """Empties buffers that nothing refers to any more, such as the float32 form of a halved weight."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def set_metadata(model: "Model", name: str, content: bytes) -> None:
    """Adds or replaces one metadata entry."""
    from ai_edge_litert import schema_py_generated as schema

    model.metadata = [m for m in model.metadata or [] if m.name not in (name, name.encode())]
    entry = schema.MetadataT()
    entry.name, entry.buffer = name.encode(), add_buffer(model, content)
    model.metadata.append(entry)


def shorten_names(model: "Model") -> None:
    """Tensor names without module paths: "a.b.Net/c.Block_1/d.Linear_fc;2" -> "Block_1/Linear_fc;2".

    Thousands of operators repeat them; in full they are a megabyte of the file. Names that are equal then get
    a number: quantization addresses tensors by name.
    """
    for graph in model.subgraphs:
        taken: dict[str, int] = {}
        for tensor in graph.tensors:
            scopes = tensor.name.decode(errors="replace").split(";;")[-1].split("/")
            name = "/".join(scope.rpartition(".")[2] for scope in scopes[1:] or scopes)
            taken[name] = taken.get(name, 0) + 1
            tensor.name = (name if taken[name] == 1 else f"{name}#{taken[name]}").encode()


def fp16_obstacles(model: "Model") -> list[str]:
    """Why the file may not be marked for FP16 arithmetic; empty when nothing stands against it.

    A BATCH_MATMUL with a constant on its left loads on x86 and on ARM cores without FP16, and fails to load
    ("failed to delegate BATCH_MATMUL node") on the very cores that the mark is for.
    """
    return [
        f"BATCH_MATMUL {index} has a constant on its left, which fails to load on ARM cores with FP16"
        for graph in model.subgraphs
        for index, operator in enumerate(graph.operators)
        if kind(model, operator) == "BATCH_MATMUL" and is_constant(model, graph.tensors[operator.inputs[0]])
    ]


def name_signature(model: "Model", inputs: list[str]) -> None:
    """Makes the one signature serving_default: `inputs` in the graph's order -> score."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    assert len(graph.inputs) == len(inputs) and len(graph.outputs) == 1
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
    signature.inputs = [_named(name, index) for name, index in zip(inputs, graph.inputs, strict=True)]
    signature.outputs = [_named(OUTPUT, graph.outputs[0])]
    for name, index in [*zip(inputs, graph.inputs, strict=True), (OUTPUT, graph.outputs[0])]:
        graph.tensors[index].name = name.encode()
    model.signatureDefs = [signature]


def _named(name: str, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), int(index)
    return entry
