"""FP16 weights: which of them an FP16 file may round, and how it stores those.

A weight of 11 bits is off by up to 2^-12 of itself. Over an output's n weights (its fan-in) these errors add up
like sqrt(n) while the output grows like n, so the few weights of small fan-in (depthwise filters, the stem, the
first 1x1 convolutions) do most of the harm: kept in float32 they cost half a percent of the file.
`choose_fp16_weights` raises the fan-in up to which weights stay float32 until the score of some generated images
holds; `store_fp16_weights` rounds the others in the flatbuffer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.reasons import torch_outputs
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from convert.flatbuffer.model import Model

FAN_INS = (64, 128, 256, 512, 1024, 2048, 4096)
TARGET = 5e-4  # of the score range: a quarter of the FP16 tolerance, as photos differ from the probes
IMAGES = 6
FEW, FAR = 2, 1 / 8  # images that decide where all stay below this share of the target: the six differ less
PROBE_PX = (320, 256)  # width, height of a free input size: one for all, so that sizes share their weights
CROPS = 4  # of a model that scores crops
LARGEST_FP16 = 65504.0


@dataclass(frozen=True)
class Fp16Weights:
    """Weights of at most `fan_in` values per output stay float32; `max_abs` is what the others then cost."""

    fan_in: int
    float32: int  # how many values stay float32
    rounded: int
    # Of the score range (or of a reason), largest over the probe images that it took to decide.
    max_abs: float


def choose_fp16_weights(module: "nn.Module", spec: ModelSpec, target: float = TARGET) -> Fp16Weights:
    """The smallest of FAN_INS under which rounding moves no probe image's score, or reason, by more than `target`.

    Beyond the last one nothing would be rounded, so the last is returned whatever it costs; parity judges the
    file. `module` is the rewritten module; its weights are put back.
    """
    from mobileiqa.photos.generated_images import sample_images

    sized = _probe_spec(spec)
    prepared = [prepare(image, sized) for _, image in sample_images(IMAGES)]
    batch = [{name: array[:CROPS] for name, array in inputs.items()} for inputs in prepared]
    weights = {name: p for name, p in module.named_parameters() if name.endswith("weight") and p.dim() >= 2}
    expected: list[np.ndarray] = []  # of the images that were needed so far
    fp16_weights = None
    for fan_in in FAN_INS:
        rounded = [p for p in weights.values() if _fan_in(p) > fan_in]
        limit = target if fan_in != FAN_INS[-1] else float("inf")
        worst = _largest_shift(module, spec, rounded, batch, expected, limit)
        count = sum(p.numel() for p in rounded)
        fp16_weights = Fp16Weights(fan_in, sum(p.numel() for p in weights.values()) - count, count, worst)
        if worst <= target:
            break
    assert fp16_weights is not None
    return fp16_weights


def _largest_shift(
    module: "nn.Module",
    spec: ModelSpec,
    weights: "list[nn.Parameter]",
    batch: "Sequence[Mapping[str, np.ndarray]]",
    expected: list[np.ndarray],
    limit: float,
) -> float:
    """How far the score, or a reason, of an image moves at most where `weights` are rounded.

    Ends at the first image beyond `limit`, and after FEW images that all stay far within it. `expected` holds what
    the module gives for the first images, and gets what is missing.
    """
    worst = 0.0
    for number, inputs in enumerate(batch):
        if number == len(expected):
            expected.append(_outputs(module, spec, inputs))
        with _rounded(weights):
            shift = float(np.abs(_outputs(module, spec, inputs) - expected[number]).max())
        worst = max(worst, shift) if shift == shift else shift
        if not worst <= limit or (number + 1 >= FEW and worst <= limit * FAR):
            break
    return worst


def _probe_spec(spec: ModelSpec) -> ModelSpec:
    """`spec` at a fixed size that is quick to run, where the size is free."""
    return spec.resized(*PROBE_PX) if spec.size_is_free else spec


def _fan_in(weight: "torch.Tensor") -> int:
    """Values per output."""
    return weight[0].numel()


def _outputs(module: "nn.Module", spec: ModelSpec, inputs: "Mapping[str, np.ndarray]") -> np.ndarray:
    """Float64 (1 + reasons,): an image's score in units of its range and its reasons, means over its crops."""
    low, high = spec.score_range
    outputs = torch_outputs(module, spec, inputs)
    reasons = outputs["reasons"].astype(np.float64).mean(0) if "reasons" in outputs else ()
    return np.array([outputs["score"].astype(np.float64).mean() / (high - low), *reasons])


