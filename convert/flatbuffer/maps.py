"""Maps as kernels like them best: means without a TRANSPOSE, zeros at their edges without a pass over them.

XNNPACK fuses a PAD into the convolution behind it in FP32 and in 8 bits, and not in FP16, where it runs value by value:
a tenth of the instructions of an FP16 MobileNetV3 on a cortex-a76.
"""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from convert import row_ranges
from convert.flatbuffer.builder import Builder
from convert.flatbuffer.links import Links

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

NCHW, NHWC = [0, 3, 1, 2], [0, 2, 3, 1]  # positions of the axes in the other layout
SAME, VALID = 0, 1  # the schema's Padding


def means_of_maps(model: "Model") -> int:
    """TRANSPOSE to NCHW -> MEAN over (2, 3) becomes MEAN over (1, 2); returns how many there were.

    The same values are added in another order.
    """
    links = Links(model)
    builder, sites = Builder(model, links.graph), []
    for mean in links.graph.operators:
        transpose = links.before(mean) if links.kind(mean) == "MEAN" else None
        if not _is_transpose(links, transpose, NCHW) or mean.builtinOptions.keepDims:
            continue
        if sorted(links.constant(mean.inputs[1], np.int32).ravel().tolist()) == [2, 3]:
            axes = builder.constant(np.array([1, 2], np.int32), "rows_and_columns")
            inputs = [int(transpose.inputs[0]), axes]
            sites.append(([transpose, mean], [builder.like(mean, inputs, int(mean.outputs[0]))]))
    return links.replace(sites)


def same_padding(model: "Model") -> int:
    """PAD of an NCHW image -> TRANSPOSE -> CONV_2D loses its PAD where SAME adds the same zeros. Returns how many."""
    links = Links(model)
    builder, sites = Builder(model, links.graph), []
    for conv in links.graph.operators:
        transpose = links.before(conv) if links.kind(conv) == "CONV_2D" else None
        pad = links.before(transpose) if _is_transpose(links, transpose, NHWC) else None
        zeros = _zeros(links, pad)
        if zeros is None or not np.array_equal(zeros, _same_zeros(links, conv, int(pad.inputs[0]))):
            continue
        image, turned = int(pad.inputs[0]), int(transpose.outputs[0])
        unpadded = builder.tensor([links.shape(image)[axis] for axis in NHWC], turned, "channels_last")
        convolution = builder.like(conv, [unpadded, *(int(i) for i in conv.inputs[1:])], int(conv.outputs[0]))
        convolution.builtinOptions = copy.copy(conv.builtinOptions)
        convolution.builtinOptions.padding = SAME
        turn = builder.like(transpose, [image, int(transpose.inputs[1])], unpadded)
        sites.append(([pad, transpose, conv], [turn, convolution]))
    return links.replace(sites)


def zeros_by_concatenation(model: "Model") -> int:
    """PAD of a float map becomes CONCATENATIONs with stored zeros; returns how many there were.

    On an ARM core with FP16 arithmetic that is a third to a fortieth of the PAD. Elsewhere the PAD was part of the
    convolution behind it, and this costs two copies of the map: for phones alone.
    """
    from ai_edge_litert.schema_py_generated import TensorType

    links = Links(model)
    builder, sites = Builder(model, links.graph), []
    for pad in links.graph.operators:
        zeros = _zeros(links, pad)
        if (
            zeros is None
            or not zeros.any()
            or links.graph.tensors[int(pad.inputs[0])].type != TensorType.FLOAT32
        ):
            continue
        sites.append(([pad], _joined(builder, links, pad, zeros)))
    return links.replace(sites)


def _joined(builder: Builder, links: Links, pad: Any, zeros: np.ndarray) -> list[Any]:
    """Columns first, then rows: the other way round, a column would be as long as the padded map is high."""
    part, operators = int(pad.inputs[0]), []
    name = links.graph.tensors[int(pad.outputs[0])].name.decode()
    axes = [axis for axis in reversed(range(len(zeros))) if zeros[axis].any()]
    for axis in axes:
        shape = links.shape(part)
        edges = [_edge(builder, shape, axis, int(count)) for count in zeros[axis]]
        shape[axis] += int(zeros[axis].sum())
        output = int(pad.outputs[0]) if axis == axes[-1] else builder.tensor(shape, part, f"{name}/padded")
        operators += builder.join([t for t in (edges[0], part, edges[1]) if t is not None], axis, output)
        part = output
    return operators


def _edge(builder: Builder, shape: list[int], axis: int, count: int) -> int | None:
    """Stored zeros of `shape` but for `count` along `axis`; None where there are none."""
    size = [*shape[:axis], count, *shape[axis + 1 :]]
    return builder.constant(np.zeros(size, np.float32), "zeros") if count else None


def _is_transpose(links: Links, operator: Any, order: list[int]) -> bool:
    if links.kind(operator) != "TRANSPOSE":
        return False
    permutation = links.constant(operator.inputs[1], np.int32)
    return permutation is not None and permutation.ravel().tolist() == order


def _zeros(links: Links, pad: Any) -> np.ndarray | None:
    """Zeros (before, behind) that a PAD adds on each axis; None where it is no PAD by constants."""
    return links.constant(pad.inputs[1], np.int32) if links.kind(pad) == "PAD" else None


def _same_zeros(links: Links, conv: Any, image: int) -> np.ndarray | None:
    """Zeros (before, behind) that SAME adds on each axis of the NCHW `image`; None for a SAME convolution."""
    options = conv.builtinOptions
    if options.padding == SAME:
        return None
    kernel = links.shape(conv.inputs[1])[1:3]
    dilations, strides = (
        (options.dilationHFactor, options.dilationWFactor),
        (options.strideH, options.strideW),
    )
    reaches = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    axes = zip(links.shape(image)[2:], reaches, strides, strict=True)
    return np.array([(0, 0), (0, 0), *(row_ranges.same_zeros(*axis) for axis in axes)], np.int32)
