"""A model's NCHW input becomes NHWC, the order in which cameras, and all of the model behind its first TRANSPOSE, work.

What reads the input is followed to those TRANSPOSEs: a PAD gets its paddings reordered, a QUANTIZE only another
shape, and the TRANSPOSE goes. Anything else on the way, and the input stays as it is: correct, with two more copies.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb
from convert.flatbuffer.builder import Builder

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

NHWC = [0, 2, 3, 1]  # positions in NCHW


def channels_last(builder: Builder, tensor: int) -> bool:
    """Makes input `tensor` (N, H, W, C) where everything that reads it allows that; returns whether it did."""
    model, graph = builder.model, builder.graph
    way = _way(model, graph, tensor)
    if way is None:
        return False
    for index in [tensor, *(int(o.outputs[0]) for o in way if fb.kind(model, o) != "TRANSPOSE")]:
        turned = graph.tensors[index]
        turned.shape, turned.shapeSignature = np.array(turned.shape)[NHWC], None
    for operator in way:
        if fb.kind(model, operator) == "PAD":
            paddings = _constant(model, graph, operator.inputs[1]).reshape(4, 2)[NHWC]
            operator.inputs = [int(operator.inputs[0]), builder.constant(paddings, "paddings")]
    _bypass(graph, [o for o in way if fb.kind(model, o) == "TRANSPOSE"])
    return True


def _way(model: "Model", graph: Any, tensor: int) -> list[Any] | None:
    """The operators between `tensor` and the TRANSPOSEs to NHWC, those included; None if something else reads it."""
    operators: list[Any] = []
    open_ends = [tensor]
    while open_ends:
        source = open_ends.pop()
        readers = [o for o in graph.operators if source in (int(i) for i in o.inputs)]
        if not readers or source in (int(i) for i in graph.outputs):
            return None
        for reader in readers:
            kind = fb.kind(model, reader)
            if kind not in ("QUANTIZE", "PAD", "TRANSPOSE"):
                return None
            if kind == "TRANSPOSE" and _constant(model, graph, reader.inputs[1]).tolist() != NHWC:
                return None
            if kind != "TRANSPOSE":
                open_ends.append(int(reader.outputs[0]))
            operators.append(reader)
    return operators


def _constant(model: "Model", graph: Any, index: int) -> np.ndarray:
    """An int32 constant; empty where the tensor is none."""
    data = model.buffers[graph.tensors[index].buffer].data
    return np.frombuffer(b"" if data is None else bytes(data), np.int32)


def _bypass(graph: Any, operators: list[Any]) -> None:
    """Removes operators of one output: whatever reads it reads their first input instead."""
    instead = {int(o.outputs[0]): int(o.inputs[0]) for o in operators}
    removed = {id(o) for o in operators}
    graph.operators = [o for o in graph.operators if id(o) not in removed]
    for operator in graph.operators:
        operator.inputs = [instead.get(int(i), int(i)) for i in operator.inputs]
