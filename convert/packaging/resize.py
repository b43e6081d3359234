"""A resize inside the graph that gives Pillow's 8-bit pixels: constant matrices, a block of outputs at a time.

    across:  for every 4 to 16 output columns   SLICE -> RESHAPE -> DEQUANTIZE -> FULLY_CONNECTED -> QUANTIZE,
             then CONCATENATION
    down:    TRANSPOSE, the same for every 32 output rows but for the RESHAPE, TRANSPOSE

Across first, as Pillow; down first where a photo is much too tall, as Pillow 13 and later.

An output reads a few neighbours only, so a block's matrix is small and a block's float values (two or three
megabytes of a 12 megapixel photo) are all that exists in float: the photo as float32 would be 150 MB. Images
between the passes are uint8 of scale 1, so QUANTIZE is Pillow's rounding and clipping between its passes. It
rounds half to even where Pillow rounds half up: a bias of 2^-15 turns exact ties, which small ratios make often.
XNNPACK takes all of these operators. Channels stay interleaved in the first pass: two thirds of its products are
with zeros, which costs less than separating 36 million bytes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer.builder import Builder
from mobileiqa.spec import Resample

# Outputs per block. Wider blocks multiply with more zeros, narrower ones copy more of the input twice: 16 columns
# are best where two pixels become one, 4 where ten do (measured on 4032x3024).
COLUMNS = range(4, 17)
READ = 40  # input columns per block that decide between these
ROWS = 32
TIE = 2.0**-15  # float32 still holds it beside 255; a sum this close below a half becomes one grey level more


@dataclass(frozen=True)
class GraphBuilder:
    """Where operators are drawn: `byte` and `real` are a uint8 and a float32 tensor, models of all new ones."""

    builder: Builder
    byte: int
    real: int
    nodes: list[Any] = field(default_factory=list)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(int(n) for n in self.builder.graph.tensors[tensor].shape)

    def add(self, kind: str, inputs: list[int], output: int, options: str = "") -> int:
        """Appends an operator with the options of its kind, or `options`; returns `output`."""
        options = options or "".join(word.title() for word in kind.split("_")) + "Options"
        self.nodes.append(self.builder.operator(kind, options, inputs, output))
        return output

    def bytes(self, *shape: int) -> int:
        """A new uint8 tensor of scale 1."""
        return self.builder.tensor(list(shape), self.byte, "pixels")

    def reals(self, *shape: int) -> int:
        """A new float32 tensor."""
        return self.builder.tensor(list(shape), self.real, "values")

    def integers(self, *values: Any) -> int:
        """An int32 constant."""
        return self.builder.constant(np.array(values, np.int32), "numbers")

    def slice(self, image: int, begin: list[int], size: list[int]) -> int:
        """SLICE."""
        node, output = self.builder.slice(image, begin, size)
        self.nodes.append(node)
        return output

    def reshape(self, image: int, *shape: int) -> int:
        """RESHAPE of an image."""
        output = self.bytes(*shape)
        self.add("RESHAPE", [image, self.integers(*shape)], output)
        self.nodes[-1].builtinOptions.newShape = np.array(shape, np.int32)
        return output

    def transpose(self, matrix: int) -> int:
        """TRANSPOSE of a matrix of bytes."""
        rows, columns = self.shape(matrix)
        return self.add("TRANSPOSE", [matrix, self.integers(1, 0)], self.bytes(columns, rows))

    def join(self, parts: list[int], columns: int) -> int:
        """Matrices of bytes side by side."""
        if len(parts) == 1:
            return parts[0]
        output = self.bytes(self.shape(parts[0])[0], columns)
        self.nodes.extend(self.builder.join(parts, 1, output))
        return output


def resize(ops: GraphBuilder, image: int, width: int, height: int, resample: Resample) -> int:
    """`image`, uint8 (1, H, W, 3), as uint8 (1, height, width, 3); an axis that keeps its size is left alone."""
    _, rows, columns, _ = ops.shape(image)
    if (rows, columns) == (height, width):
        return image
    if _down_first(rows, columns, height, width):
        matrix = _down(ops, ops.reshape(image, rows, 3 * columns), height, resample)
        rows, image = height, ops.reshape(matrix, 1, height, columns, 3)
    if columns != width:
        matrix = _across(ops, image, width, resample)
    else:
        matrix = ops.reshape(image, rows, 3 * columns)
    if rows != height:
        matrix = _down(ops, matrix, height, resample)
    return ops.reshape(matrix, 1, height, width, 3)


def _down_first(rows: int, columns: int, height: int, width: int) -> bool:
    """Whether Pillow (13 and later) shrinks the height first: where it loses over twice what the width does."""
    return columns != width and rows > height and rows - height > 2 * (columns - width)


def _down(ops: GraphBuilder, matrix: int, height: int, resample: Resample) -> int:
    """(H, N) -> (height, N)."""
    return ops.transpose(_along(ops, ops.transpose(matrix), height, resample))


def _across(ops: GraphBuilder, image: int, width: int, resample: Resample) -> int:
    """(1, H, W, 3) -> (H, 3 width).

    Each window becomes a matrix first (the image as a whole would be copied, 37 MB): given four dimensions,
    FULLY_CONNECTED flattens them on CPUs, and gives other numbers on LiteRT's GPU accelerator
    (convert.delegation.accelerators).
    """
    _, rows, columns, _ = ops.shape(image)
    block = min(max(READ * width // columns, COLUMNS.start), COLUMNS.stop - 1)
    parts = []
    for first, weights in pillow_weights(columns, width, resample).blocks(block):
        count = weights.shape[1]
        window = ops.reshape(ops.slice(image, [0, 0, first, 0], [1, rows, count, 3]), rows, 3 * count)
        parts.append(_multiply(ops, window, np.kron(weights, np.eye(3, dtype=np.float32))))
    return ops.join(parts, 3 * width)


def _along(ops: GraphBuilder, matrix: int, length: int, resample: Resample) -> int:
    """(N, L) -> (N, length)."""
    count, inputs = ops.shape(matrix)
    parts = []
    for first, weights in pillow_weights(inputs, length, resample).blocks(ROWS):
        window = ops.slice(matrix, [0, first], [count, weights.shape[1]])
        parts.append(_multiply(ops, window, weights))
    return ops.join(parts, length)


def _multiply(ops: GraphBuilder, window: int, weights: np.ndarray) -> int:
    """uint8 (n, inputs) -> round(values @ weights.T), uint8 (n, outputs), clipped to 0..255."""
    count, inputs = ops.shape(window)
    outputs = len(weights)
    values = ops.add("DEQUANTIZE", [window], ops.reals(count, inputs))
    weight = ops.builder.constant(weights, "filter")
    bias = ops.builder.constant(np.full(outputs, TIE, np.float32), "tie")
    sums = ops.add("FULLY_CONNECTED", [values, weight, bias], ops.reals(count, outputs))
    return ops.add("QUANTIZE", [sums], ops.bytes(count, outputs))


FIXED_POINT = 1 << 22

Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class ResizeWeights:
    """Output i is the sum over k of weights[i, k] * input[first[i] + k]; int64 (outputs,), float64 (outputs, n)."""

    first: NDArray[np.int64]
    weights: NDArray[np.float64]

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Every `size` outputs: where the inputs that they read start, and the matrix (outputs, inputs)."""
        for start in range(0, len(self.first), size):
            first, weights = self.first[start : start + size], self.weights[start : start + size]
            used = (first + _count(weights)).max() - first[0]
            matrix = np.zeros((len(first), used), np.float32)
            for row, (offset, values) in enumerate(zip(first - first[0], weights, strict=True)):
                end = min(offset + len(values), used)
                matrix[row, offset:end] = values[: end - offset]
            yield int(first[0]), matrix


