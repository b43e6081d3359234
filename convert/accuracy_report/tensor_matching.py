"""Which tensors of two .tflite files are the same activation: those of one name.

A QUANTIZE that the quantizer inserted is paired with the tensor that it reads: its own name is NAME_quantized.
"""

from collections import Counter
from dataclasses import dataclass

from convert.flatbuffer.reader import Graph

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Pair:
    """An activation that both files compute: tensor indices, and the operator that writes it in the candidate."""

    name: str
    index: int  # of the operator, in the candidate's order
    operator: str
    fp32: int
    candidate: int


@dataclass(frozen=True)
class Matched:
    """Pairs in the candidate's order; the names of FP32 activations that the candidate has not, or in another shape."""

    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]


def match(fp32: Graph, candidate: Graph) -> Matched:
    """Which tensors of the candidate are the same activation of `fp32`, by name.

    A DEQUANTIZE has no row: it repeats an activation, or unpacks a weight. Names that occur twice among one
    file's activations tell nothing and count as missing.
    """
    fp32_by_name, ours = _by_name(fp32), _by_name(candidate)
    converted = {t: op.inputs[0] for op in candidate.operators if op.name in _CONVERSIONS for t in op.outputs}
    pairs, seen = [], set()
    for op in candidate.operators:
        for tensor in op.outputs if op.name != "DEQUANTIZE" else ():
            origin = tensor
            while origin in converted:
                origin = converted[origin]
            name = candidate.tensors[origin].name
            same = name in fp32_by_name and ours.get(name) == origin
            if same and fp32.tensors[fp32_by_name[name]].shape == candidate.tensors[tensor].shape:
                pairs.append(
                    Pair(candidate.tensors[tensor].name, op.index, op.name, fp32_by_name[name], tensor)
                )
                seen.add(name)
    computed = dict.fromkeys(fp32.tensors[t].name for op in fp32.operators for t in op.outputs)
    return Matched(tuple(pairs), tuple(name for name in computed if name not in seen))


def _by_name(graph: Graph) -> dict[str, int]:
    """Inputs and activations, conversions apart, whose name is theirs alone."""
    written = [t for op in graph.operators if op.name not in _CONVERSIONS for t in op.outputs]
    tensors = [*graph.inputs, *written]
    times = Counter(graph.tensors[t].name for t in tensors)
    return {graph.tensors[t].name: t for t in tensors if times[graph.tensors[t].name] == 1}
