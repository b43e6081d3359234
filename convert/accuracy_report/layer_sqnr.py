"""Where along the graph a converted file loses its signal: SQNR of every activation against FP32's.

Integers are taken back to real values by their scale and zero point. XNNPACK computes as ever, but gets one operator
at a time: the runtime then keeps every activation.

Equalization scales the channels of a tensor on purpose, and the operators after it scale them back. Where gains of
channels (last axis) explain most of a difference that a later tensor no longer has, they are taken out first;
`plain_db` is always without.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer.reader import Graph, Tensor, read_graph
from convert.int8.algorithms.hard_swish import LOWEST, hard_swish_inputs
from convert.int8.statistics.interpreter import Inputs, TensorInterpreter, dequantized
from mobileiqa.errors import UserError

SCALED_DB = 6.0  # by how much gains have to explain a difference, and a later tensor be without it
_KEEPS_VALUES = (
    "DEQUANTIZE",
    "RESHAPE",
    "SQUEEZE",
)  # what may stand between a quantized score and the output


@dataclass(frozen=True)
class Layer:
    """One activation over all images, in mean squares: FP32's values, the difference, and what of it is noise.

    That is all of it, unless `scaled`: then it is what gains of channels leave.
    """

    name: str
    index: int
    operator: str
    dtype: str
    shape: tuple[int, ...]
    signal: float
    difference: float
    noise: float
    scaled: bool = False

    @property
    def finite(self) -> bool:
        """False where either file's values are infinite or NaN."""
        return math.isfinite(self.signal) and math.isfinite(self.difference)

    @property
    def sqnr_db(self) -> float | None:
        """10 log10(signal / noise), dB; None when nothing differs, nothing is there, or values are not finite."""
        return self._decibels(self.noise)

    @property
    def plain_db(self) -> float | None:
        """The same with the difference as it is."""
        return self._decibels(self.difference)

    def _decibels(self, noise: float) -> float | None:
        if not self.finite or noise == 0 or self.signal == 0:
            return None
        return 10 * math.log10(self.signal / noise)

    @property
    def badness(self) -> float:
        """Noise over signal, infinite where values are not finite or there is noise alone: the worst is largest."""
        if not self.finite or (self.signal == 0 and self.noise > 0):
            return math.inf
        return self.noise / self.signal if self.noise else 0.0


@dataclass(frozen=True)
class LayerTable:
    """All layers in the converted file's order, over `images` images, and the FP32 activations left out."""

    images: int
    layers: tuple[Layer, ...]
    missing: tuple[str, ...]

    def worst_first(self) -> list[Layer]:
        """The layers that differ, lowest SQNR first."""
        return sorted((x for x in self.layers if x.badness > 0), key=lambda x: (-x.badness, x.index))


def compare_layers(fp32: Path, converted: Path, images: Iterable[Inputs]) -> LayerTable:
    """Runs both files on prepared images, one image and one pair of tensors at a time.

    Squares are summed over the images, so that an image on which an activation is silent weighs as little as its
    signal. A batch is run by its first part where a file takes fewer crops at once. Raises UserError for a
    damaged file, ValueError where there are no images.
    """
    before, after = read_graph(fp32), read_graph(converted)
    matching = match(before, after)
    paths, graphs = (fp32, converted), (before, after)
    runs = [TensorInterpreter(path) for path in paths]
    sums, ignored = [_Sums() for _ in matching.pairs], set(hard_swish_inputs(before))
    count = 0
    for inputs in images:
        for run in runs:
            run(inputs)
        for pair, total in zip(matching.pairs, sums, strict=True):
            tensors = [graph.tensors[i] for graph, i in zip(graphs, (pair.fp32, pair.converted), strict=True)]
            values = [_real(*each) for each in zip(runs, tensors, paths, strict=True)]
            total.add(
                *(np.maximum(v, LOWEST) if before.tensors[pair.fp32].name in ignored else v for v in values)
            )
        count += 1
    if not count:
        raise ValueError("expected at least one image; found none")
    layers = []
    for pair, total in zip(matching.pairs, sums, strict=True):
        tensor = after.tensors[pair.converted]
        layers.append(
            Layer(pair.name, pair.index, pair.operator, tensor.dtype, tensor.shape, *total.powers())
        )
    later = _best_after(after, layers)
    scored = [_judged(layer, later[p.converted]) for layer, p in zip(layers, matching.pairs, strict=True)]
    return LayerTable(count, tuple(scored), matching.missing)


def _best_after(graph: Graph, layers: Sequence[Layer]) -> dict[int, float]:
    """Tensor -> the highest plain SQNR, dB, of what is computed from it; -inf of the output."""
    plain = {x.index: math.inf if x.difference == 0 else x.plain_db for x in layers if x.finite}
    best: dict[int, float] = defaultdict(lambda: -math.inf)
    for op in reversed(graph.operators):
        here = plain.get(op.index)
        highest = max([*(best[t] for t in op.outputs), -math.inf if here is None else here])
        for tensor in op.inputs:
            best[tensor] = max(best[tensor], highest)
    return best


def _judged(layer: Layer, later_db: float) -> Layer:
    """The layer, `scaled` where gains explain its difference and a later tensor is without."""
    clean, plain = layer.sqnr_db, layer.plain_db
    if plain is None or later_db < plain + SCALED_DB or (clean is not None and clean < plain + SCALED_DB):
        return replace(layer, noise=layer.difference)
    return replace(layer, scaled=True)


