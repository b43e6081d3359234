"""Which operators XNNPACK takes over from TensorFlow Lite: a table of checks; the first that fails says why.

It follows the delegate's own code (`Subgraph::VisitNode` in LiteRT's xnnpack_delegate.cc) with the default
flags of ai-edge-litert 2.3, and was compared with that runtime operator by operator: where public code and
runtime differ (LOG, FP16 activations, dynamic range), the runtime is right. Left out, and refused: variables,
composites, MediaPipe's custom operators.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from convert.flatbuffer.reader import Graph, Operator, Tensor

MAX_RANK = 6  # XNN_MAX_TENSOR_DIMS
FLOATS = frozenset({"float32", "float16"})
QUANTIZED = frozenset({"int8", "uint8"})
ANY = FLOATS | QUANTIZED


@dataclass(frozen=True)
class Site:
    """One operator as a check sees it: its tensors, and which inputs are known before the first run."""

    op: Operator
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    static: tuple[bool, ...]

    def input(self, index: int) -> Tensor | None:
        """Input `index`, None where it was left out."""
        return self.inputs[index] if index < len(self.inputs) else None


Check = Callable[[Site], str | None]  # the reason to refuse, None to go on


def site(graph: Graph, op: Operator, unpacked: frozenset[int] | set[int] = frozenset()) -> Site:
    """`op` with its tensors; `unpacked` are tensors that the delegate dequantizes while it prepares."""
    tensors = tuple(graph.tensors[i] if i >= 0 else None for i in op.inputs)
    static = tuple(t is not None and (t.constant or t.index in unpacked) for t in tensors)
    return Site(op, tensors, tuple(graph.tensors[i] for i in op.outputs), static)


def refusal(here: Site) -> str | None:
    """Why XNNPACK leaves this operator to TensorFlow Lite's own kernels; None when it takes it."""
    if here.op.custom:
        return "custom operator"
    if here.op.name not in RULES:
        return "XNNPACK has no such operator"
    return next(filter(None, (check(here) for check in RULES[here.op.name])), None)


def _arity(low: int, high: int | None = None, outputs: tuple[int, int] = (1, 1)) -> Check:
    high = low if high is None else high

    def check(here: Site) -> str | None:
        if not low <= len(here.inputs) <= high:
            return f"{len(here.inputs)} inputs; XNNPACK takes {low if low == high else f'{low} to {high}'}"
        if not outputs[0] <= len(here.outputs) <= outputs[1]:
            return f"{len(here.outputs)} outputs; XNNPACK takes {outputs[0]} to {outputs[1]}"
        return None

    return check


def _types(allowed: frozenset[str], *data: int, mixed: bool = False) -> Check:
    """Inputs `data` (all when none is named) and outputs have one allowed type, 8 bit with one scale."""

    def check(here: Site) -> str | None:
        inputs = [here.input(i) for i in data] if data else here.inputs
        tensors = [t for t in (*inputs, *here.outputs) if t is not None]
        for tensor in tensors:
            if tensor.dtype not in allowed:
                return f"{tensor.dtype} values; XNNPACK takes only {', '.join(sorted(allowed))}"
            if tensor.dtype in QUANTIZED and len(tensor.scales) != 1:
                return f"{tensor.dtype} activation without a per-tensor scale"
        types = sorted({t.dtype for t in tensors})
        return None if mixed or len(types) <= 1 else f"mixed types {' and '.join(types)}"

    return check


def _rank(low: int, high: int, *data: int) -> Check:
    def check(here: Site) -> str | None:
        for tensor in [here.input(i) for i in data] or here.inputs:
            if tensor is not None and not low <= len(tensor.shape) <= high:
                return f"rank {len(tensor.shape)}; XNNPACK takes {low if low == high else f'{low} to {high}'}"
            if tensor is not None and 0 in tensor.shape:
                return f"no elements in shape {tensor.shape}"
        return None

    return check


def _static(index: int, what: str, dtypes: tuple[str, ...] = (), optional: bool = False) -> Check:
    """Input `index` is known when the graph is prepared (and of one of `dtypes`)."""

    def check(here: Site) -> str | None:
        tensor = here.input(index)
        if tensor is None:
            return None if optional else f"no {what}"
        if not here.static[index]:
            return f"{what} not constant"
        return None if not dtypes or tensor.dtype in dtypes else f"{what} of type {tensor.dtype}"

    return check


def _activation(here: Site) -> str | None:
    """NONE, RELU, RELU_N1_TO_1 and RELU6 are clamps; TANH and SIGN_BIT are not."""
    code = here.op.option("fusedActivationFunction")
    return None if code in (0, 1, 2, 3) else f"fused activation {code} is not a clamp"


