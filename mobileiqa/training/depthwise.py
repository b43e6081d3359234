"""Gradients of depthwise convolutions on a CPU, by the primitives that oneDNN has fast ones for.

In bfloat16, oneDNN's gradients of a depthwise convolution take up to 30 times its forward pass, and half of a training
step of EfficientNet-Lite0. The gradient of the input is a forward convolution with the turned kernel; that of the
weights, a sum over all positions, is computed in float32 where the kernel has more than 3x3 places.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]
LARGEST_FAST = 9  # places of a kernel whose weights' gradient bfloat16 is fast for


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """torch.autocast (None: none), with fast gradients of depthwise convolutions on a CPU."""
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        if device.type == "cpu" and dtype == torch.bfloat16:
            with FastDepthwise():
                yield
        else:
            yield


class FastDepthwise(TorchFunctionMode):
    """Within it, depthwise conv2d of bfloat16 on a CPU has faster gradients; everything else is as it was."""

    def __torch_function__(
        self,
        function: Callable,
        types: Sequence[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What torch calls in place of `function`."""
        if function is functional.conv2d and (call := _depthwise(*args, **(kwargs or {}))):
            return _Depthwise.apply(*call)
        return function(*args, **(kwargs or {}))


def _depthwise(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | str | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> tuple[torch.Tensor, torch.Tensor, Pair, Pair] | None:
    """What _Depthwise takes, where the call is for it."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    single = groups == weight.shape[0] == x.shape[1] and groups > 1 and bias is None
    plain = _pair(dilation) == (1, 1) and not isinstance(padding, str)
    if not (single and plain and x.device.type == "cpu" and dtype == torch.bfloat16):
        return None
    return x.to(dtype), weight.to(dtype), _pair(stride), _pair(padding)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class _Depthwise(torch.autograd.Function):
    """conv2d of x (N, C, H, W) with one kernel a channel, (C, 1, h, w), both of one dtype."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _of_input(gradient, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            dtype = torch.float32 if weight[0].numel() > LARGEST_FAST else x.dtype
            tensors = [each.to(dtype) for each in (gradient, x, weight)]
            of_weight = torch.ops.aten.convolution_backward(
                *tensors,
                None,
                ctx.stride,
                ctx.padding,
                (1, 1),
                False,
                (0, 0),
                len(weight),
                (False, True, False),
            )[1].to(weight.dtype)
        return of_x, of_weight, None, None


def _of_input(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair
) -> torch.Tensor:
    """The gradient of x: that of the output, spread by the stride, under the kernel turned by half a turn."""
    kernel, sizes = weight.shape[2:], x.shape[2:]
    if stride != (1, 1):
        places = [size + 2 * p - k + 1 for size, p, k in zip(sizes, padding, kernel, strict=True)]
        spread = torch.empty(
            (*gradient.shape[:2], *places), dtype=gradient.dtype, memory_format=torch.channels_last
        ).zero_()
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    further = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
    return functional.conv2d(gradient, weight.flip(2, 3), None, 1, further, 1, len(weight))
