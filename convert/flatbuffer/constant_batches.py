"""Operators whose constant LiteRT's GPU accelerator reads wrong, and the RESHAPEs that mend them.

To the accelerator the first of an activation's two or three dimensions is a batch. A constant has no batch before it
has four dimensions, so (N, K) + (N, K) adds the first row to all, and it reports that all of it runs on the GPU. Seen
with each pair of shapes below on LiteRT 2.3 (ML Drift over Vulkan); two activations of the same shapes are right.
"""

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer.builder import Builder
from convert.flatbuffer.model import is_constant, kind

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

Shape = tuple[int, ...]
MOST_DIMENSIONS = 4  # that the accelerator takes
# Operators of two operands, each value by itself, that the accelerator takes.
ELEMENTWISE = (
    "ADD", "SUB", "MUL", "DIV", "POW", "FLOOR_DIV", "FLOOR_MOD", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE",
    "EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL",
)  # fmt: skip


def misread(values: Shape, constant: Shape) -> bool:
    """Whether the constant that an activation of shape `values` is combined with is read wrong.

    (N, K) and (N, K) or (N, 1), (N,) and (N,), (B, N, K) and (B, N, K): a constant for each of a batch. (N, K) and
    (1, N, K): rows that are a batch of the activation and none of the constant. (1, H, W, C) and (B, H, W, C): the
    constant's batch is not the activation's. A single number, or a constant of fewer dimensions, is read right.
    """
    rank = len(constant)
    if math.prod(constant) == 1 or not len(values) <= rank <= MOST_DIMENSIONS:
        return False
    fewer = len(values) < rank
    first = values[0] if values else 1
    if constant[0] > 1:
        return rank < MOST_DIMENSIONS or fewer or first == 1
    return fewer and first > 1


def without_constant_batches(model: "Model") -> int:
    """Dimensions of 1 come in front of both operands that `misread` names, where that mends them.

    (N, K) + (N, K) becomes RESHAPE to (1, N, K), + (1, N, K), RESHAPE back. float32 only: it runs before quantization.
    Returns how many there were.
    """
    count = 0
    for graph in model.subgraphs:
        builder = Builder(model, graph)
        operators: list[Any] = []
        for operator in graph.operators:
            operands = _misread_operands(model, graph, operator)
            operators += (
                [operator] if operands is None else _with_more_dimensions(builder, operator, *operands)
            )
            count += operands is not None
        graph.operators = operators
    return count


def _misread_operands(model: "Model", graph: Any, operator: Any) -> tuple[int, int] | None:
    """Which input is the activation and which the constant; None for an operator that stays."""
    from ai_edge_litert import schema_py_generated as schema

    if kind(model, operator) not in ELEMENTWISE or len(operator.inputs) != 2 or min(operator.inputs) < 0:
        return None
    tensors = [graph.tensors[int(i)] for i in operator.inputs]
    constant = [is_constant(model, tensor) for tensor in tensors]
    if sum(constant) != 1 or any(tensor.type != schema.TensorType.FLOAT32 for tensor in tensors):
        return None
    if any(min(_list(tensor.shapeSignature), default=0) < 0 for tensor in tensors):  # known at run time
        return None
    at = constant.index(False), constant.index(True)
    shapes = [tuple(_list(tensors[i].shape)) for i in at]
    return at if misread(*shapes) and not misread(*_longer(*shapes)) else None


def _list(values: Any) -> list[int]:
    return [] if values is None else [int(n) for n in values]


def _longer(values: Shape, constant: Shape) -> tuple[Shape, Shape]:
    """Both with as many dimensions as the constant has, or one more where its first is a batch."""
    rank = min(len(constant) + (constant[0] > 1), MOST_DIMENSIONS)
    return (1,) * (rank - len(values)) + values, (1,) * (rank - len(constant)) + constant


def _with_more_dimensions(builder: Builder, operator: Any, values_at: int, constant_at: int) -> list[Any]:
    """RESHAPE of the activation, the operator, RESHAPE to its own output."""
    tensors = builder.graph.tensors
    values, constant = (int(operator.inputs[i]) for i in (values_at, constant_at))
    output = int(operator.outputs[0])
    values_shape, constant_shape = _longer(*(tuple(_list(tensors[i].shape)) for i in (values, constant)))
    longer = copy.copy(tensors[constant])
    longer.shape, longer.shapeSignature = np.array(constant_shape, np.int32), None
    tensors.append(longer)
    operands = {
        constant_at: len(tensors) - 1,
        values_at: builder.tensor(list(values_shape), values, "longer"),
    }
    result = builder.tensor(list(np.broadcast_shapes(values_shape, constant_shape)), output, "longer")
    nodes = [
        _reshape(builder, values, operands[values_at]),
        operator,
        _reshape(builder, result, output),
    ]
    operator.inputs, operator.outputs = [operands[0], operands[1]], [result]
    return nodes


def _reshape(builder: Builder, source: int, output: int) -> Any:
    shape = np.array(_list(builder.graph.tensors[output].shape), np.int32)
    return builder.operator("RESHAPE", "", [source, builder.constant(shape, "shape")], output)
