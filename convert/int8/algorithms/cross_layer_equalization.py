"""Cross-layer equalization: channels of one tensor are scaled to one range, exactly (arXiv 1906.04721).

A tensor in 8 bits has one step for all of its channels; a channel whose values are a tenth of the others' is left
with 25 steps. Where operators with weights write it and operators with weights read it,

    W2 f(W1 x + b1) = (W2 / c) f(c W1 x + c b1),   c > 0 for each channel,

if f is nothing or ReLU. That goes through what treats channels alike too: ADD, CONCATENATION of rows, SLICE, PAD, MEAN;
all tensors that these connect are scaled alike. Left out: ReLU6 and hard-swish, f(c x) is not c f(x) for them.
A channel that calibration never saw near 6 could be scaled, but on unseen photos it clips: benchmarks/INT8_STUDIES.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb
from convert.int8.statistics.interpreter import Inputs, activations
from convert.int8.weights import bias_of, replace, values, weighted

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

LARGEST = 32.0  # what a channel is scaled by at most: one that hardly moves needs no more
_ALIKE = ("ADD", "CONCATENATION", "SLICE", "STRIDED_SLICE", "PAD", "MEAN")

Scales = NDArray[np.float64]


@dataclass(frozen=True)
class Stream:
    """Tensors that are scaled alike, and the operators (with their weights) that write and read them."""

    tensors: frozenset[int]
    writers: tuple[tuple[Any, int], ...]
    readers: tuple[tuple[Any, int], ...]


def equalize(model: "Model", content: bytes, images: Iterable[Inputs]) -> int:
    """Scales the channels of the FP32 `model`, which is the file `content`, in place; returns how many tensors.

    Its outputs stay what they are, but for float32 rounding.
    """
    groups = streams(model)
    if not groups:
        return 0
    largest = _largest(content, [t for stream in groups for t in stream.tensors], images)
    for stream in groups:
        seen = np.max([largest[t] for t in stream.tensors], axis=0).astype(np.float64)
        _scale(model, stream, np.clip(seen.max() / np.maximum(seen, 1e-30), 1.0, LARGEST))
    fb.drop_unused_buffers(model)
    return sum(len(stream.tensors) for stream in groups)


def streams(model: "Model") -> list[Stream]:
    """What can be scaled exactly."""
    graph = model.subgraphs[0]
    operators = {id(operator): weight for operator, weight in weighted(model)}
    links = _Links(len(graph.tensors))
    for operator in graph.operators:
        read = [int(t) for t in operator.inputs if t >= 0 and not fb.is_constant(model, graph.tensors[t])]
        written = [int(t) for t in operator.outputs]
        if id(operator) in operators:
            _link_weighted(model, links, operator, operators[id(operator)])
        elif _alike(model, operator, read):
            links.join([*read, *written])
        else:
            links.fix([*read, *written])
    links.fix([int(t) for t in (*graph.inputs, *graph.outputs)])
    return _streams(model, links)


class _Links:
    """Which tensors have to be scaled alike, and which cannot be scaled."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))
        self.fixed: set[int] = set()
        self.shared: dict[tuple[int, str], int] = {}  # a constant and a side -> the first tensor there

    def root(self, tensor: int) -> int:
        while self.parent[tensor] != tensor:
            tensor = self.parent[tensor]
        return tensor

    def join(self, tensors: list[int]) -> None:
        for tensor in tensors[1:]:
            self.parent[self.root(tensor)] = self.root(tensors[0])

    def fix(self, tensors: list[int]) -> None:
        self.fixed |= set(tensors)

    def join_shared(self, constant: int, side: str, tensor: int) -> None:
        self.join([self.shared.setdefault((constant, side), tensor), tensor])


