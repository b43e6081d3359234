"""Which operators run in XNNPACK: a forecast from the file alone, and what the runtime really does.

The forecast names a reason for every refusal and needs no runtime; `runtime_delegation` asks ai-edge-litert
in a fresh process. `disagreements` compares the two, so that a runtime with other rules is seen.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.delegation.xnnpack_rules import refusal, site
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import Graph, Operator
from mobileiqa.errors import UserError, one_line
from mobileiqa.scoring.first_run import signal_name

PROBE = Path(__file__).with_name("runtime_probe.py")
TIMEOUT_S = 600


@dataclass(frozen=True)
class Forecast:
    """Operator index -> why XNNPACK refuses it; and the operators of every partition it gets."""

    total: int
    refusals: dict[int, str]
    partitions: tuple[tuple[int, ...], ...]

    @property
    def delegated(self) -> frozenset[int]:
        """Indices of the operators that XNNPACK takes."""
        return frozenset(range(self.total)) - self.refusals.keys()


def forecast(graph: Graph) -> Forecast:
    """The delegation that XNNPACK's rules give, with its default flags."""
    unpacking = {op.outputs[0]: op.index for op in graph.operators if _unpacks_weights(graph, op)}
    refusals = {}
    for op in graph.operators:
        reason = None if op.index in unpacking.values() else refusal(site(graph, op, unpacking.keys()))
        if reason is not None:
            refusals[op.index] = reason
    # Weights that any of TFLite's own kernels reads are dequantized by TFLite, for everyone.
    for tensor, producer in unpacking.items():
        others = [i for i in graph.consumers.get(tensor, ()) if i in refusals]
        if others:
            name = graph.operators[others[0]].name
            refusals[producer] = f"its output feeds {name} #{others[0]}, which is not delegated"
    taken = frozenset(range(len(graph.operators))) - refusals.keys()
    return Forecast(len(graph.operators), refusals, partitions(graph, taken))


def _unpacks_weights(graph: Graph, op: Operator) -> bool:
    """DEQUANTIZE of a float16 or int8 constant: the delegate does it once, while it prepares."""
    if op.name != "DEQUANTIZE" or len(op.inputs) != 1 or op.inputs[0] < 0 or not op.outputs:
        return False
    source, result = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    quantized = source.dtype == "int8" and bool(source.scales)
    return source.constant and (source.dtype == "float16" or quantized) and result.dtype == "float32"


def partitions(graph: Graph, taken: Set[int]) -> tuple[tuple[int, ...], ...]:
    """The groups of `taken` operators that each become one delegate node, in execution order.

    TFLite's own greedy rule (PartitionGraphIntoIndependentNodeSubsets in graph_info.cc): the first operator
    that is ready decides whether a group is delegated; then all of that kind that are or become ready join.
    """
    waiting = list(graph.operators)
    pending = {tensor for op in waiting for tensor in op.outputs}  # computed later than now
    groups = []
    while waiting:
        kind, group = None, []
        grown = True
        while grown:
            grown, left = False, []
            for op in waiting:
                ready = pending.isdisjoint(op.inputs)
                if ready and kind in (None, op.index in taken):
                    kind, grown = op.index in taken, True
                    group.append(op.index)
                    pending.difference_update(op.outputs)
                else:
                    left.append(op)
            waiting = left
        if not group:
            raise UserError(
                f"operators of {graph.path} in an order that can run",
                f"a cycle at {waiting[0].name} #{waiting[0].index}",
                "convert the model again",
            )
        if kind:
            groups.append(tuple(group))
    return tuple(groups)


def runtime_delegation(path: str | Path) -> dict[str, Any]:
    """What ai-edge-litert does with the file: {"nodes_total", "nodes_delegated", "partitions", "outputs"}.

    `outputs` lists, for every delegated operator, the indices of its output tensors. Runs in a fresh process
    on one thread. Raises UserError, with the runtime's own message, when the file does not load.
    """
    path = Path(path)
    try:
        child = subprocess.run(
            [sys.executable, "-P", str(PROBE), str(path)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _does_not_load(path, f"no answer in {TIMEOUT_S} s") from error
    last = child.stdout.strip().splitlines()[-1:]
    if child.returncode < 0:
        raise _does_not_load(path, f"a process ended by {signal_name(child.returncode)} while loading it")
    if not last:
        reason = f"exit code {child.returncode}: {one_line(child.stderr)[-300:]}"
        raise _does_not_load(path, reason)
    try:
        answer = json.loads(last[0])
        if "error" in answer:
            raise _does_not_load(path, one_line(str(answer["error"])))
        return {
            "nodes_total": answer["total"],
            "nodes_delegated": len(answer["outputs"]),
            "partitions": answer["partitions"],
            "outputs": answer["outputs"],
        }
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise _does_not_load(path, f"an answer that cannot be read: {one_line(last[0])[:300]}") from error


def _does_not_load(path: Path, reason: str) -> UserError:
    return UserError(f"a file that ai-edge-litert loads at {path}", reason, "convert the model again")


def disagreements(graph: Graph, expected: Forecast, runtime: dict[str, Any]) -> list[str]:
    """Where forecast and runtime differ, one sentence each; empty when they agree."""
    producer = {tensor: op.index for op in graph.operators for tensor in op.outputs}
    # An operator whose results nobody reads is delegated without outputs, and cannot be told by them.
    real = {producer[outputs[0]] for outputs in runtime["outputs"] if outputs}
    differences = [
        f"{graph.operators[i].name} #{i}: the runtime delegates it, the forecast does not "
        f"({expected.refusals[i]})"
        for i in sorted(real - expected.delegated)
    ]
    read = {
        i
        for i in expected.delegated
        if any(t in graph.consumers or t in graph.outputs for t in graph.operators[i].outputs)
    }
    differences += [
        f"{graph.operators[i].name} #{i}: the forecast delegates it, the runtime does not"
        for i in sorted(read - real)
    ]
    for what, ours, theirs in (
        ("operators", expected.total, runtime["nodes_total"]),
        ("delegated operators", len(expected.delegated), runtime["nodes_delegated"]),
        ("partitions", len(expected.partitions), runtime["partitions"]),
    ):
        if ours != theirs:
            differences.append(f"{what}: forecast {ours}, runtime {theirs}")
    return differences


def check(graph: Graph) -> dict[str, Any]:
    """The runtime's delegation beside the forecast's: {"agrees", "differences", "runtime"}."""
    try:
        with alone(graph) as path:
            runtime = runtime_delegation(path)
    except UserError as error:
        return {
            "agrees": False,
            "differences": [f"ai-edge-litert does not load it: {error.actual}"],
            "runtime": None,
        }
    differences = disagreements(graph, forecast(graph), runtime)
    return {
        "agrees": not differences,
        "differences": differences,
        "runtime": {k: v for k, v in runtime.items() if k != "outputs"},
    }


@contextmanager
def alone(graph: Graph) -> Iterator[Path]:
    """A file whose first subgraph is `graph`: its own file, or a temporary one that has no other."""
    if graph.index == 0:
        yield graph.path
        return
    model = fb.read(graph.path)
    model.subgraphs = [model.subgraphs[graph.index]]
    model.signatureDefs = [s for s in model.signatureDefs or [] if s.subgraphIndex == graph.index]
    for signature in model.signatureDefs:
        signature.subgraphIndex = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / graph.path.name
        fb.drop_unused_buffers(model)
        fb.write(model, path)
        yield path
