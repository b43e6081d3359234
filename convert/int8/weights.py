"""The constant weights of a file, FP32 or INT8: which operators have one, and reading and replacing them.

As matrices, weights are (groups, outputs of a group, inputs of an output): one group for FULLY_CONNECTED and most
CONV_2D, one for each channel of DEPTHWISE_CONV_2D.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model


def weighted(model: "Model") -> list[tuple[Any, int]]:
    """(operator, its weight's tensor index) in the graph's order, which quantization does not change.

    Weights in 8 bits that are computed in float stand behind a DEQUANTIZE: the index is of what it reads.
    """
    graph = model.subgraphs[0]
    behind = {
        int(o.outputs[0]): int(o.inputs[0]) for o in graph.operators if fb.kind(model, o) == "DEQUANTIZE"
    }
    operators = []
    for operator in graph.operators:
        if (position := fb.WEIGHT_INPUT.get(fb.kind(model, operator))) is not None:
            index = int(operator.inputs[position])
            index = behind.get(index, index)
            if fb.is_constant(model, graph.tensors[index]):
                operators.append((operator, index))
    return operators


def bias_of(operator: Any) -> int | None:
    """The tensor index of a weighted operator's bias, where it has one."""
    return int(operator.inputs[2]) if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None


def values(model: "Model", index: int) -> NDArray[Any]:
    """A constant tensor's values: float32, int8 or int32, in its shape."""
    from ai_edge_litert.schema_py_generated import TensorType

    tensor = model.subgraphs[0].tensors[index]
    types = {TensorType.FLOAT32: np.float32, TensorType.INT8: np.int8, TensorType.INT32: np.int32}
    content = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    return np.frombuffer(content, types[tensor.type]).reshape([int(n) for n in tensor.shape])


def scales(model: "Model", index: int) -> NDArray[np.float64]:
    """A quantized tensor's scales: one, or one for each channel."""
    return np.asarray(model.subgraphs[0].tensors[index].quantization.scale, np.float64)


def replace(model: "Model", index: int, new: NDArray[Any]) -> None:
    """Gives a constant tensor other values, cast to its type; a buffer that others share is left alone."""
    new = new.astype(values(model, index).dtype)
    model.subgraphs[0].tensors[index].buffer = fb.add_buffer(model, new.tobytes())


def matrices(kind: str, weight: NDArray[Any], channels: int) -> NDArray[Any]:
    """(groups, outputs, inputs) of a weight as TFLite stores it; `channels`: of the operator's input."""
    if kind == "DEPTHWISE_CONV_2D":
        return weight.reshape(-1, channels, weight.shape[-1] // channels).transpose(1, 2, 0)
    groups = channels // weight.shape[-1] if kind == "CONV_2D" else 1
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def stored(kind: str, weight: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The reverse of `matrices`: the weight in TFLite's layout, of `shape`."""
    return (weight.transpose(2, 0, 1) if kind == "DEPTHWISE_CONV_2D" else weight).reshape(shape)