def _link_weighted(model: "Model", links: _Links, operator: Any, weight: int) -> None:
    """Its input and output are scaled apart, but alike for all operators that share the weight or bias."""
    from ai_edge_litert.schema_py_generated import ActivationFunctionType as Activation

    tensors = model.subgraphs[0].tensors
    x, y = int(operator.inputs[0]), int(operator.outputs[0])
    links.join_shared(weight, "in", x)
    links.join_shared(weight, "out", y)
    if (bias := bias_of(operator)) is not None:
        links.join_shared(bias, "out", y)
    if operator.builtinOptions.fusedActivationFunction not in (Activation.NONE, Activation.RELU):
        links.fix([y])
    channels, shape = int(tensors[x].shape[-1]), [int(n) for n in tensors[weight].shape]
    kind = fb.kind(model, operator)
    if shape[-1] != channels:  # several groups, outputs of one depthwise channel, or rows run together
        links.fix([x, y])
    if kind == "FULLY_CONNECTED" and int(tensors[y].shape[-1]) != shape[0]:
        links.fix([y])


def _alike(model: "Model", operator: Any, read: list[int]) -> bool:
    """Whether the operator does the same to every channel, and a scaled channel only scales its output."""
    tensors, kind = model.subgraphs[0].tensors, fb.kind(model, operator)
    output = tensors[operator.outputs[0]]
    same = all(int(tensors[t].shape[-1]) == int(output.shape[-1]) for t in read)
    ranks = {len(tensors[t].shape) for t in read}
    if kind not in _ALIKE or not same or getattr(operator.builtinOptions, "fusedActivationFunction", 0):
        return False
    if kind == "ADD":
        return len(read) == 2 and ranks == {len(output.shape)}
    axes = values(model, int(operator.inputs[1])) if kind == "MEAN" else ()
    return not any(int(axis) % max(ranks) == max(ranks) - 1 for axis in axes)


def _streams(model: "Model", links: _Links) -> list[Stream]:
    """The groups of tensors that no operator fixes, with at least one writer and one reader."""
    both = weighted(model)
    fixed = {links.root(t) for t in links.fixed}
    members: dict[int, set[int]] = {}
    for t in sorted({int(t) for o in model.subgraphs[0].operators for t in o.outputs}):
        members.setdefault(links.root(t), set()).add(t)
    groups = [
        Stream(
            frozenset(tensors),
            tuple((o, weight) for o, weight in both if int(o.outputs[0]) in tensors),
            tuple((o, weight) for o, weight in both if int(o.inputs[0]) in tensors),
        )
        for root, tensors in members.items()
        if root not in fixed
    ]
    return [stream for stream in groups if stream.writers and stream.readers]


def _largest(content: bytes, tensors: list[int], images: Iterable[Inputs]) -> dict[int, NDArray[np.float32]]:
    """The largest magnitude of each channel (last axis) over all images."""
    magnitudes: dict[int, NDArray[np.float32]] = {}
    for tensor in activations(content, images):
        for t in tensors:
            x = tensor(t)
            rows = x.reshape(-1, x.shape[-1])
            seen = np.maximum(rows.max(0), -rows.min(0))
            magnitudes[t] = np.maximum(magnitudes[t], seen) if t in magnitudes else seen
    return magnitudes


def _scale(model: "Model", stream: Stream, scales: Scales) -> None:
    """What writes the stream is multiplied, what reads it divided; operators that share a constant share it still."""
    factors: dict[int, Scales] = {}
    for operator, weight in stream.writers:
        last = fb.kind(model, operator) == "DEPTHWISE_CONV_2D"  # where a weight has its outputs
        rank = len(model.subgraphs[0].tensors[weight].shape)
        factors[weight] = scales if last else scales.reshape(-1, *[1] * (rank - 1))
        if (bias := bias_of(operator)) is not None:
            factors[bias] = scales
    for index, factor in factors.items():
        replace(model, index, values(model, index) * factor)
    for weight in {weight for _, weight in stream.readers}:
        replace(model, weight, values(model, weight) / scales)