@contextmanager
def _rounded(weights: "list[nn.Parameter]") -> Iterator[None]:
    """In the block, `weights` are rounded to float16."""
    import torch

    originals = [p.detach().clone() for p in weights]
    with torch.no_grad():
        for p in weights:
            p.copy_(p.half().float())
        try:
            yield
        finally:
            for p, original in zip(weights, originals, strict=True):
                p.copy_(original)


def store_fp16_weights(model: "Model", fan_in: int = 0) -> int:
    """Stores constant float32 weights as float16 behind one DEQUANTIZE each. Returns how many.

    Weights of at most `fan_in` values per output stay float32 (`choose_fp16_weights`).

    Biases stay float32: they are few. XNNPACK folds the DEQUANTIZE when it packs the weight, in FP16 where
    the file allows FP16 arithmetic and the processor has it. Raises UserError for a weight beyond FP16's range.
    """
    from ai_edge_litert import schema_py_generated as schema

    code = fb.opcode(model, "DEQUANTIZE")
    changed = 0
    for graph in model.subgraphs:
        added: dict[int, Any] = {}
        for operator in graph.operators:
            position = fb.WEIGHT_INPUT.get(fb.kind(model, operator))
            if position is None:
                continue
            index = int(operator.inputs[position])
            tensor = graph.tensors[index]
            if (
                index in added
                or not fb.is_constant(model, tensor)
                or tensor.type != schema.TensorType.FLOAT32
            ):
                continue
            if _per_output(fb.kind(model, operator), tensor) <= fan_in:
                continue
            added[index] = _dequantized(model, graph, tensor, index, code)
        graph.operators = [*added.values(), *graph.operators]
        changed += len(added)
    return changed


def _per_output(operator: str, weight: Any) -> int:
    """Values per output: a depthwise weight is (1, kernel rows, kernel columns, outputs), others (outputs, ...)."""
    shape = [int(n) for n in weight.shape]
    return int(np.prod(shape[1:-1] if operator == "DEPTHWISE_CONV_2D" else shape[1:]))


def _dequantized(model: "Model", graph: Any, tensor: Any, index: int, code: int) -> Any:
    """Moves the constant of `tensor` into a new float16 tensor; returns the DEQUANTIZE that refills it."""
    from ai_edge_litert import schema_py_generated as schema

    values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LARGEST_FP16:
        name = tensor.name.decode(errors="replace")
        raise UserError(
            f"weights within FP16's range (+-{LARGEST_FP16:g})", f"{largest:g} in {name}", "use --fp32"
        )
    stored = schema.TensorT()
    stored.shape, stored.type, stored.name = tensor.shape, schema.TensorType.FLOAT16, tensor.name + b"_half"
    stored.buffer, stored.hasRank = fb.add_buffer(model, values.astype(np.float16).tobytes()), True
    graph.tensors.append(stored)
    tensor.buffer = 0  # buffer 0 is the empty one: an activation now
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def fp16_obstacles(model: "Model") -> list[str]:
    """Why the file may not be marked for FP16 arithmetic; empty when nothing stands against it.

    A BATCH_MATMUL with a constant on its left loads on x86 and on ARM cores without FP16, and fails to load
    ("failed to delegate BATCH_MATMUL node") on the very cores that the mark is for.
    """
    return [
        f"BATCH_MATMUL {index} has a constant on its left, which fails to load on ARM cores with FP16"
        for graph in model.subgraphs
        for index, operator in enumerate(graph.operators)
        if fb.kind(model, operator) == "BATCH_MATMUL"
        and fb.is_constant(model, graph.tensors[operator.inputs[0]])
    ]