def pillow_weights(inputs: int, outputs: int, resample: Resample) -> ResizeWeights:
    """The weights with which Pillow makes `outputs` pixels of `inputs` along one axis, antialiased."""
    kernel, reach = KERNELS[resample]
    scale = inputs / outputs
    stretch = max(scale, 1.0)  # enlarging reads the nearest pixels only
    support = reach * stretch
    centre = (np.arange(outputs) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), inputs)
    position = first[:, None] + np.arange((end - first).max())
    weights = kernel((position - centre[:, None] + 0.5) * (1.0 / stretch))
    weights[position >= end[:, None]] = 0.0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # in Pillow's order of summation, to its last bit
    return ResizeWeights(first, np.trunc(weights * FIXED_POINT + np.copysign(0.5, weights)) / FIXED_POINT)


def _count(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many weights each output has, up to its last one that is not zero."""
    return weights.shape[1] - (weights[:, ::-1] != 0).argmax(axis=1)


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -1/2."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


def _sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    angle = np.where(x == 0.0, 1.0, x * math.pi)
    return np.where(x == 0.0, 1.0, np.sin(angle) / angle)


# The kernel, and how far it reaches in input pixels when nothing shrinks.
KERNELS: dict[Resample, tuple[Kernel, float]] = {
    Resample.BILINEAR: (_bilinear, 1.0),
    Resample.BICUBIC: (_bicubic, 2.0),
    Resample.LANCZOS: (_lanczos, 3.0),
}
