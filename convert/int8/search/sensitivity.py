"""Which layers lose most in 8 bits: the order in which a search gives them back to float.

Two measurements, each of which costs little:

    noise    FP32 and static INT8 run side by side on a few images. How much noise an operator adds is the
             noise-to-signal ratio of its output less that of its input, channel by channel: one channel of huge
             range drowns the others, and a ratio over the whole tensor would not see them
    gain     noise early or late in the network does not harm the score alike. Each block (the operators between two
             strides) is kept in float once, really quantized and judged; what the mean shift gains is the block's

A layer's sensitivity is its share of its block's noise times the block's gain. One file for each block, not for each
operator: six to eight for a MobileNet of sixty convolutions.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb
from convert.int8.statistics.interpreter import Inputs, TensorInterpreter

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

IMAGES = 8  # enough for a ratio of powers over whole maps
SQNR_DB = (-20.0, 60.0)  # a channel says no more than this: dead ones are all noise, others have none


@dataclass(frozen=True)
class Layer:
    """The operators that share one weight (bands repeat an operator), by the names of their outputs."""

    names: tuple[str, ...]
    sources: tuple[str, ...]  # the activations that they read, one each
    width: int  # of the output map, elements; 0 for a vector

    @property
    def expression(self) -> str:
        """For Recipe.keep_float: these operators alone."""
        return f"^(?:{'|'.join(map(re.escape, self.names))})$"


def layers(model: "Model", names: Collection[str]) -> list[Layer]:
    """The convolutions and fully connected layers whose outputs are among `names`, in the graph's order."""
    graph = model.subgraphs[0]
    shared: dict[tuple[str, int], list[Any]] = {}
    for operator in graph.operators:
        index = fb.WEIGHT_INPUT.get(fb.kind(model, operator))
        if index is None or _name(graph, operator.outputs[0]) not in names:
            continue
        weight = graph.tensors[operator.inputs[index]]
        stored = fb.is_constant(model, weight)  # buffer 0 is everything that is computed
        key = ("buffer", weight.buffer) if stored else ("tensor", int(operator.inputs[index]))
        shared.setdefault(key, []).append(operator)
    return [_layer(graph, operators) for operators in shared.values()]


def _layer(graph: Any, operators: Sequence[Any]) -> Layer:
    shapes = [graph.tensors[o.outputs[0]].shape for o in operators]
    return Layer(
        tuple(_name(graph, o.outputs[0]) for o in operators),
        tuple(_name(graph, o.inputs[0]) for o in operators),
        max(int(shape[2]) if len(shape) == 4 else 0 for shape in shapes),
    )


def _name(graph: Any, tensor: int) -> str:
    return graph.tensors[tensor].name.decode()


def blocks(layers: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """The layers by the width of their maps: a stride begins a new block, bands and strips do not."""
    ordered = sorted(layers, key=lambda layer: -layer.width)  # stable: the graph's order within a block
    return [tuple(group) for _, group in groupby(ordered, key=lambda layer: layer.width)]


def noise(fp32: Path, int8: Path, layers: Sequence[Layer], images: Iterable[Inputs]) -> dict[str, float]:
    """Name of a layer's input or output -> its noise-to-signal ratio in the INT8 file, over the images.

    What is left of a channel after the best straight line from FP32 is noise: equalization scales channels, and
    bias correction moves them, without any loss. A geometric mean over channels (the last axis). Tensors that the
    INT8 file does not have are left out. Raises ValueError without images.
    """
    runs = [TensorInterpreter(path) for path in (fp32, int8)]
    indices = [run.indices() for run in runs]
    names = {name for layer in layers for name in (*layer.names, *layer.sources)}
    sums: dict[str, NDArray[np.float64]] = {}
    for inputs in images:
        for run in runs:
            run(inputs)
        for name in sorted(names & indices[0].keys() & indices[1].keys()):
            x, y = (_rows(run, by_name[name]) for run, by_name in zip(runs, indices, strict=True))
            sums[name] = sums.get(name, 0.0) + _sums(x, y)
    if not sums:
        raise ValueError("expected at least one image, and tensors of the same names; found none")
    return {name: _ratio(parts) for name, parts in sums.items()}


def _sums(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(elements, channels) twice -> (6, channels): how many, and the sums of x, y, x^2, y^2, xy."""
    count = np.full(x.shape[1], float(len(x)))
    return np.stack([count, x.sum(0), y.sum(0), (x * x).sum(0), (y * y).sum(0), (x * y).sum(0)])


def _ratio(sums: NDArray[np.float64]) -> float:
    """`_sums` -> noise over signal, (1 - r^2) / r^2 with r the correlation of each channel; 0 if none varies."""
    x, y, xx, yy, xy = sums[1:] / sums[0]
    x_variance, y_variance, shared = xx - x * x, yy - y * y, xy - x * y
    varying = x_variance > 1e-9 * xx.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(y_variance > 0, shared**2 / (x_variance * y_variance), 0.0)[varying]
        decibels = np.clip(10 * np.log10(r2 / np.maximum(1 - r2, 0.0)), *SQNR_DB)
    return float(10 ** (-decibels.mean() / 10)) if len(decibels) else 0.0


def _rows(run: TensorInterpreter, index: int) -> NDArray[np.float64]:
    """A tensor in real numbers, (elements, channels)."""
    values = run.real(index)
    return values.reshape(-1, values.shape[-1] if values.ndim else 1)


def order(
    grouped: Sequence[tuple[Layer, ...]], ratios: Mapping[str, float], gains: Sequence[float]
) -> list[tuple[Layer, float]]:
    """Every layer with its sensitivity, most sensitive first; `gains` of the blocks, in score units.

    A block that gained nothing comes after those that did, by noise alone.
    """
    gained: list[tuple[float, float, Layer]] = []
    for block, gain in zip(grouped, gains, strict=True):
        added = [_added(layer, ratios) for layer in block]
        total = sum(added) or 1.0
        gained += [(max(gain, 0.0) * a / total, a, layer) for a, layer in zip(added, block, strict=True)]
    gained.sort(key=lambda item: (-item[0], -item[1], item[2].names))
    return [(layer, sensitivity) for sensitivity, _, layer in gained]


def _added(layer: Layer, ratios: Mapping[str, float]) -> float:
    """The noise that the layer's operators add, at most; 0 where they only pass it on."""
    pairs = zip(layer.names, layer.sources, strict=True)
    return max(max(ratios.get(name, 0.0) - ratios.get(source, 0.0), 0.0) for name, source in pairs)
