"""Passes on the flatbuffer: what no converter does for us. Each changes a model in place and says how often.

To add one: a function here or in a file of its own, a row in PASSES, a sibling test (operators before and after, then
numerics).
"""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer.builder import CONCATENATION_INPUTS, Builder, concatenation_tree
from convert.flatbuffer.cache_tiling import tile_strips
from convert.flatbuffer.constant_batches import without_constant_batches
from convert.flatbuffer.maps import means_of_maps, same_padding
from convert.flatbuffer.model import is_constant, kind, opcode
from convert.flatbuffer.row_bands import cut_bands
from convert.flatbuffer.row_strips import cut_strips

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model


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


def without_constant_divisions(model: "Model") -> int:
    """DIV by a float32 constant becomes MUL by its reciprocal, rounded once; returns how many there were.

    A divisor with a zero stays, and with it its infinities: `refuse_miscomputed` names it.
    """
    count = 0
    for graph in model.subgraphs:
        builder = Builder(model, graph)
        for operator in graph.operators:
            reciprocal = _reciprocal(model, graph, operator)
            if reciprocal is None:
                continue
            inputs = [int(operator.inputs[0]), builder.constant(reciprocal, "reciprocal")]
            multiply = builder.operator("MUL", "MulOptions", inputs, int(operator.outputs[0]))
            fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
            multiply.builtinOptions.fusedActivationFunction = fused
            operator.__dict__.update(multiply.__dict__)
            count += 1
    return count


def _reciprocal(model: "Model", graph: Any, operator: Any) -> np.ndarray | None:
    """1 / divisor in float32, (its shape); None where `operator` is no DIV by float32 constants other than zero."""
    from ai_edge_litert import schema_py_generated as schema

    if kind(model, operator) != "DIV":
        return None
    tensor = graph.tensors[int(operator.inputs[1])]
    if tensor.type != schema.TensorType.FLOAT32 or not is_constant(model, tensor):
        return None
    values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        reciprocal = (1.0 / values.astype(np.float64)).astype(np.float32)
    shape = () if tensor.shape is None else tuple(int(n) for n in tensor.shape)
    return reciprocal.reshape(shape) if np.isfinite(reciprocal).all() else None


def narrow_concatenations(model: "Model") -> int:
    """CONCATENATION of more than five -> a tree of CONCATENATIONs of at most five. Returns how many it changed.

    XNNPACK's CONCATENATION takes two to five inputs; the converter merges nested ones into one again.
    """
    changed = 0
    for graph in model.subgraphs:
        operators: list[Any] = []
        for operator in graph.operators:
            if kind(model, operator) == "CONCATENATION" and len(operator.inputs) > CONCATENATION_INPUTS:
                operators += concatenation_tree(graph, operator)
                changed += 1
            operators.append(operator)
        graph.operators = operators
    return changed


def shorten_names(model: "Model") -> int:
    """Tensor names without module paths: "a.b.Net/c.Block_1/d.Linear_fc;2" -> "Block_1/Linear_fc;2".

    Thousands of operators repeat them; in full they are a megabyte of the file. Names that are equal then get
    a number: quantization addresses tensors by name. Returns how many it changed.
    """
    changed = 0
    for graph in model.subgraphs:
        taken: dict[str, int] = {}
        for tensor in graph.tensors:
            scopes = tensor.name.decode(errors="replace").split(";;")[-1].split("/")
            name = "/".join(scope.rpartition(".")[2] for scope in scopes[1:] or scopes)
            taken[name] = taken.get(name, 0) + 1
            short = (name if taken[name] == 1 else f"{name}#{taken[name]}").encode()
            changed += short != tensor.name
            tensor.name = short
    return changed


# First, where modules were exported whole (convert.rewrites.core.compact). Other exports hold row ranges already.
CUTS: "tuple[Callable[[Model], int], ...]" = (cut_bands, cut_strips)

# The order in which they are applied: names come last, so that what a pass adds has a short one too.
PASSES: "tuple[Callable[[Model], int], ...]" = (
    batch_matmuls,
    without_constant_divisions,
    without_constant_batches,
    means_of_maps,
    same_padding,
    narrow_concatenations,
    tile_strips,
    shorten_names,
)
