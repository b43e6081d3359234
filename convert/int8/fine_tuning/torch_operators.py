"""The operators of our .tflite files in PyTorch, differentiable, on tensors as the file has them: channels last.

Each function takes the operator's options (the schema's object), the shape of its output and its inputs: float32
tensors, None for an input that was left out, and NumPy arrays for integers such as axes and sizes. Activation
functions fused into an operator are applied by the caller.
"""

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Shape = Sequence[int]
Integers = NDArray[np.int32]
Function = Callable[..., "Tensor"]

SAME = 0


def _convolution(
    options: Any, shape: Shape, x: "Tensor", weight: "Tensor", bias: "Tensor | None"
) -> "Tensor":
    """weight (outputs, rows, columns, inputs of a group)."""
    groups = x.shape[-1] // weight.shape[-1]
    return _convolved(options, shape, x, weight.permute(0, 3, 1, 2), bias, groups)


def _depthwise(options: Any, shape: Shape, x: "Tensor", weight: "Tensor", bias: "Tensor | None") -> "Tensor":
    """weight (1, rows, columns, outputs)."""
    return _convolved(options, shape, x, weight.permute(3, 0, 1, 2), bias, x.shape[-1])


def _convolved(
    options: Any, shape: Shape, x: "Tensor", weight: "Tensor", bias: "Tensor | None", groups: int
) -> "Tensor":
    from torch.nn import functional

    strides = (options.strideH, options.strideW)
    dilations = (options.dilationHFactor, options.dilationWFactor)
    maps, inside = x.permute(0, 3, 1, 2), [0, 0]  # a view: convolutions work on channels-last memory
    if options.padding == SAME:
        around = _lacking(x.shape[1:3], shape[1:3], weight.shape[2:], strides, dilations)
        if all(before == after for before, after in around):
            inside = [before for before, _ in around]
        else:
            maps = functional.pad(maps, [*around[1], *around[0]])
    return functional.conv2d(maps, weight, bias, strides, inside, dilations, groups).permute(0, 2, 3, 1)


def _lacking(
    size: Shape, output: Shape, kernel: Shape, strides: Shape, dilations: Shape
) -> list[tuple[int, int]]:
    """What SAME pads before and behind, rows and columns: the odd pixel behind."""
    pads = []
    for n, out, k, stride, dilation in zip(size, output, kernel, strides, dilations, strict=True):
        lacking = max((out - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        pads.append((lacking // 2, lacking - lacking // 2))
    return pads


def _linear(
    options: Any, shape: Shape, x: "Tensor", weight: "Tensor", bias: "Tensor | None" = None
) -> "Tensor":
    from torch.nn import functional

    return functional.linear(x.reshape(-1, weight.shape[-1]), weight, bias).reshape(*shape)


def _matmul(options: Any, shape: Shape, x: "Tensor", y: "Tensor") -> "Tensor":
    return (x.mT if options.adjX else x) @ (y.mT if options.adjY else y)


def _average_pool(options: Any, shape: Shape, x: "Tensor") -> "Tensor":
    from torch.nn import functional

    if options.padding == SAME:
        raise ValueError("expected AVERAGE_POOL_2D without padding; found SAME")
    window, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    return functional.avg_pool2d(x.permute(0, 3, 1, 2), window, strides).permute(0, 2, 3, 1)


def _mean(options: Any, shape: Shape, x: "Tensor", axes: Integers) -> "Tensor":
    return x.mean(_axes(axes)).reshape(*shape)


def _sum(options: Any, shape: Shape, x: "Tensor", axes: Integers) -> "Tensor":
    return x.sum(_axes(axes)).reshape(*shape)


def _axes(axes: Integers) -> list[int]:
    return [int(axis) for axis in axes.ravel()]


def _concatenation(options: Any, shape: Shape, *parts: "Tensor") -> "Tensor":
    import torch

    return torch.cat(parts, options.axis)


def _pad(options: Any, shape: Shape, x: "Tensor", paddings: Integers) -> "Tensor":
    """paddings (axes, 2)."""
    from torch.nn import functional

    return functional.pad(x, [int(n) for before_after in paddings[::-1] for n in before_after])


def _slice(options: Any, shape: Shape, x: "Tensor", begin: Integers, size: Integers) -> "Tensor":
    ends = [int(b) + n for b, n in zip(begin, shape, strict=True)]
    return x[tuple(slice(int(b), end) for b, end in zip(begin, ends, strict=True))]


def _reshape(options: Any, shape: Shape, x: "Tensor", size: Integers | None = None) -> "Tensor":
    return x.reshape(*shape)


def _transpose(options: Any, shape: Shape, x: "Tensor", order: Integers) -> "Tensor":
    return x.permute(*_axes(order))


def _softmax(options: Any, shape: Shape, x: "Tensor") -> "Tensor":
    return (options.beta * x).softmax(-1)


def _gelu(options: Any, shape: Shape, x: "Tensor") -> "Tensor":
    from torch.nn import functional

    return functional.gelu(x, approximate="tanh" if options.approximate else "none")


def _hard_swish(options: Any, shape: Shape, x: "Tensor") -> "Tensor":
    from torch.nn import functional

    return functional.hardswish(x)


def _plain(function: Function) -> Function:
    """A function of its inputs alone."""
    return lambda options, shape, *inputs: function(*inputs)


OPERATORS: dict[str, Function] = {
    "ABS": _plain(abs),
    "ADD": _plain(operator.add),
    "AVERAGE_POOL_2D": _average_pool,
    "BATCH_MATMUL": _matmul,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _plain(lambda x: x),  # integers are held as the real values that they stand for
    "FULLY_CONNECTED": _linear,
    "GELU": _gelu,
    "HARD_SWISH": _hard_swish,
    "LOGISTIC": _plain(lambda x: x.sigmoid()),
    "MEAN": _mean,
    "MUL": _plain(operator.mul),
    "PAD": _pad,
    "QUANTIZE": _plain(lambda x: x),
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "SUB": _plain(operator.sub),
    "SUM": _sum,
    "TRANSPOSE": _transpose,
}
# By the schema's ActivationFunctionType.
FUSED: dict[int, Function] = {0: lambda x: x, 1: lambda x: x.relu(), 3: lambda x: x.clamp(0, 6)}
