"""Biases of dead channels: without a wider scale they do not fit 32 bits, and the channel's constant is lost.

A channel whose weights training has driven to (next to) nothing puts out its bias: after batch norm is folded, a
constant. Its weights' scale is then so small that the bias, stored in units of scale(input) x scale(weight), lies
outside 32 bits; ai-edge-quantizer 0.10.0 clips it at 2^31 in float32, and the cast makes -2^31 of either sign.
The reference model has such channels. A scale of at least |bias| / (2^30 scale(input)) lets the bias fit; what the
weights lose by it is, for each of their inputs, at most 2^-24 of the bias.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb
from convert.int8.weights import bias_of, replace, scales, values, weighted

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

Floats = NDArray[np.float64]
FITS = 2.0**30  # half the range: bias correction still moves it


@dataclass(frozen=True)
class _Biased:
    """A quantized operator with an int32 bias: weight and bias in the quantized file, and their FP32 values."""

    weight: int
    bias: int
    input_scale: float
    exact_weight: NDArray[np.float32]
    exact_bias: Floats


def widen_dead_channels(model: "Model", quantized: "Model") -> int:
    """Gives channels whose bias does not fit a wider scale; `quantized`: INT8 of `model`, changed in place.

    Returns how many. Operators that share a weight (bands of rows) share the widest scale that one of them needs.
    """
    operators = _biased(model, quantized)
    current = {o.weight: scales(quantized, o.weight) for o in operators}
    needed = dict(current)
    for o in operators:
        least = np.abs(o.exact_bias) / (FITS * o.input_scale)
        needed[o.weight] = np.maximum(needed[o.weight], least if len(current[o.weight]) > 1 else least.max())
    # Stored as float32: a scale may lie that much below.
    wider = {weight: needed[weight] > now * (1 + 1e-6) for weight, now in current.items()}
    for o in operators:
        if wider[o.weight].any():
            _rescale(quantized, o, needed[o.weight], wider[o.weight])
    fb.drop_unused_buffers(quantized)
    return sum(int(channels.sum()) for channels in wider.values())


def _biased(model: "Model", quantized: "Model") -> list[_Biased]:
    operators = []
    for (before, exact), (after, weight) in zip(weighted(model), weighted(quantized), strict=True):
        bias, exact_bias = bias_of(after), bias_of(before)
        if bias is None or exact_bias is None or values(quantized, bias).dtype != np.int32:
            continue
        scale = float(scales(quantized, int(after.inputs[0]))[0])
        operators.append(
            _Biased(weight, bias, scale, values(model, exact), values(model, exact_bias).astype(np.float64))
        )
    return operators


def _rescale(quantized: "Model", o: _Biased, wide: Floats, wider: NDArray[np.bool_]) -> None:
    """Quantized values and scales of the channels that are `wider`, of weight and bias."""
    weight, bias = (quantized.subgraphs[0].tensors[index] for index in (o.weight, o.bias))
    along = [
        -1 if axis == weight.quantization.quantizedDimension else 1 for axis in range(o.exact_weight.ndim)
    ]
    along = along if len(wide) > 1 else [1] * o.exact_weight.ndim
    values_of_wide = np.clip(np.rint(o.exact_weight / wide.reshape(along)), -127, 127)
    replace(quantized, o.weight, np.where(wider.reshape(along), values_of_wide, values(quantized, o.weight)))
    bias_scale = o.input_scale * wide
    replace(quantized, o.bias, np.where(wider, np.rint(o.exact_bias / bias_scale), values(quantized, o.bias)))
    weight.quantization.scale = wide.astype(np.float32)
    bias.quantization.scale = bias_scale.astype(np.float32)
