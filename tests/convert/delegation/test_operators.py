"""The forecast against the runtime itself, one operator at a time: each rule, kept and broken."""

import numpy as np
import pytest

from convert.delegation.partitions import forecast
from convert.delegation.runtime_probe import delegate_nodes
from convert.flatbuffer.reader import read_graph

I8 = {"dtype": "int8", "scale": (0.05, 0)}
UNIT = {"dtype": "int8", "scale": (1 / 256, -128)}  # exactly [0, 1)
PER_CHANNEL = (np.full(5, 0.01), np.zeros(5))
IMAGE = (1, 8, 8, 4)
CONV = {
    "options": "Conv2DOptions",
    "padding": 0,
    "strideW": 1,
    "strideH": 1,
    "dilationWFactor": 1,
    "dilationHFactor": 1,
}
DEPTHWISE = {**CONV, "options": "DepthwiseConv2DOptions", "depthMultiplier": 1}
DENSE = {"options": "FullyConnectedOptions"}
MATMUL = {"options": "BatchMatMulOptions"}
POOL = {
    "options": "Pool2DOptions",
    "padding": 1,
    "strideW": 2,
    "strideH": 2,
    "filterWidth": 2,
    "filterHeight": 2,
}
POOLED = (1, 4, 4, 4)
REDUCE = {"options": "ReducerOptions", "keepDims": True}
JOIN = {"options": "ConcatenationOptions", "axis": 3}


def unary(name, dtype=None, version=1, **options):
    def build(b):
        x = b.input(*IMAGE, **(dtype or {}))
        return [b.op(name, [x], [b.tensor(*IMAGE, **(dtype or {}))], version=version, **options)]

    return build


def binary(name, dtype=None, version=1, shape=IMAGE, **options):
    def build(b):
        x, y = b.input(*shape, **(dtype or {})), b.input(*shape, **(dtype or {}))
        return [b.op(name, [x, y], [b.tensor(*shape, **(dtype or {}))], version=version, **options)]

    return build


def with_constants(name, constants, shape, out, dtype=None, result=None, version=1, **options):
    """`name` on one input of `shape`, and constants: (values, dtype, scale), or None where left out."""

    def build(b):
        x = b.input(*shape, **(dtype or {}))
        rest = [-1 if c is None else b.constant(*c) for c in constants]
        y = b.tensor(*out, **(result or dtype or {}))
        return [b.op(name, [x, *rest], [y], version=version, **options)]

    return build


def computed_weights(b):
    x, w = b.input(6, 8), b.input(5, 8)
    return [b.op("FULLY_CONNECTED", [x, w, -1], [b.tensor(6, 5)], **DENSE)]


def matmul(left, right, **fields):
    def build(b):
        return [
            b.op(
                "BATCH_MATMUL",
                [left(b), right(b)],
                [b.tensor(6, 5, **fields.get("out", {}))],
                **MATMUL,
                **{k: v for k, v in fields.items() if k != "out"},
            )
        ]

    return build


def split(pieces):
    def build(b):
        x = b.input(1, pieces * 2, 4, 4)
        outputs = [b.tensor(1, 2, 4, 4) for _ in range(pieces)]
        b.op("SPLIT", [b.constant(1), x], outputs, options="SplitOptions", numSplits=pieces)
        return outputs

    return build


def join(count):
    def build(b):
        parts = [b.input(*IMAGE) for _ in range(count)]
        return [b.op("CONCATENATION", parts, [b.tensor(1, 8, 8, 4 * count)], **JOIN)]

    return build


BIAS = (np.ones(5),)


def dense(weights, bias=BIAS, version=1, dtype=None):
    return with_constants("FULLY_CONNECTED", [weights, bias], (6, 8), (6, 5), dtype, version=version, **DENSE)


def conv(weights, bias=BIAS, version=1):
    return with_constants("CONV_2D", [weights, bias], IMAGE, (1, 8, 8, 5), version=version, **CONV)


def strided(begin, end, strides, out, **fields):
    return with_constants(
        "STRIDED_SLICE", [(begin,), (end,), (strides,)], IMAGE, out, options="StridedSliceOptions", **fields
    )


