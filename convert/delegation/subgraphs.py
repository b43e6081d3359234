"""The runtime's word on each subgraph: does XNNPACK take what the forecast says?

The interpreter lists the operators of a file's first subgraph only, so any other is looked at in a file of its own.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convert.delegation.partitions import disagreements, forecast, runtime_delegation
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import Graph
from mobileiqa.errors import UserError


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
