"""hard-swish in a form that INT8 kernels compute: x * (x/6 + 1/2), whose second factor is stored in [0, 1].

XNNPACK has no INT8 hard-swish, and each one left alone splits the graph. hard-swish is x * clip(x/6 + 1/2, 0, 1);
when the factor's tensor is quantized to exactly [0, 1], storing it saturates, and saturation is the clip. The edited
file is therefore right only once it is quantized with those ranges: as float it would lack the clip.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convert import flatbuffer as fb
from convert.int8.ranges import Range

if TYPE_CHECKING:
    from convert.flatbuffer import Model

GATE: Range = (0.0, 1.0)


def hard_swish_as_products(model: "Model", ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Replaces every HARD_SWISH by MUL, ADD, MUL, in place; returns the new tensors' ranges.

    `ranges` has every activation's range, by tensor name. An empty result means that there was none.
    """
    added: dict[str, Range] = {}
    for graph in model.subgraphs:
        operators: list[Any] = []
        for operator in graph.operators:
            if fb.kind(model, operator) != "HARD_SWISH":
                operators.append(operator)
                continue
            new, found = _products(model, graph, operator, ranges)
            operators += new
            added |= found
        graph.operators = operators
    return added


def _products(
    model: "Model", graph: Any, operator: Any, ranges: Mapping[str, Range]
) -> tuple[list[Any], dict[str, Range]]:
    """The three operators in the place of one, and the ranges of the two tensors between them."""
    x, y = int(operator.inputs[0]), int(operator.outputs[0])
    name = graph.tensors[y].name.decode()
    low, high = ranges[graph.tensors[x].name.decode()]
    sixth = _like(graph, x, f"{name}/sixth")
    gate = _like(graph, x, f"{name}/gate")
    operators = [
        _binary(model, "MUL", (x, _constant(model, graph, f"{name}/6", 1 / 6)), sixth),
        _binary(model, "ADD", (sixth, _constant(model, graph, f"{name}/half", 0.5)), gate),
        _binary(model, "MUL", (x, gate), y),
    ]
    return operators, {f"{name}/sixth": (low / 6, high / 6), f"{name}/gate": GATE}


def _like(graph: Any, index: int, name: str) -> int:
    """A new activation of the shape and type of tensor `index`."""
    from ai_edge_litert import schema_py_generated as schema

    model, tensor = graph.tensors[index], schema.TensorT()
    tensor.shape, tensor.shapeSignature, tensor.type = model.shape, model.shapeSignature, model.type
    tensor.name, tensor.buffer = name.encode(), 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _constant(model: "Model", graph: Any, name: str, value: float) -> int:
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.shape, tensor.type = np.array([1], np.int32), schema.TensorType.FLOAT32
    tensor.name, tensor.buffer = name.encode(), fb.add_buffer(model, np.float32([value]).tobytes())
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _binary(model: "Model", kind: str, inputs: tuple[int, int], output: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex = fb.opcode(model, kind)
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    options = {"MUL": ("MulOptions", schema.MulOptionsT), "ADD": ("AddOptions", schema.AddOptionsT)}[kind]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
    operator.builtinOptions = options[1]()
    return operator
