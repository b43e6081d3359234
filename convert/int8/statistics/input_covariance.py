"""What the weights of a FP32 file multiply: mean and covariance of each operator's inputs over images.

Inputs are sampled at some output positions, padding included; each operator's by a generator of its own, so that its
samples do not depend on which others are collected. Operators that share a weight (a network that computes its first
blocks in bands) share its statistics.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb
from convert.int8.statistics.interpreter import Inputs, Map, activations
from convert.row_ranges import same_zeros

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

SAMPLES = 256  # output positions of each operator and image: a corner of a large map, thousands over a set
LARGEST = 1536  # inputs of an output up to which their covariance is kept (19 MB)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class InputCovariance:
    """mean (groups, inputs); covariance (groups, inputs, inputs), float64.

    No covariance for more inputs than LARGEST, or than there were samples: it would fit those samples alone.
    """

    mean: Floats
    covariance: Floats | None


@dataclass
class _Sums:
    """Running sums over samples."""

    count: int
    values: Floats
    products: Floats | None

    def add(self, x: Map) -> None:
        """x: (groups, samples, inputs)."""
        self.count += x.shape[1]
        self.values += x.sum(1, dtype=np.float64)
        if self.products is not None:
            self.products += x.transpose(0, 2, 1) @ x

    def covariance(self) -> InputCovariance:
        mean = self.values / self.count
        if self.products is None or self.count < mean.shape[1]:
            return InputCovariance(mean, None)
        return InputCovariance(mean, self.products / self.count - mean[:, :, None] * mean[:, None, :])


def collect_covariances(
    model: "Model", content: bytes, operators: list[tuple[Any, int]], images: Iterable[Inputs]
) -> dict[int, InputCovariance]:
    """Runs the FP32 file `content`, which is `model`: weight's tensor index -> statistics of what it multiplies.

    `operators`: operators and their weights, of weights.weighted.
    """
    generators = [np.random.default_rng(int(operator.outputs[0])) for operator, _ in operators]
    sums_by_weight: dict[int, _Sums] = {}
    for tensor in activations(content, images):
        for (operator, weight), rng in zip(operators, generators, strict=True):
            x = np.ascontiguousarray(_multiplied(model, operator, tensor(int(operator.inputs[0])), rng))
            if weight not in sums_by_weight:
                sums_by_weight[weight] = _empty(*x.shape[::2])
            sums_by_weight[weight].add(x)
    return {weight: sums.covariance() for weight, sums in sums_by_weight.items()}


def _empty(groups: int, inputs: int) -> _Sums:
    products = np.zeros((groups, inputs, inputs)) if inputs <= LARGEST else None
    return _Sums(0, np.zeros((groups, inputs)), products)


def _multiplied(model: "Model", operator: Any, x: Map, rng: np.random.Generator) -> Map:
    """(groups, samples, inputs): what the weight is multiplied with at some output positions."""
    graph, kind = model.subgraphs[0], fb.kind(model, operator)
    shape = [int(n) for n in graph.tensors[operator.inputs[1]].shape]
    if kind == "FULLY_CONNECTED":
        rows = x.reshape(-1, shape[-1])
        return (rows if len(rows) <= SAMPLES else rows[rng.integers(0, len(rows), SAMPLES)])[None]
    output = [int(n) for n in graph.tensors[operator.outputs[0]].shape]
    patches = _patches(x, operator.builtinOptions, shape[1:3], output[1:3], rng)
    if kind == "DEPTHWISE_CONV_2D":
        return patches.transpose(2, 0, 1)
    samples, positions, channels = patches.shape
    groups = channels // shape[-1]
    return patches.reshape(samples, positions, groups, -1).transpose(2, 0, 1, 3).reshape(groups, samples, -1)


def _patches(x: Map, options: Any, kernel: list[int], output: list[int], rng: np.random.Generator) -> Map:
    """(samples, kernel positions, channels) of a map (images, rows, columns, channels), zeros where it is padded."""
    count = len(x) * output[0] * output[1]
    positions = np.arange(count) if count <= SAMPLES else rng.integers(0, count, SAMPLES)
    image, row, column = np.unravel_index(positions, (len(x), *output))
    same = options.padding == 0
    rows, inside = _kernel_positions(
        row, x.shape[1], kernel[0], options.strideH, options.dilationHFactor, same
    )
    columns, across = _kernel_positions(
        column, x.shape[2], kernel[1], options.strideW, options.dilationWFactor, same
    )
    patches = x[image[:, None, None], rows[:, :, None], columns[:, None, :]]
    patches *= (inside[:, :, None] & across[:, None, :])[..., None]
    return patches.reshape(len(positions), -1, x.shape[-1])


def _kernel_positions(
    position: NDArray[np.intp], size: int, kernel: int, stride: int, dilation: int, same: bool
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Along one axis, (samples, kernel positions): the index that each reads, and whether it is inside the map."""
    before = same_zeros(size, (kernel - 1) * dilation + 1, stride)[0] if same else 0
    index = position[:, None] * stride - before + np.arange(kernel) * dilation
    return index.clip(0, size - 1), (index >= 0) & (index < size)