ONES = np.ones((5, 8))
FILTER = np.ones((5, 3, 3, 4))
# name -> (builds the graph and returns its outputs, a word of the refusal's reason or None: delegated)
CASES = {
    "gelu": (unary("GELU", options="GeluOptions"), None),
    "gelu int8": (unary("GELU", I8, options="GeluOptions"), "int8"),
    "hard_swish": (unary("HARD_SWISH"), None),
    "hard_swish int8": (unary("HARD_SWISH", I8), "int8"),
    "logistic int8": (unary("LOGISTIC", UNIT, 2), None),
    "relu": (unary("RELU"), None),
    "relu6 int8": (unary("RELU6", I8, 2), "int8"),
    "relu_0_to_1": (unary("RELU_0_TO_1"), "no such operator"),
    "log": (unary("LOG"), None),
    "sqrt": (unary("SQRT"), None),
    "softmax": (unary("SOFTMAX", options="SoftmaxOptions", beta=1.0), None),
    "softmax beta": (unary("SOFTMAX", options="SoftmaxOptions", beta=2.0), "beta 2"),
    "softmax int8": (
        with_constants("SOFTMAX", [], (6, 8), (6, 8), I8, UNIT, 2, options="SoftmaxOptions", beta=1.0),
        "int8",
    ),
    "add": (binary("ADD", options="AddOptions"), None),
    "add int8": (binary("ADD", I8, 2, options="AddOptions"), None),
    "add tanh": (binary("ADD", options="AddOptions", fusedActivationFunction=4), "fused activation"),
    "add rank 7": (binary("ADD", shape=(1, 1, 1, 1, 2, 2, 3), options="AddOptions"), "rank 7"),
    "add int32": (binary("ADD", {"dtype": "int32"}, options="AddOptions"), "int32"),
    "add empty": (binary("ADD", shape=(0, 4), options="AddOptions"), "no elements"),
    "div int8": (binary("DIV", I8, 2, options="DivOptions"), "int8"),
    "minimum": (binary("MINIMUM", options="MaximumMinimumOptions"), None),
    "maximum int8": (binary("MAXIMUM", I8, 2, options="MaximumMinimumOptions"), "int8"),
    "mul scalar": (with_constants("MUL", [(2.0,)], IMAGE, IMAGE, options="MulOptions"), None),
    "pow": (binary("POW", options="PowOptions"), "no such operator"),
    "average pool": (with_constants("AVERAGE_POOL_2D", [], IMAGE, POOLED, **POOL), None),
    "average pool int8": (
        with_constants("AVERAGE_POOL_2D", [], IMAGE, POOLED, I8, version=2, **POOL),
        "int8",
    ),
    "max pool int8": (with_constants("MAX_POOL_2D", [], IMAGE, POOLED, I8, version=2, **POOL), None),
    "max pool stride": (
        with_constants("MAX_POOL_2D", [], IMAGE, POOLED, **{**POOL, "filterWidth": 1, "filterHeight": 1}),
        "window",
    ),
    "mean rows": (with_constants("MEAN", [([1],)], IMAGE, (1, 1, 8, 4), **REDUCE), None),
    "mean last": (with_constants("MEAN", [([-1],)], IMAGE, (1, 8, 8, 1), **REDUCE), None),
    "mean int8": (with_constants("MEAN", [([1, 2],)], IMAGE, (1, 1, 1, 4), I8, version=2, **REDUCE), None),
    "sum": (with_constants("SUM", [([1],)], IMAGE, (1, 1, 8, 4), **REDUCE), None),
    "product": (with_constants("REDUCE_PROD", [([1],)], IMAGE, (1, 1, 8, 4), version=2, **REDUCE), "no such"),
    "join 5": (join(5), None),
    "join 6": (join(6), "6 inputs; XNNPACK takes 2 to 5"),
    "split 4": (split(4), None),
    "split 5": (split(5), "5 outputs; XNNPACK takes 2 to 4"),
    "pad": (with_constants("PAD", [([[0, 0], [1, 1], [1, 1], [0, 0]],)], IMAGE, (1, 10, 10, 4)), None),
    "reshape": (with_constants("RESHAPE", [([1, -1],)], IMAGE, (1, 256)), None),
    "reshape requantized": (
        with_constants("RESHAPE", [([1, 256],)], IMAGE, (1, 256), I8, {"dtype": "int8", "scale": (0.07, 0)}),
        "quantized differently",
    ),
    "expand dims": (
        with_constants("EXPAND_DIMS", [(0,)], IMAGE, (1, *IMAGE), options="ExpandDimsOptions"),
        "switched off",
    ),
    "transpose": (with_constants("TRANSPOSE", [([0, 3, 1, 2],)], IMAGE, (1, 4, 8, 8)), None),
    "slice": (with_constants("SLICE", [([0, 1, 1, 0],), ([1, 4, 4, 4],)], IMAGE, (1, 4, 4, 4)), None),
    "slice to the end": (with_constants("SLICE", [([0, 1, 1, 0],), ([1, 4, 4, -1],)], IMAGE, POOLED), "-1"),
    "strided slice": (strided([0, 1, 1, 0], [1, 5, 5, 4], [1] * 4, (1, 4, 4, 4)), None),
    "strided slice 2": (strided([0] * 4, [1, 8, 8, 4], [1, 2, 2, 1], (1, 4, 4, 4)), "strides"),
    "strided slice shrinks": (
        strided([0] * 4, [1, 8, 8, 4], [1] * 4, (8, 8, 4), shrinkAxisMask=1),
        "shrinkAxisMask is set",
    ),
    "gather": (
        with_constants("GATHER", [([0, 1],)], IMAGE, (1, 2, 8, 4), options="GatherOptions", axis=1),
        "no such operator",
    ),
    "cumsum": (with_constants("CUMSUM", [(1,)], IMAGE, IMAGE, options="CumsumOptions"), "no such operator"),
    "resize": (
        with_constants(
            "RESIZE_BILINEAR", [([16, 16],)], IMAGE, (1, 16, 16, 4), options="ResizeBilinearOptions"
        ),
        None,
    ),
    "quantize": (with_constants("QUANTIZE", [], IMAGE, IMAGE, result=I8, options="QuantizeOptions"), None),
    "requantize far": (
        with_constants("QUANTIZE", [], IMAGE, IMAGE, I8, {"dtype": "int8", "scale": (1e-4, 0)}, 2),
        "scale 500",
    ),
    "dequantize": (with_constants("DEQUANTIZE", [], IMAGE, IMAGE, I8, {"dtype": "float32"}, 2), None),
    "conv": (conv((FILTER,)), None),
    "conv dynamic range": (conv((FILTER, "int8", PER_CHANNEL), version=5), None),
    "depthwise": (
        with_constants(
            "DEPTHWISE_CONV_2D", [(np.ones((1, 3, 3, 4)),), (np.ones(4),)], IMAGE, IMAGE, **DEPTHWISE
        ),
        None,
    ),
    "depthwise no bias": (
        with_constants("DEPTHWISE_CONV_2D", [(np.ones((1, 3, 3, 4)),)], IMAGE, IMAGE, **DEPTHWISE),
        "2 inputs",
    ),
    "depthwise dynamic range": (
        with_constants(
            "DEPTHWISE_CONV_2D",
            [(np.ones((1, 3, 3, 4)), "int8", (np.full(4, 0.01), np.zeros(4), 3)), (np.ones(4),)],
            IMAGE,
            IMAGE,
            version=6,
            **DEPTHWISE,
        ),
        "float32 input with int8 weights",
    ),
    "dense": (dense((ONES,)), None),
    "dense no bias": (dense((ONES,), None), None),
    "dense dynamic range": (dense((ONES, "int8", PER_CHANNEL), version=9), None),
    "dense int8": (dense((ONES, "int8", PER_CHANNEL), None, 5, I8), None),
    "dense computed weights": (computed_weights, "weights not constant"),
    "matmul": (matmul(lambda b: b.input(6, 8), lambda b: b.input(8, 5)), None),
    "matmul adj_y": (matmul(lambda b: b.input(6, 8), lambda b: b.input(5, 8), adjY=True), None),
    "matmul adj_x": (matmul(lambda b: b.input(8, 6), lambda b: b.input(8, 5), adjX=True), None),
    "matmul constant left": (matmul(lambda b: b.constant(np.ones((6, 8))), lambda b: b.input(8, 5)), None),
    "matmul int8": (matmul(lambda b: b.input(6, 8, **I8), lambda b: b.input(8, 5, **I8), out=I8), None),
    "matmul int8 zero point": (
        matmul(lambda b: b.input(6, 8, **I8), lambda b: b.input(8, 5, dtype="int8", scale=(0.05, 3)), out=I8),
        "zero point is 3",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_operator_like_the_runtime(name, flatbuffer, save):
    build, reason = CASES[name]
    path = save(flatbuffer.build(*build(flatbuffer)))
    ours = forecast(read_graph(path))
    delegated = len(delegate_nodes(str(path), fused=False)[1])  # one operator: cheap, and in this process
    assert delegated == len(ours.delegated) == (0 if reason else 1), ours.refusals
    assert reason is None or reason in ours.refusals[0]
