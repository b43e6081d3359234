"""Chains of convolutions cut into bands of rows: convert.rewrites.bands has the equation, and why.

Exported one by one, row ranges are thousands of operators, for each of which PyTorch's exporter and the converter
take 30 ms: at 1907x1231 a minute of CPU and 4 GB. So a chain is exported whole (convert.rewrites.core.compact), and
cut here, into the same operators.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convert import row_ranges
from convert.flatbuffer.builder import Builder
from convert.flatbuffer.links import Links
from convert.row_ranges import RowLayer, Rows

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

ACTIVATIONS = (
    "HARD_SWISH",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RELU_0_TO_1",
    "GELU",
    "ELU",
    "LOGISTIC",
    "TANH",
)
SAME, VALID = 0, 1  # the schema's Padding


@dataclass(frozen=True)
class Layer:
    """A convolution of a chain, the PAD before it and the activation after it, where they are operators."""

    conv: Any
    pad: Any | None
    activation: Any | None

    @property
    def operators(self) -> list[Any]:
        """In the graph's order."""
        return [o for o in (self.pad, self.conv, self.activation) if o is not None]


def cut_bands(model: "Model") -> int:
    """Cuts every chain whose widest map exceeds row_ranges.BAND_BYTES into bands. Returns how many chains."""
    links = Links(model)
    chains = []
    for operator in links.graph.operators:
        chain = _chain(links, operator) if links.kind(operator) == "DEPTHWISE_CONV_2D" else None
        if chain and len(_bands(links, chain)) > 1:
            chains.append(chain)
    builder = Builder(model, links.graph)
    return links.replace(
        [([o for part in c for o in part.operators], _banded(builder, links, c)) for c in chains]
    )


def _chain(links: Links, depthwise: Any) -> list[Layer] | None:
    """(expand ->) depthwise -> project; None where it is no such chain, or where others read what is inside."""
    middle = _layer(links, depthwise)
    project = links.after(middle.operators[-1])
    if (
        project is None
        or not _pointwise(links, project)
        or links.constant(depthwise.inputs[1], np.float32) is None
    ):
        return None
    chain, first = [middle, Layer(project, None, None)], middle.operators[0]
    before = links.before(first)
    expand = links.before(before) if links.kind(before) in ACTIVATIONS else before
    if expand is None or not _pointwise(links, expand):
        return chain
    layer = _layer(links, expand)
    active = layer.activation is not None or expand.builtinOptions.fusedActivationFunction
    return [layer, *chain] if active else chain  # without: the projection of the block before


def _layer(links: Links, conv: Any) -> Layer:
    pad, activation = links.before(conv), links.after(conv)
    padded = (
        links.kind(pad) == "PAD" and _padding(links, pad) is not None and conv.builtinOptions.padding == VALID
    )
    return Layer(conv, pad if padded else None, activation if links.kind(activation) in ACTIVATIONS else None)


def _pointwise(links: Links, operator: Any) -> bool:
    """Whether it is a 1x1 convolution with a constant float32 weight."""
    if links.kind(operator) != "CONV_2D" or links.constant(operator.inputs[1], np.float32) is None:
        return False
    options = operator.builtinOptions
    return links.shape(operator.inputs[1])[1:3] == [1, 1] and options.strideH == options.strideW == 1


def _padding(links: Links, pad: Any) -> np.ndarray | None:
    """Zeros ((above, below), (left, right)) that a PAD adds; None where it pads images or channels too."""
    values = links.constant(pad.inputs[1], np.int32)
    return None if values is None or len(values) != 4 or values[0].any() or values[3].any() else values[1:3]


def _zeros(links: Links, layer: Layer) -> np.ndarray:
    """Zeros ((above, below), (left, right)) around what the convolution reads, in whichever way the file says it."""
    if layer.pad is not None:
        padding = _padding(links, layer.pad)
        assert padding is not None  # _layer has asked
        return padding
    if layer.conv.builtinOptions.padding == VALID:
        return np.zeros((2, 2), np.int32)
    return _same_zeros(links, layer.conv, links.shape(layer.conv.inputs[0])[1:3])