def _scales(low: float, high: float, product: bool = False) -> Check:
    """8 bit only: each input scale (or the product of both) over the output scale is in [low, high)."""

    def check(here: Site) -> str | None:
        if here.outputs[0].dtype not in QUANTIZED:
            return None
        scales = [t.scales[0] for t in here.inputs if t is not None]
        for scale in [math.prod(scales)] if product else scales:
            ratio = scale / here.outputs[0].scales[0]
            if not low <= ratio < high:
                return f"input to output scale {ratio:.3g} outside [{low:.3g}, {high:.3g})"
        return None

    return check


def _same_quantization(here: Site) -> str | None:
    first, result = here.input(0), here.outputs[0]
    if first is None or (first.scales, first.zero_points) == (result.scales, result.zero_points):
        return None
    return "input and output quantized differently"


def _weights(*pairs: tuple[str, str]) -> Check:
    """(input type, weight type) is one of `pairs`, and the output has the input's type."""

    def check(here: Site) -> str | None:
        data, weights, result = here.input(0), here.input(1), here.outputs[0]
        if data is None or weights is None:
            return "no data or no weights"
        if (data.dtype, weights.dtype) not in pairs or result.dtype != data.dtype:
            return f"{data.dtype} input with {weights.dtype} weights to {result.dtype}"
        return (
            "int8 activation without a per-tensor scale"
            if (data.dtype in QUANTIZED and not len(data.scales) == len(result.scales) == 1)
            else None
        )

    return check


def _pool(here: Site) -> str | None:
    filters = here.op.option("filterHeight"), here.op.option("filterWidth")
    strides = here.op.option("strideH"), here.op.option("strideW")
    if any(not 0 < stride <= size for stride, size in zip(strides, filters, strict=True)):
        return f"stride {strides[0]}x{strides[1]} exceeds the {filters[0]}x{filters[1]} window"
    return None


def _slice_sizes(here: Site) -> str | None:
    sizes = here.inputs[2].values().tolist()
    return None if min(sizes, default=1) > 0 else f"sizes {sizes}; XNNPACK takes only sizes above 0, not -1"


def _plain_strides(here: Site) -> str | None:
    for mask in ("ellipsisMask", "newAxisMask", "shrinkAxisMask"):
        if here.op.option(mask):
            return f"{mask} is set"
    strides = here.inputs[3].values().tolist()
    return None if set(strides) <= {1} else f"strides {strides}; XNNPACK takes only 1"


def _right_zero_point(here: Site) -> str | None:
    left, right = here.inputs[:2]
    if left.dtype == right.dtype == "int8" and any(right.zero_points):
        return f"right side's zero point is {right.zero_points[0]}; XNNPACK takes only 0"
    return None


def _requantized(here: Site) -> str | None:
    before, after = here.inputs[0].dtype, here.outputs[0].dtype
    if before in QUANTIZED and before != after:
        return f"{before} to {after}"
    return _scales(1 / 256, 128)(here) if before == after else None


def _dequantized(here: Site) -> str | None:
    return None if here.inputs[0].dtype in QUANTIZED else f"{here.inputs[0].dtype} that is not a constant"


def _beta(here: Site) -> str | None:
    beta = here.op.option("beta")
    return None if beta == 1 else f"beta {beta:g}; XNNPACK takes only 1"


def _result_rank(here: Site) -> str | None:
    rank = len(here.outputs[0].shape)
    return None if rank <= MAX_RANK else f"output of rank {rank}; XNNPACK takes 0 to {MAX_RANK}"


def _blocks(here: Site) -> str | None:
    size = here.op.option("blockSize")
    if size <= 1 or (here.op.name == "SPACE_TO_DEPTH" and any(d % size for d in here.inputs[0].shape[1:3])):
        return f"block size {size} for shape {here.inputs[0].shape}"
    return None


def _never(reason: str) -> tuple[Check, ...]:
    return (lambda here: reason,)


_I32 = ("int32",)
_INDEX = ("int32", "int64")
_UNARY = (_arity(1), _rank(0, MAX_RANK))
_BINARY = (_arity(2), _rank(0, MAX_RANK), _activation)
_CONV = (_arity(3), _rank(4, 4, 0, 1), _static(1, "weights"), _static(2, "bias"), _activation)
_PLAIN = tuple((t, t) for t in ("float32", "float16", "int8", "uint8"))
_DYNAMIC_RANGE = ("float32", "int8")  # activations are quantized row by row while running

