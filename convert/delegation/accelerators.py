"""Operator sequences that an accelerator is known to compute wrong while it reports success.

A phone's GPU says `is_fully_accelerated()` and gives numbers: nothing but a comparison tells that they are wrong. All
that is known is one table, MISCOMPUTED. `without_constant_divisions` and `without_constant_batches`, passes of
convert.flatbuffer, rewrite what our converters and our own preprocessing could write; every file that gets its name is
checked (`refuse_miscomputed`, convert.output_file.place), and `convert.inspect` shows the sites in any file. Left out:
what is wrong for some values only, such as a SUM whose total passes FP16's 65504 (LiteRT#9249), and what depends on one
driver.

To add one: a row in MISCOMPUTED, a finder beside the others, a file by hand in
tests/convert/delegation/test_accelerators.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from convert.flatbuffer.constant_batches import ELEMENTWISE, misread
from convert.flatbuffer.reader import Graph, Operator, read_graphs
from mobileiqa.errors import UserError


@dataclass(frozen=True)
class Miscomputed:
    """One sequence: what it is called, where the wrong result was seen, and the operators of a graph that are it."""

    name: str
    seen: str
    sites: Callable[[Graph], Iterator[Operator]]


def _constant_divisions(graph: Graph) -> Iterator[Operator]:
    """DIV whose divisor is in the file, unpacked or not."""
    constants = _constants(graph)
    for op in graph.operators:
        if op.name == "DIV" and len(op.inputs) == 2 and op.inputs[1] in constants:
            yield op


def _constants(graph: Graph) -> set[int]:
    """The tensors that are in the file, and what a DEQUANTIZE makes of them."""
    stored = {tensor.index for tensor in graph.tensors if tensor.constant}
    unpacked = {
        op.outputs[0]
        for op in graph.operators
        if op.name == "DEQUANTIZE" and op.outputs and all(i in stored for i in op.inputs if i >= 0)
    }
    return stored | unpacked


def _low_rank_pads(graph: Graph) -> Iterator[Operator]:
    """PAD of three dimensions or fewer that pads another axis than the last."""
    for op in graph.operators:
        if op.name not in ("PAD", "PADV2", "MIRROR_PAD") or len(op.inputs) < 2 or min(op.inputs[:2]) < 0:
            continue
        rank, paddings = len(graph.tensors[op.inputs[0]].shape), graph.tensors[op.inputs[1]]
        if rank < 4 and (not paddings.constant or paddings.values().ravel()[:-2].any()):  # (rank, 2)
            yield op


def _sums_read_again(graph: Graph) -> Iterator[Operator]:
    """ADD of two activations that is an output of the graph and read by another operator, too."""
    for op in graph.operators:
        activations = [i for i in op.inputs if i >= 0 and not graph.tensors[i].constant]
        read = [i for i in op.outputs if i in graph.outputs and graph.consumers.get(i)]
        if op.name == "ADD" and len(activations) == 2 and read:
            yield op


def _flattening_products(graph: Graph) -> Iterator[Operator]:
    """FULLY_CONNECTED whose input's last dimension is not what a row of its weights has: it flattens by itself."""
    for op in graph.operators:
        if op.name != "FULLY_CONNECTED" or len(op.inputs) < 2 or min(op.inputs[:2]) < 0:
            continue
        values, weights = (graph.tensors[i].shape for i in op.inputs[:2])
        if values and weights and values[-1] != weights[-1]:
            yield op


def _misread_constants(graph: Graph) -> Iterator[Operator]:
    """An elementwise operator of an activation and a constant, unpacked or not, whose shapes `misread` names."""
    constants = _constants(graph)
    for op in graph.operators:
        if op.name not in ELEMENTWISE or len(op.inputs) != 2 or min(op.inputs) < 0:
            continue
        values, constant = sorted(op.inputs, key=constants.__contains__)
        if (values in constants) is (constant in constants):
            continue
        if misread(graph.tensors[values].shape, graph.tensors[constant].shape):
            yield op


MISCOMPUTED = (
    Miscomputed(
        "a division by a constant",
        "LiteRT 2.3's GPU accelerator: what a convolution behind it makes is one constant; multiply by the reciprocal",
        _constant_divisions,
    ),
    Miscomputed(
        "a constant that has a batch, or meets a batch, in fewer than four dimensions",
        "LiteRT 2.3's GPU accelerator gives all of the batch the first values; put dimensions of 1 in front of both",
        _misread_constants,
    ),
    Miscomputed(
        "a FULLY_CONNECTED that flattens its input",
        "LiteRT 2.3's GPU accelerator multiplies the last dimension alone; put a RESHAPE to a matrix before it",
        _flattening_products,
    ),
    Miscomputed(
        "a PAD of fewer than four dimensions on another axis than the last",
        "LiteRT's GPU accelerator shifts its rows (LiteRT#9272)",
        _low_rank_pads,
    ),
    Miscomputed(
        "an ADD that is an output and read again",
        "LiteRT's OpenCL accelerator gives one of its operands (LiteRT#8599)",
        _sums_read_again,
    ),
)


def miscomputed(graph: Graph) -> list[str]:
    """One sentence for each row of MISCOMPUTED that the graph has, with its first site; empty for none."""
    sentences = []
    for row in MISCOMPUTED:
        if sites := list(row.sites(graph)):
            more = f" and {len(sites) - 1} more" if len(sites) > 1 else ""
            sentences.append(f"{sites[0].name} #{sites[0].index}{more} is {row.name}: {row.seen}")
    return sentences


def refuse_miscomputed(path: Path) -> None:
    """Raises UserError for a .tflite file with a sequence of MISCOMPUTED in any of its subgraphs."""
    sentences = [sentence for graph in read_graphs(path) for sentence in miscomputed(graph)]
    if sentences:
        raise UserError(
            f"operators in {path.name} that accelerators compute right",
            "; ".join(dict.fromkeys(sentences)),
            "convert with the other --via, or report it: no file is written that a phone would miscompute silently",
        )