def _same_zeros(links: Links, conv: Any, sizes: list[int]) -> np.ndarray:
    """Zeros ((above, below), (left, right)) that SAME adds to a map of `sizes` (rows, columns)."""
    kernel = links.shape(conv.inputs[1])[1:3]
    strides = (conv.builtinOptions.strideH, conv.builtinOptions.strideW)
    axes = zip(sizes, kernel, strides, strict=True)
    return np.array([row_ranges.same_zeros(*axis) for axis in axes], np.int32)


def _bands(links: Links, chain: list[Layer]) -> list[tuple[int, int]]:
    """The bands of the chain's output rows; one where a convolution is dilated."""
    outputs = [links.shape(layer.conv.outputs[0]) for layer in chain]
    if any(
        o.dilationHFactor != 1 or o.dilationWFactor != 1 for o in (part.conv.builtinOptions for part in chain)
    ):
        return [(0, outputs[-1][1])]
    return row_ranges.bands(max(4 * int(np.prod(shape[1:])) for shape in outputs), outputs[-1][1])


def _banded(builder: Builder, links: Links, chain: list[Layer]) -> list[Any]:
    """The operators that compute what the chain computes, band by band."""
    zeros = [_zeros(links, layer) for layer in chain]
    source, output = int(chain[0].operators[0].inputs[0]), int(chain[-1].conv.outputs[0])
    heights = [links.shape(layer.operators[0].inputs[0])[1] for layer in chain]
    layers = [
        RowLayer(
            height, links.shape(part.conv.inputs[1])[1], part.conv.builtinOptions.strideH, int(around[0, 0])
        )
        for part, height, around in zip(chain, heights, zeros, strict=True)
    ]
    _, _, width, channels = links.shape(source)
    operators: list[Any] = []
    parts: list[int] = []
    for start, stop in _bands(links, chain):
        rows = row_ranges.reads(layers, start, stop)
        node, part = builder.slice(
            source, [0, rows[0].start, 0, 0], [1, rows[0].stop - rows[0].start, width, channels]
        )
        operators.append(node)
        for layer, read, around in zip(chain, rows, zeros, strict=True):
            nodes, part = _row_range(builder, links, layer, read, around[1], part)
            operators += nodes
        parts.append(part)
    return operators + builder.join(parts, 1, output)


def _row_range(builder: Builder, links: Links, layer: Layer, rows: Rows, sides: np.ndarray, part: int
               ) -> tuple[list[Any], int]:  # fmt: skip
    """One layer of one band: its operators and its output. `sides`: the zeros left and right."""
    operators: list[Any] = []
    _, height, width, channels = links.shape(part)
    around = np.array([[0, 0], [rows.above, rows.below], sides, [0, 0]], np.int32)
    same = around.any() and np.array_equal(around[1:3], _same_zeros(links, layer.conv, [height, width]))
    if around.any() and not same:
        padded = builder.tensor([1, height + sum(around[1]), width + sum(sides), channels], part, "band")
        operators.append(
            builder.operator("PAD", "PadOptions", [part, builder.constant(around, "zeros")], padded)
        )
        part = padded
    kernel, stride = links.shape(layer.conv.inputs[1])[1], layer.conv.builtinOptions.strideH
    _, _, width, channels = links.shape(layer.conv.outputs[0])
    shape = [1, (height + rows.above + rows.below - kernel) // stride + 1, width, channels]
    for operator in (layer.conv, layer.activation):
        if operator is None:
            continue
        output = builder.tensor(shape, int(operator.outputs[0]), "band")
        node = builder.like(operator, [part, *(int(i) for i in operator.inputs[1:])], output)
        if operator is layer.conv:
            node.builtinOptions = copy.copy(operator.builtinOptions)
            node.builtinOptions.padding = SAME if same else VALID
        operators.append(node)
        part = output
    return operators, part