RULES: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(
        (
            "ABS",
            "CEIL",
            "COS",
            "EXP",
            "FLOOR",
            "GELU",
            "HARD_SWISH",
            "LOG",
            "NEG",
            "RELU",
            "RELU6",
            "RELU_N1_TO_1",
            "ROUND",
            "RSQRT",
            "SIN",
            "SQRT",
            "SQUARE",
        ),
        (*_UNARY, _types(FLOATS)),
    ),
    **dict.fromkeys(("ELU", "LOGISTIC", "TANH"), (*_UNARY, _types(ANY))),
    "LEAKY_RELU": (*_UNARY, _types(ANY), _scales(1 / 256, 128)),
    "QUANTIZE": (*_UNARY, _types(ANY, mixed=True), _requantized),
    "DEQUANTIZE": (*_UNARY, _dequantized, _types(ANY, mixed=True)),
    "ADD": (*_BINARY, _types(ANY), _scales(1 / 1024, 256)),
    "SUB": (*_BINARY, _types(ANY), _scales(1 / 1024, 256)),
    "MUL": (*_BINARY, _types(ANY), _scales(1 / 65536, 256, product=True)),
    **dict.fromkeys(("DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), (*_BINARY, _types(FLOATS))),
    "PRELU": (*_BINARY, _types(FLOATS), _static(1, "slope")),
    "SOFTMAX": (_arity(1), _types(FLOATS), _beta),
    "AVERAGE_POOL_2D": (_arity(1), _types(FLOATS), _pool, _activation),
    "MAX_POOL_2D": (_arity(1), _types(ANY - {"float16"}), _pool, _activation),
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"),
        (_arity(2), _types(ANY, 0), _static(1, "axes", _I32), _rank(0, 1, 1)),
    ),
    "CONCATENATION": (_arity(2, 5), _types(ANY)),
    "SPLIT": (_arity(2, outputs=(2, 4)), _types(ANY, 1), _static(0, "axis", _I32)),
    "PAD": (_arity(2), _types(ANY, 0), _rank(1, MAX_RANK, 0), _static(1, "padding", _I32)),
    "RESHAPE": (
        _arity(1, 2),
        _types(ANY, 0),
        _rank(0, MAX_RANK, 0),
        _static(1, "new shape", _I32, optional=True),
        _same_quantization,
        _result_rank,
    ),
    "TRANSPOSE": (_arity(2), _types(ANY, 0), _rank(0, MAX_RANK, 0), _static(1, "permutation")),
    "SLICE": (
        _arity(3),
        _types(ANY, 0),
        _rank(0, MAX_RANK, 0),
        _static(1, "begin", _INDEX),
        _static(2, "size", _INDEX),
        _slice_sizes,
    ),
    "STRIDED_SLICE": (
        _arity(4),
        _types(ANY, 0),
        _rank(0, MAX_RANK, 0),
        _static(1, "begin", _I32),
        _static(2, "end", _I32),
        _static(3, "strides", _I32),
        _plain_strides,
    ),
    "EXPAND_DIMS": _never("switched off in the delegate; RESHAPE is taken"),
    "RESIZE_BILINEAR": (_arity(2), _types(ANY - {"float16"}, 0), _rank(4, 4, 0), _static(1, "size", _I32)),
    "DEPTH_TO_SPACE": (_arity(1), _types(ANY), _blocks),
    "SPACE_TO_DEPTH": (_arity(1), _types(ANY), _blocks),
    "CONV_2D": (*_CONV, _weights(*_PLAIN, _DYNAMIC_RANGE)),
    "DEPTHWISE_CONV_2D": (*_CONV, _weights(*_PLAIN)),
    "TRANSPOSE_CONV": (
        _arity(3, 4),
        _types(ANY, 2),
        _rank(4, 4, 1, 2),
        _static(0, "output shape", _I32),
        _static(1, "weights"),
        _static(3, "bias", optional=True),
        _activation,
    ),
    "FULLY_CONNECTED": (
        _arity(2, 3),
        _rank(2, 2, 1),
        _static(1, "weights"),
        _static(2, "bias", optional=True),
        _activation,
        _weights(*_PLAIN, _DYNAMIC_RANGE, ("float32", "int4"), ("int8", "int4")),
    ),
    "BATCH_MATMUL": (
        _arity(2),
        _rank(2, MAX_RANK, 0, 1),
        _weights(*_PLAIN[:3], _DYNAMIC_RANGE),
        _right_zero_point,
    ),
}
