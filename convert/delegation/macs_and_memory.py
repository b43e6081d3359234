"""What a graph costs before it runs: multiply-accumulates, parameters, and the most memory it needs at once.

All counts come from the shapes in the file. MACs are those of convolutions and matrix products; operators of
any other kind count 0 and are weighed by the values they write instead (a GELU's cost, say). Peak memory is
the least that holds every live activation when nothing runs in place: fragmentation, XNNPACK's packed weights
and its workspace come on top, and an allocator that reuses an input's memory stays below.
"""

import math
from dataclasses import dataclass

from convert.flatbuffer.reader import Graph, Operator, Tensor
from mobileiqa.errors import UserError

_MATRIX_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")
_WEIGHT_TYPES = ("float32", "float16", "bfloat16", "int8", "uint8", "int4", "int2")


@dataclass(frozen=True)
class Peak:
    """The moment that needs most memory: the operator that runs, and what is live then, largest first."""

    nbytes: int
    operator: int  # -1 in a graph without operators
    live: tuple[int, ...]  # tensor indices


def macs(graph: Graph, op: Operator) -> int:
    """Multiply-accumulates of one run of `op`; 0 for everything but convolutions and matrix products.

    Raises UserError for a matrix operator without the operands that it must have.
    """
    if op.name not in _MATRIX_OPERATORS:
        return 0
    try:
        return _matrix_macs(graph, op)
    except IndexError as error:
        raise UserError(
            f"the operands of {op.name} #{op.index} in {graph.path}",
            f"inputs {list(op.inputs)}, outputs {list(op.outputs)} of too few dimensions",
            "convert the file again",
        ) from error


def _matrix_macs(graph: Graph, op: Operator) -> int:
    left, right = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
    written = graph.tensors[op.outputs[0]].elements
    if op.name == "CONV_2D":  # weights (out, kh, kw, in of the group)
        return written * math.prod(right.shape[1:])
    if op.name == "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, out)
        return written * math.prod(right.shape[:-1])
    if op.name == "FULLY_CONNECTED":  # weights (out, in)
        return written * right.shape[-1]
    if op.name == "TRANSPOSE_CONV":  # weights (out, kh, kw, in): a value read meets out * kh * kw of them
        return graph.tensors[op.inputs[2]].elements * math.prod(right.shape[:-1])
    return written * left.shape[-2 if op.option("adjX", False) else -1]  # BATCH_MATMUL


def values(graph: Graph, op: Operator) -> int:
    """How many values `op` writes."""
    return sum(graph.tensors[i].elements for i in op.outputs)


def parameters(graph: Graph) -> int:
    """Weights and biases in the file, each buffer once; shapes, axes and other indices do not count."""
    buffers = {t.buffer: t.elements for t in graph.tensors if t.constant and _is_weight(t)}
    return sum(buffers.values())


def _is_weight(tensor: Tensor) -> bool:
    # An 8-bit layer's bias is int32 with a scale; an int32 without one is a shape, an axis or an index.
    return tensor.dtype in _WEIGHT_TYPES or (tensor.dtype == "int32" and bool(tensor.scales))


def lifetimes(graph: Graph) -> dict[int, tuple[int, int]]:
    """Activation -> (operator that writes it, last operator that reads it); the graph's inputs start at 0.

    Constants have no lifetime, and neither has what is only dequantized from them (FP16 weights): runtimes
    unpack that once, while they prepare. Outputs of the graph live to its end.
    """
    unpacked = {
        i
        for op in graph.operators
        for i in op.outputs
        if op.name == "DEQUANTIZE" and all(graph.tensors[i].constant for i in op.inputs)
    }
    born = dict.fromkeys(graph.inputs, 0)
    born |= {i: op.index for op in graph.operators for i in op.outputs if i not in unpacked}
    last = len(graph.operators) - 1
    return {
        i: (start, last if i in graph.outputs else max((start, *graph.consumers.get(i, ()))))
        for i, start in born.items()
        if not graph.tensors[i].constant
    }


def peak(graph: Graph) -> Peak:
    """The operator at which the live activations (its own inputs and outputs among them) need most bytes."""
    if not graph.operators:
        return Peak(0, -1, ())
    spans = lifetimes(graph)
    change = [0] * (len(graph.operators) + 1)
    for tensor, (start, end) in spans.items():
        change[start] += graph.tensors[tensor].nbytes
        change[end + 1] -= graph.tensors[tensor].nbytes
    most, at, held = 0, -1, 0
    for op in graph.operators:
        held += change[op.index]
        if held > most:
            most, at = held, op.index
    live = [t for t, (start, end) in spans.items() if start <= at <= end]
    return Peak(most, at, tuple(sorted(live, key=lambda t: -graph.tensors[t].nbytes)))
