"""hard-swish in a form that INT8 kernels compute: x * (x/6 + 1/2), whose second factor is stored in [0, 1].

XNNPACK has no INT8 hard-swish, and each one left alone splits the graph. hard-swish is x * clip(x/6 + 1/2, 0, 1);
when the factor's tensor is quantized to exactly [0, 1], storing it saturates, and saturation is the clip. The edited
file is therefore right only once it is quantized with those ranges: as float it would lack the clip.

Two ranges are narrower for it than the values seen. hard-swish of anything below -3 is 0: where nothing else reads
its input, steps below -3 would be lost. And x/6 beyond +-1/2 gives a factor of 0 or 1 in any case: with a range
that follows x up to 20, it and the factor would be a tenth of 0..1 apart.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb
from convert.flatbuffer.builder import Builder
from convert.int8.statistics.activation_ranges import Range

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model
    from convert.flatbuffer.reader import Graph

GATE: Range = (0.0, 1.0)
LOWEST = -3.06  # hard-swish is 0 from -3 on; a little less, for SIXTH's sake
# Not 1/2: the zero point would fall between two integers, and every factor between two of its own steps.
SIXTH: Range = (-0.51, 0.51)


def hard_swish_inputs(graph: "Graph") -> list[str]:
    """Names of the tensors that a HARD_SWISH reads, and nothing else."""
    kinds = {t: [graph.operators[o].name for o in readers] for t, readers in graph.consumers.items()}
    return [
        graph.tensors[t].name
        for t, readers_of in kinds.items()
        if readers_of == ["HARD_SWISH"] and t not in graph.outputs
    ]


def hard_swish_as_products(model: "Model", ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Replaces every HARD_SWISH by MUL, ADD, MUL, in place; returns the new tensors' ranges.

    `ranges` has every activation's range, by tensor name. An empty result means that there was none.
    """
    added: dict[str, Range] = {}
    for graph in model.subgraphs:
        builder, operators = Builder(model, graph), []
        for operator in graph.operators:
            if fb.kind(model, operator) != "HARD_SWISH":
                operators.append(operator)
                continue
            new, new_ranges = _products(builder, operator, ranges)
            operators += new
            added |= new_ranges
        graph.operators = operators
    return added


def _products(
    builder: Builder, operator: Any, ranges: Mapping[str, Range]
) -> tuple[list[Any], dict[str, Range]]:
    """The three operators in the place of one, and the ranges of the two tensors between them."""
    tensors = builder.graph.tensors
    x, y = int(operator.inputs[0]), int(operator.outputs[0])
    shape, name = tensors[x].shape, tensors[y].name.decode()
    low, high = ranges[tensors[x].name.decode()]
    sixth, gate = (builder.tensor(shape, x, f"{name}/{part}") for part in ("sixth", "gate"))
    by_six, half = (
        builder.constant(np.float32([v]), f"hard-swish/{part}")
        for v, part in ((1 / 6, "sixth"), (0.5, "half"))
    )
    operators = [
        builder.operator("MUL", "MulOptions", [x, by_six], sixth),
        builder.operator("ADD", "AddOptions", [sixth, half], gate),
        builder.operator("MUL", "MulOptions", [x, gate], y),
    ]
    sixths = (max(low / 6, SIXTH[0]), min(high / 6, SIXTH[1]))
    return operators, {f"{name}/sixth": sixths, f"{name}/gate": GATE}
