"""New tensors, constants and operators in a .tflite flatbuffer's object form."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

CONCATENATION_INPUTS = 5  # XNNPACK takes no more at once


class Builder:
    """Appends tensors, constants and operators to one subgraph of `model`."""

    def __init__(self, model: "Model", graph: Any) -> None:
        self.model, self.graph = model, graph
        self.constants: dict[bytes, int] = {}

    def tensor(self, shape: list[int], like: int, name: str) -> int:
        """A new activation of `shape`, of the type of tensor `like`; thousands share one short name."""
        tensor = copy.copy(self.graph.tensors[like])
        tensor.shape, tensor.buffer = np.array(shape, np.int32), 0
        tensor.shapeSignature, tensor.name = None, name.encode()
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: np.ndarray, name: str) -> int:
        """A constant tensor (float32 or int32); equal values share one."""
        from ai_edge_litert import schema_py_generated as schema

        content = values.tobytes()
        key = str((values.dtype, values.shape)).encode() + content
        if key not in self.constants:
            tensor = schema.TensorT()
            kinds = {
                np.dtype(np.float32): schema.TensorType.FLOAT32,
                np.dtype(np.int32): schema.TensorType.INT32,
            }
            tensor.type, tensor.shape = kinds[values.dtype], np.array(values.shape, np.int32)
            tensor.buffer, tensor.name = fb.add_buffer(self.model, content), name.encode()
            tensor.hasRank = True
            self.graph.tensors.append(tensor)
            self.constants[key] = len(self.graph.tensors) - 1
        return self.constants[key]

    def like(self, operator: Any, inputs: list[int], output: int) -> Any:
        """A copy of `operator` on other tensors."""
        node = copy.copy(operator)
        node.inputs, node.outputs = inputs, [output]
        return node

    def operator(self, kind: str, options: str, inputs: list[int], output: int) -> Any:
        """A new operator, such as "ADD" with default "AddOptions"; "" is none, as the converter writes a RESHAPE."""
        from ai_edge_litert import schema_py_generated as schema

        node = schema.OperatorT()
        node.opcodeIndex = fb.opcode(self.model, kind)
        if options:
            node.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            node.builtinOptions = getattr(schema, f"{options}T")()
        node.inputs, node.outputs = inputs, [output]
        return node

    def slice(self, source: int, begin: list[int], size: list[int]) -> tuple[Any, int]:
        """SLICE: the operator and its output."""
        output = self.tensor(size, source, "tile")
        bounds = [self.constant(np.array(v, np.int32), "bounds") for v in (begin, size)]
        return self.operator("SLICE", "SliceOptions", [source, *bounds], output), output

    def join(self, parts: list[int], axis: int, output: int) -> list[Any]:
        """CONCATENATIONs of at most five that fill `output`."""
        node = self.operator("CONCATENATION", "ConcatenationOptions", parts, output)
        node.builtinOptions.axis = axis
        return [*concatenation_tree(self.graph, node), node]


def concatenation_tree(graph: Any, operator: Any) -> list[Any]:
    """The inner operators of the tree; `operator` itself becomes its root."""
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
