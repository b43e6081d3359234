"""Networks written by hand, operator by operator: no converter stands between a test and the file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from convert.flatbuffer import model as fb
from convert.int8.calibration import CalibrationStatistics
from convert.int8.quantize import Quantized, apply_recipe, quantize
from convert.int8.recipe import Recipe

NONE, RELU, RELU6 = 0, 1, 3
SAME, VALID = 0, 1


def convolution(
    b: Any, x: int, weight: Any, bias: Any, activation: int = NONE, depthwise: bool = False, **options: Any
) -> int:
    """CONV_2D, weight (outputs, rows, columns, inputs), or DEPTHWISE_CONV_2D, (1, rows, columns, outputs).

    `weight` and `bias` are values, or tensors that other operators have too. Padding is SAME, strides are 1.
    """
    weight, bias = (
        t if isinstance(t, int) else b.constant(np.asarray(t, np.float32)) for t in (weight, bias)
    )
    selection = {
        "padding": SAME,
        "strideW": 1,
        "strideH": 1,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
        **options,
    }
    kernel = [int(n) for n in b.tensors[weight].shape]
    images, *size, channels = (int(n) for n in b.tensors[x].shape)
    rows, columns = (
        _length(n, k, selection[f"stride{axis}"], selection[f"dilation{axis}Factor"], selection["padding"])
        for n, k, axis in zip(size, kernel[1:3], "HW", strict=True)
    )
    outputs = kernel[-1] if depthwise else kernel[0]
    if depthwise:
        selection["depthMultiplier"] = outputs // channels
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    return b.op(
        kind, [x, weight, bias], [b.tensor(images, rows, columns, outputs)],
        "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", fusedActivationFunction=activation, **selection,
    )  # fmt: skip


def _length(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    reach = (kernel - 1) * dilation
    return -(-size // stride) if padding == SAME else -(-(size - reach) // stride)


def mean(b: Any, x: int, *axes: int) -> int:
    """MEAN over `axes`, 1 and 2 unless others are named."""
    axes = axes or (1, 2)
    shape = [int(n) for i, n in enumerate(b.tensors[x].shape) if i not in axes]
    return b.op("MEAN", [x, b.constant(list(axes))], [b.tensor(*shape)], "ReducerOptions")


def add(b: Any, x: int, y: int) -> int:
    """ADD of equal shapes."""
    return b.op("ADD", [x, y], [b.tensor(*map(int, b.tensors[x].shape))], "AddOptions")


def linear(b: Any, x: int, weight: Any, bias: Any = None, activation: int = NONE) -> int:
    """FULLY_CONNECTED, weight (outputs, inputs)."""
    weight = b.constant(np.asarray(weight, np.float32))
    last = -1 if bias is None else b.constant(np.asarray(bias, np.float32))
    output = b.tensor(int(b.tensors[x].shape[0]), int(b.tensors[weight].shape[0]))
    return b.op(
        "FULLY_CONNECTED", [x, weight, last], [output], "FullyConnectedOptions", fusedActivationFunction=activation
    )  # fmt: skip


def uneven(b: Any, activation: int = RELU) -> bytes:
    """Channels of very different scale: (1, 16, 16, 3) -> (1, 1).

    convolution -> depthwise -> residual of 1x1 convolutions -> mean -> two linear layers. Each channel of the first
    two maps is scaled by 1/16 to 8, and back in the weights that read it, as folded batch norms leave networks.
    """
    rng = np.random.default_rng(3)
    normal = rng.standard_normal
    scale = 2.0 ** rng.integers(-4, 4, 16)
    x = b.input(1, 16, 16, 3)
    stem = convolution(b, x, normal((16, 3, 3, 3)) / 5 * scale[:, None, None, None], 0.1 * scale, activation)
    spread = scale[::-1]
    local = convolution(
        b, stem, normal((1, 3, 3, 16)) / 3 / scale * spread, 0.1 * spread, activation, depthwise=True
    )
    narrow = convolution(b, local, normal((8, 1, 1, 16)) / 4 / spread, np.zeros(8))
    wide = convolution(b, narrow, normal((16, 1, 1, 8)) / 3, np.full(16, 0.1), activation)
    joined = add(b, narrow, convolution(b, wide, normal((8, 1, 1, 16)) / 4, np.zeros(8)))
    last = convolution(b, joined, normal((32, 1, 1, 8)) / 3, np.full(32, 0.1), activation)
    hidden = linear(b, mean(b, last), normal((16, 32)) / 6, np.full(16, 0.1), activation)
    return b.build(linear(b, hidden, np.abs(normal((1, 16))) / 4, [0.0]))


def pictures(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Prepared images (1, 16, 16, 3) in -1..1 for those networks: of another contrast and mean each."""
    rng = np.random.default_rng(seed)
    results = []
    for i in range(count):
        contrast, level = 0.1 + 0.5 * i / count, rng.uniform(-0.4, 0.4, 3)
        noise = contrast * rng.standard_normal((1, 16, 16, 3)) + level
        results.append({"in0": noise.clip(-1, 1).astype(np.float32)})
    return results


def bending(b: Any) -> bytes:
    """A block of MobileNetV3: hard-swish, depthwise, squeeze-and-excite, residual; (1, 16, 16, 3) -> (1, 1)."""
    normal = np.random.default_rng(6).standard_normal
    x = convolution(b, b.input(1, 16, 16, 3), normal((8, 3, 3, 3)), normal(8))
    x = hard_swish(b, x)
    local = hard_swish(b, convolution(b, x, normal((1, 3, 3, 8)), normal(8), depthwise=True))
    pooled = b.op(
        "MEAN", [local, b.constant([1, 2])], [b.tensor(1, 1, 1, 8)], "ReducerOptions", keepDims=True
    )
    squeezed = convolution(b, pooled, normal((4, 1, 1, 8)) / 3, normal(4), RELU)
    gate = convolution(b, squeezed, normal((8, 1, 1, 4)), np.full(8, 3.0), RELU6)
    gate = b.op("MUL", [gate, b.constant([1 / 6])], [b.tensor(1, 1, 1, 8)], "MulOptions")
    excited = b.op("MUL", [local, gate], [b.tensor(1, 16, 16, 8)], "MulOptions")
    x = add(b, x, convolution(b, excited, normal((8, 1, 1, 8)) / 4, normal(8)))
    hidden = linear(b, mean(b, x), normal((16, 8)) / 4, normal(16), RELU)
    return b.build(linear(b, hidden, normal((1, 16)) / 4, [0.0]))


def hard_swish(b: Any, x: int) -> int:
    """HARD_SWISH."""
    return b.op("HARD_SWISH", [x], [b.tensor(*map(int, b.tensors[x].shape))], "HardSwishOptions")


def quantize_file(fp32: Path, recipe: Recipe, images: Iterable[Any], out: Path) -> Quantized:
    """`quantize` from file to file."""
    model, quantized = quantize(fp32.read_bytes(), recipe, images)
    fb.write(model, out)
    return quantized


def apply_to_file(statistics: CalibrationStatistics, recipe: Recipe, out: Path) -> Quantized:
    """`apply_recipe` into a file."""
    model, quantized = apply_recipe(statistics, recipe)
    fb.write(model, out)
    return quantized
