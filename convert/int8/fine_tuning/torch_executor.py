"""One of our .tflite files, FP32 or INT8, run in PyTorch with gradients, tensor by tensor as the file says.

    program = compile_graph(fb.read(path))
    tensors = run(program, inputs)                    # the score; `others` names more tensors
    tensors = run(program, inputs, {index: weight})   # with other values of some constants

An INT8 file is run on the real values that its integers stand for: what an operator writes into an 8-bit tensor is
rounded and clipped to that tensor's grid (fake_quantize.py), and gradients pass the rounding unchanged.
That is what the file computes, but for results on the edge between two integers. Left out: operators that our
files do not contain; ValueError names one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb
from convert.int8.fine_tuning.fake_quantize import Grid, quantized, quantized_rows
from convert.int8.fine_tuning.torch_operators import FUSED, OPERATORS, Function
from convert.int8.weights import values

if TYPE_CHECKING:
    from torch import Tensor

    from convert.flatbuffer.model import Model

_DYNAMIC = ("CONV_2D", "FULLY_CONNECTED")  # 8-bit weights on a float input: it is quantized at run time


@dataclass(frozen=True)
class Step:
    """One operator. `last`: tensors that no later one reads."""

    function: Function
    fused: Function
    options: Any
    inputs: tuple[int, ...]
    output: int
    shape: tuple[int, ...]
    grid: Grid | None  # of the output, where it is in 8 bits
    dynamic: bool
    last: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """A file's operators in order, its constants as real values, and its tensors' indices by name.

    constants: float32 tensors; NumPy arrays where they are axes and sizes.
    """

    steps: tuple[Step, ...]
    constants: Mapping[int, "Tensor | NDArray[Any]"] = field(repr=False)
    inputs: Mapping[str, int]
    output: int
    names: Mapping[str, int] = field(repr=False)


def compile_graph(model: "Model") -> Program:
    """The first subgraph of one of our files. ValueError for an operator or activation function that is not here."""
    graph = model.subgraphs[0]
    constants = {
        i: _constant(model, i) for i, tensor in enumerate(graph.tensors) if fb.is_constant(model, tensor)
    }
    lasts = _last_reads(graph, set(constants))
    steps = tuple(
        _step(model, operator, constants, last) for operator, last in zip(graph.operators, lasts, strict=True)
    )
    (signature,) = model.signatureDefs
    return Program(
        steps,
        constants,
        {entry.name.decode(): int(entry.tensorIndex) for entry in signature.inputs},
        int(graph.outputs[0]),
        {graph.tensors[step.output].name.decode(): step.output for step in steps},
    )


def run(
    program: Program,
    inputs: Mapping[str, NDArray[np.float32]],
    constants: "Mapping[int, Tensor] | None" = None,
    others: Sequence[int] = (),
) -> "dict[int, Tensor]":
    """Tensor index -> values of the output and of `others`, for one prepared image.

    constants: values by tensor index, float32 in the tensor's shape, instead of the file's constants or of inputs.
    """
    import torch

    given = {index: torch.from_numpy(np.ascontiguousarray(inputs[n])) for n, index in program.inputs.items()}
    held: dict[int, Any] = {-1: None, **program.constants, **given, **(constants or {})}
    outputs = {program.output, *others}
    for step in program.steps:
        read = [held[i] for i in step.inputs]
        if step.dynamic:
            read[0] = quantized_rows(read[0])
        value = step.fused(step.function(step.options, step.shape, *read))
        held[step.output] = quantized(value, step.grid) if step.grid else value
        for index in step.last:
            if index not in outputs:
                del held[index]
    return {index: held[index] for index in outputs}


def _step(model: "Model", operator: Any, constants: Mapping[int, Any], last: tuple[int, ...]) -> Step:
    kind, options = fb.kind(model, operator), operator.builtinOptions
    activation = getattr(options, "fusedActivationFunction", 0)
    if kind not in OPERATORS or activation not in FUSED:
        known = f"{', '.join(OPERATORS)}, with activation functions {', '.join(map(str, FUSED))}"
        raise ValueError(f"expected operators among {known}; found {kind} with {activation}")
    tensors, output = model.subgraphs[0].tensors, int(operator.outputs[0])
    inputs = tuple(int(i) for i in operator.inputs)
    return Step(
        OPERATORS[kind], FUSED[activation], options, inputs, output,
        tuple(int(n) for n in tensors[output].shape), grid(tensors[output]),
        kind in _DYNAMIC and grid(tensors[inputs[1]]) is not None and grid(tensors[inputs[0]]) is None, last,
    )  # fmt: skip


def grid(tensor: Any) -> Grid | None:
    """What an int8 tensor's integers stand for; None for a tensor of another type."""
    from ai_edge_litert.schema_py_generated import TensorType

    if tensor.type != TensorType.INT8:
        return None
    quantization = tensor.quantization
    scales = np.asarray(quantization.scale, np.float32)
    return Grid(scales, np.asarray(quantization.zeroPoint, np.int64), int(quantization.quantizedDimension))


def _constant(model: "Model", index: int) -> "Tensor | NDArray[Any]":
    """Real values of weights and biases; integers as they are where they have no scale."""
    import torch

    stored, quantization = values(model, index), model.subgraphs[0].tensors[index].quantization
    if stored.dtype == np.float32:
        return torch.from_numpy(stored.copy())
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return stored
    scales, zeros = np.asarray(quantization.scale, np.float64), np.asarray(quantization.zeroPoint, np.float64)
    if len(scales) > 1:
        along = [-1 if axis == quantization.quantizedDimension else 1 for axis in range(stored.ndim)]
        scales, zeros = scales.reshape(along), zeros.reshape(along)
    return torch.from_numpy((scales * (stored - zeros)).astype(np.float32))


def _last_reads(graph: Any, constants: Iterable[int]) -> list[tuple[int, ...]]:
    """For each operator, the activations that no later one reads: their memory can go, where no gradient needs it."""
    seen = {-1, *constants, *(int(t) for t in graph.outputs)}
    last_reads: list[tuple[int, ...]] = []
    for operator in reversed(graph.operators):
        read = tuple(dict.fromkeys(int(t) for t in operator.inputs if int(t) not in seen))
        seen |= set(read)
        last_reads.append(read)
    return last_reads[::-1]
