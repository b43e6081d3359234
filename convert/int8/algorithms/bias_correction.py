"""Corrects the file that the quantizer made, operator by operator, by what its FP32 form reads.

    rounding          convert.int8.algorithms.weight_rounding: codes whose errors cancel in the output
    bias correction   what rounding adds to an output's mean, (Wq - W) E[x], is taken from its bias (arXiv 1906.04721)

The shift is of the sum before the activation function, so a fused ReLU6 needs nothing special. No operator is
corrected for what an earlier one does to its input: bringing every mean of the quantized network back at once, as
measured, counts a shift again in each operator behind it (benchmarks/INT8_STUDIES.md). Left out: operators
without a bias keep their shift (they are rounded for it instead), and so do those that stay in float.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb
from convert.int8.algorithms import weight_rounding
from convert.int8.statistics.input_covariance import Moments
from convert.int8.weights import bias_of, matrices, replace, scales, stored, values, weighted

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

Floats = NDArray[np.float64]
# The FP32 weight's tensor index, whether a bias takes care of the mean, the scales -> codes as they are stored.
Codes = MutableMapping[tuple[int, bool, bytes], NDArray[np.int8]]


@dataclass(frozen=True)
class Corrected:
    """How many weights got other codes than the nearest, of how many tensors, and how many biases were corrected."""

    codes: int = 0
    weights: int = 0
    biases: int = 0


@dataclass(frozen=True)
class Pair:
    """An operator with 8-bit weights: kind, input channels, FP32 and INT8 weights' indices, and the INT8 bias's."""

    kind: str
    channels: int
    operator: Any  # in the FP32 file
    weight: int
    quantized: int
    bias: int | None


def pairs(model: "Model", quantized: "Model") -> list[Pair]:
    """The weighted operators whose weights became 8-bit, in the graph's order."""
    from ai_edge_litert.schema_py_generated import TensorType

    before, after = model.subgraphs[0].tensors, quantized.subgraphs[0].tensors
    return [
        Pair(fb.kind(model, a), int(before[a.inputs[0]].shape[-1]), a, weight, index, bias_of(b))
        for (a, weight), (b, index) in zip(weighted(model), weighted(quantized), strict=True)
        if after[index].type == TensorType.INT8
    ]


def correct(
    model: "Model",
    quantized: "Model",
    statistics: Mapping[int, Moments],
    least_error: bool,
    bias: bool,
    known: Codes | None = None,
) -> Corrected:
    """Changes `quantized`, the INT8 form of the FP32 `model`, in place: its codes with `least_error`, and biases.

    statistics: moments by the FP32 weight's tensor index (moments.collect). Operators that share a weight or a bias
    are corrected once. known: codes of earlier calls with that model and those moments, to which new ones are added.
    """
    known = {} if known is None else known
    codes, rounded, corrected = 0, set(), set()
    for pair in pairs(model, quantized):
        moments = statistics[pair.weight]
        if least_error and moments.covariance is not None and pair.quantized not in rounded:
            codes += _round(model, quantized, pair, moments, bias and pair.bias is not None, known)
            rounded.add(pair.quantized)
        if bias and pair.bias is not None and pair.bias not in corrected:
            _shift(model, quantized, pair, moments)
            corrected.add(pair.bias)
    fb.drop_unused_buffers(quantized)
    return Corrected(codes, len(rounded), len(corrected))


def _round(model: "Model", quantized: "Model", pair: Pair, moments: Moments, bias: bool, known: Codes) -> int:
    """Codes of least error; returns how many are not the nearest."""
    before = values(quantized, pair.quantized)
    weights = matrices(pair.kind, values(model, pair.weight), pair.channels).astype(np.float64)
    steps = _scales(quantized, pair.quantized, weights.shape[:2])
    key = pair.weight, bias, steps.tobytes()
    if key not in known:
        h = moments.covariance
        if not bias:
            h = h + moments.mean[:, :, None] * moments.mean[:, None, :]
        codes = weight_rounding.least_error(weights, steps, h)
        known[key] = stored(pair.kind, codes, before.shape).astype(before.dtype)
    replace(quantized, pair.quantized, known[key])
    return int((known[key] != before).sum())


def _shift(model: "Model", quantized: "Model", pair: Pair, moments: Moments) -> None:
    """Takes (Wq - W) E[x] from the bias: float32, or int32 in steps of the scales of input and weight."""
    weights = matrices(pair.kind, values(model, pair.weight), pair.channels).astype(np.float64)
    codes = matrices(pair.kind, values(quantized, pair.quantized), pair.channels)
    errors = codes * _scales(quantized, pair.quantized, weights.shape[:2])[..., None] - weights
    shift = (errors @ moments.mean[:, :, None]).ravel()
    bias = values(quantized, pair.bias)
    if bias.dtype == np.int32:
        steps = _scales(quantized, pair.bias, shift.shape)
        dead = steps == 0  # no weight but 0: its output is its bias, rounded as it was
        shift = np.where(dead, 0, np.rint(shift / np.where(dead, 1, steps)))
    replace(quantized, pair.bias, bias - shift)


def _scales(model: "Model", index: int, shape: tuple[int, ...]) -> Floats:
    """A tensor's scales, one for all or one for each output, in `shape`."""
    own_scales = scales(model, index)
    return np.broadcast_to(own_scales if len(own_scales) == 1 else own_scales.reshape(shape), shape)
