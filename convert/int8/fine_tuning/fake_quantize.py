"""8-bit tensors in float32: values rounded and clipped to the grid that an INT8 file has, gradients passed through.

The straight-through estimator: rounding has gradient 1, clipping 0 (arXiv 1308.3432). PyTorch computes both in one
pass, and rounds ties to even as XNNPACK does.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LOWEST, HIGHEST = -128, 127


@dataclass(frozen=True)
class Grid:
    """An int8 tensor's values: scales * (integer - zeros), one for all or one for each channel along `axis`."""

    scales: NDArray[np.float32]
    zeros: NDArray[np.int64]
    axis: int = 0


def quantized(x: "Tensor", grid: Grid) -> "Tensor":
    """x on the grid of an activation: one scale for all."""
    import torch

    return torch.fake_quantize_per_tensor_affine(
        x, float(grid.scales[0]), int(grid.zeros[0]), LOWEST, HIGHEST
    )


def quantized_weight(x: "Tensor", grid: Grid) -> "Tensor":
    """x on the grid of a weight, symmetric: -127..127 on both sides."""
    import torch

    scales = torch.from_numpy(np.where(grid.scales > 0, grid.scales, 1.0).astype(np.float32))
    if len(scales) == 1:
        return torch.fake_quantize_per_tensor_affine(x, float(scales[0]), 0, -HIGHEST, HIGHEST)
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(x, scales, zeros, grid.axis, -HIGHEST, HIGHEST)


def quantized_bias(x: "Tensor", scales: "Tensor") -> "Tensor":
    """x on the grid of an int32 bias: whole `scales`, of the input times of the weight. A scale of 0 makes 0."""
    import torch

    some = torch.where(scales > 0, scales, 1.0)
    return x + ((x.detach() / some).round() * scales - x.detach())


def quantized_rows(x: "Tensor") -> "Tensor":
    """x with every row (last axis) on a grid of its own range, 0 included: inputs that are quantized at run time."""
    import torch

    low, high = x.detach().amin(-1, keepdim=True).clamp(max=0), x.detach().amax(-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / (HIGHEST - LOWEST)).clamp(min=torch.finfo(x.dtype).tiny)
    zero = torch.round(LOWEST - low / scale)
    rounded = (torch.round(x.detach() / scale) + zero).clamp(LOWEST, HIGHEST)
    return x + ((rounded - zero) * scale - x.detach())
