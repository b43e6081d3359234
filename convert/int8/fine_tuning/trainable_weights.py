"""What fine-tuning learns of an INT8 file: every weight and bias, in units in which one learning rate serves all."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convert.flatbuffer import model as fb
from convert.int8.fine_tuning.fake_quantize import HIGHEST, Grid, quantized_bias, quantized_weight
from convert.int8.fine_tuning.torch_executor import grid
from convert.int8.weights import bias_of, values, weighted

if TYPE_CHECKING:
    from torch import Tensor

    from convert.flatbuffer.model import Model


@dataclass(frozen=True)
class Learned:
    """A weight or bias of the INT8 file: what is learned, `start`, times `unit` is its value.

    grid: of a weight in 8 bits; what is learned of it are its codes. steps: of an int32 bias.
    """

    index: int
    start: "Tensor"
    unit: "Tensor"
    grid: Grid | None = None
    steps: "Tensor | None" = None

    def value(self, learned: "Tensor") -> "Tensor":
        """As the file computes with it: float32, in the constant's shape."""
        real = learned * self.unit
        if self.grid:
            return quantized_weight(real, self.grid)
        return real if self.steps is None else quantized_bias(real, self.steps)

    def stored(self, learned: "Tensor") -> "Tensor":
        """As the file holds it: codes, whole numbers of steps, or float32."""
        step = self.unit if self.grid else self.steps
        value = self.value(learned)
        return value if step is None else (value / step.where(step > 0, 1.0)).round()


def learnable(model: "Model") -> list[Learned]:
    """Every weight and bias of an INT8 file once, whatever its precision."""
    parameters: dict[int, Learned] = {}
    for operator, weight in weighted(model):
        output = grid(model.subgraphs[0].tensors[operator.outputs[0]])
        channels = -1 if fb.kind(model, operator) == "DEPTHWISE_CONV_2D" else 0
        parameters.setdefault(weight, _weight(model, weight, channels))
        if (bias := bias_of(operator)) is not None:
            parameters.setdefault(bias, _bias(model, bias, parameters[weight], output))
    return list(parameters.values())


def _weight(model: "Model", index: int, channels: int) -> Learned:
    """Units: the steps of an 8-bit weight, what they would be of a float one."""
    import torch

    its = grid(model.subgraphs[0].tensors[index])
    stored = torch.from_numpy(values(model, index).astype(np.float32))
    others = [axis for axis in range(stored.ndim) if axis != channels % stored.ndim]
    if its is None:
        unit = (stored.abs().amax(others, keepdim=True) / HIGHEST).clamp(min=torch.finfo(torch.float32).tiny)
        return Learned(index, stored / unit, unit)
    along = [-1 if axis not in others else 1 for axis in range(stored.ndim)]
    unit = torch.from_numpy(its.scales.copy()).reshape(along if len(its.scales) > 1 else [])
    return Learned(index, stored, unit, its)


def _bias(model: "Model", index: int, weight: Learned, output: Grid | None) -> Learned:
    """Units: the step of an 8-bit output, else the weight's."""
    import torch

    stored, steps = values(model, index), None
    if stored.dtype == np.int32:
        scales = model.subgraphs[0].tensors[index].quantization.scale
        steps = torch.from_numpy(np.array(scales, np.float32))
    real = torch.from_numpy(stored.astype(np.float32)) * (1.0 if steps is None else steps)
    unit = weight.unit.reshape(-1) if output is None else torch.from_numpy(output.scales.copy())
    unit = unit.where(unit > 0, 1.0)  # an output whose weights are all 0 has none
    return Learned(index, real / unit, unit, None, steps)
