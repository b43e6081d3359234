"""Corrects the file that the quantizer made, operator by operator, by what its FP32 form reads.

    rounding          convert.int8.algorithms.weight_rounding: weights whose errors cancel in the output
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
from convert.int8.statistics.input_covariance import InputCovariance
from convert.int8.weights import bias_of, matrices, replace, scales, stored, values, weighted

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

Floats = NDArray[np.float64]
# The FP32 weight's tensor index, whether a bias takes care of the mean, the scales -> weights as they are stored.
RoundedWeights = MutableMapping[tuple[int, bool, bytes], NDArray[np.int8]]


@dataclass(frozen=True)
class Corrected:
    """How many weights were not rounded to nearest, of how many tensors, and how many biases were corrected."""

    values: int = 0
    weights: int = 0
    biases: int = 0


@dataclass(frozen=True)
class QuantizedWeight:
    """An operator with 8-bit weights: kind, input channels, FP32 and INT8 weights' indices, and the INT8 bias's."""

    kind: str
    channels: int
    operator: Any  # in the FP32 file
    weight: int
    quantized: int
    bias: int | None


def quantized_weights(model: "Model", quantized: "Model") -> list[QuantizedWeight]:
    """The weighted operators whose weights became 8-bit, in the graph's order."""
    from ai_edge_litert.schema_py_generated import TensorType

    before, after = model.subgraphs[0].tensors, quantized.subgraphs[0].tensors
    return [
        QuantizedWeight(fb.kind(model, a), int(before[a.inputs[0]].shape[-1]), a, weight, index, bias_of(b))
        for (a, weight), (b, index) in zip(weighted(model), weighted(quantized), strict=True)
        if after[index].type == TensorType.INT8
    ]


def correct(
    model: "Model",
    quantized: "Model",
    covariances: Mapping[int, InputCovariance],
    least_error: bool,
    bias: bool,
    known: RoundedWeights | None = None,
) -> Corrected:
    """Changes `quantized`, the INT8 form of the FP32 `model`, in place: its weights with `least_error`, and biases.

    covariances: by the FP32 weight's tensor index (input_covariance.collect_covariances). Operators that share a
    weight or a bias are corrected once. known: rounded weights of earlier calls with that model and those covariances,
    to which new ones are added.
    """
    known = {} if known is None else known
    changed, rounded, corrected = 0, set(), set()
    for entry in quantized_weights(model, quantized):
        inputs = covariances[entry.weight]
        if least_error and inputs.covariance is not None and entry.quantized not in rounded:
            changed += _round(model, quantized, entry, inputs, bias and entry.bias is not None, known)
            rounded.add(entry.quantized)
        if bias and entry.bias is not None and entry.bias not in corrected:
            _shift(model, quantized, entry, inputs)
            corrected.add(entry.bias)
    fb.drop_unused_buffers(quantized)
    return Corrected(changed, len(rounded), len(corrected))


def _round(
    model: "Model",
    quantized: "Model",
    entry: QuantizedWeight,
    inputs: InputCovariance,
    bias: bool,
    known: RoundedWeights,
) -> int:
    """Weights of least error; returns how many are not the nearest."""
    before = values(quantized, entry.quantized)
    weights = matrices(entry.kind, values(model, entry.weight), entry.channels).astype(np.float64)
    scale = _scales(quantized, entry.quantized, weights.shape[:2])
    key = entry.weight, bias, scale.tobytes()
    if key not in known:
        h = inputs.covariance
        if not bias:
            h = h + inputs.mean[:, :, None] * inputs.mean[:, None, :]
        rounded = weight_rounding.least_error(weights, scale, h)
        known[key] = stored(entry.kind, rounded, before.shape).astype(before.dtype)
    replace(quantized, entry.quantized, known[key])
    return int((known[key] != before).sum())


def _shift(model: "Model", quantized: "Model", entry: QuantizedWeight, inputs: InputCovariance) -> None:
    """Takes (Wq - W) E[x] from the bias: float32, or int32 in units of the scales of input and weight."""
    weights = matrices(entry.kind, values(model, entry.weight), entry.channels).astype(np.float64)
    rounded = matrices(entry.kind, values(quantized, entry.quantized), entry.channels)
    errors = rounded * _scales(quantized, entry.quantized, weights.shape[:2])[..., None] - weights
    shift = (errors @ inputs.mean[:, :, None]).ravel()
    bias = values(quantized, entry.bias)
    if bias.dtype == np.int32:
        scale = _scales(quantized, entry.bias, shift.shape)
        dead = scale == 0  # no weight but 0: its output is its bias, rounded as it was
        shift = np.where(dead, 0, np.rint(shift / np.where(dead, 1, scale)))
    replace(quantized, entry.bias, bias - shift)


def _scales(model: "Model", index: int, shape: tuple[int, ...]) -> Floats:
    """A tensor's scales, one for all or one for each output, in `shape`."""
    own_scales = scales(model, index)
    return np.broadcast_to(own_scales if len(own_scales) == 1 else own_scales.reshape(shape), shape)