@dataclass
class _Sums:
    """Sums of squares and products of two files' values of one tensor, by channel: all that is kept of an image."""

    samples: int = 0  # of each channel
    xx: NDArray[np.float64] | float = 0.0
    xy: NDArray[np.float64] | float = 0.0
    yy: NDArray[np.float64] | float = 0.0
    difference: float = 0.0

    def add(self, expected: NDArray[np.float64], actual: NDArray[np.float64]) -> None:
        x, y = (v.reshape(-1, v.shape[-1] if v.ndim else 1) for v in (expected, actual))
        self.samples += len(x)
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is the result
            self.xx, self.xy, self.yy = (
                self.xx + (x * x).sum(0),
                self.xy + (x * y).sum(0),
                self.yy + (y * y).sum(0),
            )
            self.difference += float(np.square(y - x).sum())

    def powers(self) -> tuple[float, float, float]:
        """Mean squares: the signal, the difference, and the noise y / g - x under each channel's best gain g.

        A channel's noise is at most its signal. One sample fits a gain without any rest; n samples fit away 1 / n of
        the noise, which is made up for.
        """
        xx, xy, yy = (np.asarray(v, np.float64) for v in (self.xx, self.xy, self.yy))
        elements, noise = self.samples * xx.size, self.difference
        if self.samples > 1:
            rest = np.divide(xx * yy, xy * xy, out=np.full_like(xx, 2), where=xy > 0) - 1
            lost = np.where(xx > 0, xx * np.clip(rest, 0, 1), yy)
            noise = min(noise, float(lost.sum()) * self.samples / (self.samples - 1))
        return float(xx.sum()) / elements, self.difference / elements, noise / elements


def _real(run: TensorInterpreter, tensor: Tensor, path: Path) -> NDArray[np.float64]:
    """The tensor's real values after a run. UserError where the runtime's shape is not the file's."""
    values = run.value(tensor.index)
    if values.shape != tensor.shape:
        raise UserError(
            f"{tensor.name} of shape {tensor.shape}, as {path} says", f"{values.shape} when it runs",
            "convert the model again",
        )  # fmt: skip
    return dequantized(values, tensor.scales, tensor.zero_points, tensor.quantized_axis)


def implied_step(graph: Graph) -> float | None:
    """The step of the output where it is an integer but for its type, in the output's unit; None where it is not.

    None is the usual case: the last regressor of our files is in float, and sums of steps have none of their own.
    """
    writers = {tensor: op for op in graph.operators for tensor in op.outputs}
    tensor = graph.outputs[0]
    while not graph.tensors[tensor].scales:
        op = writers.get(tensor)
        if op is None or op.name not in _KEEPS_VALUES:
            return None
        tensor = op.inputs[0]
    scales = graph.tensors[tensor].scales
    return scales[0] if len(scales) == 1 else None


def precision(graph: Graph) -> str:
    """fp32, fp16 or int8, by what the file holds and not by what it says: int8 is any integer scale.

    But for the image's bytes, uint8, in a file with embedded preprocessing, whose own layers are int8 where any is.
    """
    dtypes = {t.dtype for t in graph.tensors if t.constant}
    real = {"float32", "uint8"} if "delivery" in graph.description else {"float32"}
    if any(t.scales and t.dtype not in real for t in graph.tensors):
        return "int8"
    return "fp16" if "float16" in dtypes else "fp32"


_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class MatchedActivation:
    """An activation that both files compute: tensor indices, and the operator that writes it in the converted file."""

    name: str
    index: int  # of the operator, in the converted file's order
    operator: str
    fp32: int
    converted: int


@dataclass(frozen=True)
class Matched:
    """Pairs in the converted file's order; FP32 activations that it has not, or in another shape, by name."""

    pairs: tuple[MatchedActivation, ...]
    missing: tuple[str, ...]


def match(fp32: Graph, converted: Graph) -> Matched:
    """Which tensors of the converted file are the same activation of `fp32`, by name.

    A DEQUANTIZE has no row: it repeats an activation, or unpacks a weight. Names that occur twice among one
    file's activations tell nothing and count as missing.
    """
    fp32_by_name, ours = _by_name(fp32), _by_name(converted)
    sources = {t: op.inputs[0] for op in converted.operators if op.name in _CONVERSIONS for t in op.outputs}
    pairs, seen = [], set()
    for op in converted.operators:
        for tensor in op.outputs if op.name != "DEQUANTIZE" else ():
            origin = tensor
            while origin in sources:
                origin = sources[origin]
            name = converted.tensors[origin].name
            same = name in fp32_by_name and ours.get(name) == origin
            if same and fp32.tensors[fp32_by_name[name]].shape == converted.tensors[tensor].shape:
                pairs.append(
                    MatchedActivation(
                        converted.tensors[tensor].name, op.index, op.name, fp32_by_name[name], tensor
                    )
                )
                seen.add(name)
    computed = dict.fromkeys(fp32.tensors[t].name for op in fp32.operators for t in op.outputs)
    return Matched(tuple(pairs), tuple(name for name in computed if name not in seen))


def _by_name(graph: Graph) -> dict[str, int]:
    """Inputs and activations, conversions apart, whose name is theirs alone."""
    written = [t for op in graph.operators if op.name not in _CONVERSIONS for t in op.outputs]
    tensors = [*graph.inputs, *written]
    times = Counter(graph.tensors[t].name for t in tensors)
    return {graph.tensors[t].name: t for t in tensors if times[graph.tensors[t].name] == 1}
