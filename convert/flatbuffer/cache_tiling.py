"""Cache tiling: a Linear -> GELU -> sum over rows whose map is far larger than the cache, tile by tile.

    sum_r gelu(X[r, c] W^T + b)   is computed per (columns, 64 outputs): the same numbers, joined afterwards

LDA's 512-channel maps are written and read three times on their way to 22 rows; from memory that costs more
than computing them. A tile of three megabytes stays close enough to the core: smaller ones gain no time, and
every operator costs memory. This is done on the flatbuffer, because the PyTorch exporter needs 36 ms for each
of these thousands of operators. Outputs are split by 64 whatever the size, so that two sizes of a checkpoint
share their weights.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb
from convert.flatbuffer.builder import Builder

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

GROUP = 64  # outputs per tile
TILE_BYTES = 3 << 20
ROWS = 1  # axis of a (1, H, W, C) tensor


@dataclass(frozen=True)
class Site:
    """One FULLY_CONNECTED -> GELU -> SUM over rows, and the slice of the last row where there is one."""

    linear: Any
    gelu: Any
    total: Any
    last: Any | None

    @property
    def operators(self) -> list[Any]:
        """The operators that the tiles replace."""
        return [o for o in (self.linear, self.gelu, self.total, self.last) if o is not None]


def tile_strips(model: "Model") -> int:
    """Tiles every site whose map exceeds TILE_BYTES. Returns how many sites."""
    graph = model.subgraphs[0]
    builder = Builder(model, graph)
    sites = {id(site.gelu): site for site in find(model)}
    replaced = {id(o) for site in sites.values() for o in site.operators}
    operators: list[Any] = []
    for operator in graph.operators:
        if id(operator) in sites:
            operators += _tiles(builder, sites[id(operator)])
        elif id(operator) not in replaced:
            operators.append(operator)
    graph.operators = operators
    return len(sites)


def find(model: "Model") -> list[Site]:
    """The sites of the first subgraph."""
    graph = model.subgraphs[0]
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)
    sites = [_site(model, graph, operator, readers) for operator in graph.operators]
    return [site for site in sites if site is not None]


def _site(model: "Model", graph: Any, linear: Any, readers: dict[int, list[Any]]) -> Site | None:
    """The site that starts at `linear`, if one does."""
    if fb.kind(model, linear) != "FULLY_CONNECTED" or len(linear.inputs) < 3:
        return None
    shape = [int(n) for n in graph.tensors[linear.outputs[0]].shape]
    constants = all(fb.is_constant(model, graph.tensors[i]) for i in linear.inputs[1:])
    after = readers.get(int(linear.outputs[0]), [])
    if not constants or len(shape) != 4 or shape[-1] % GROUP or 4 * int(np.prod(shape)) <= TILE_BYTES:
        return None
    if len(after) != 1 or fb.kind(model, after[0]) != "GELU":
        return None
    uses = {fb.kind(model, o): o for o in readers.get(int(after[0].outputs[0]), [])}
    if (
        "SUM" not in uses
        or not set(uses) <= {"SUM", "SLICE"}
        or len(uses) != len(readers[int(after[0].outputs[0])])
    ):
        return None
    total, last = uses["SUM"], uses.get("SLICE")
    if _ints(model, graph, total.inputs[1]) != [ROWS]:
        return None
    if last is not None and _ints(model, graph, last.inputs[1]) != [0, shape[ROWS] - 1, 0, 0]:
        return None
    return Site(linear, after[0], total, last)


def _ints(model: "Model", graph: Any, index: int) -> list[int]:
    data = model.buffers[graph.tensors[index].buffer].data
    return [int(v) for v in np.frombuffer(bytes(data), np.int32)]


def _tiles(builder: Builder, site: Site) -> list[Any]:
    """The operators that compute what the site computes."""
    graph, model = builder.graph, builder.model
    source, weight, bias = (int(i) for i in site.linear.inputs[:3])
    _, rows, width, outputs = (int(n) for n in graph.tensors[site.linear.outputs[0]].shape)
    channels = int(graph.tensors[source].shape[-1])
    weights = _values(model, graph, weight).reshape(outputs, channels)
    biases = _values(model, graph, bias)
    operators: list[Any] = []
    pieces, edges = [], columns(rows, width)
    for start, end in edges:
        if len(edges) > 1:
            node, part = builder.slice(source, [0, 0, start, 0], [1, rows, end - start, channels])
            operators.append(node)
            pieces.append((part, end - start))
        else:
            pieces.append((source, width))
    totals: list[int] = []
    lasts: list[int] = []
    for first in range(0, outputs, GROUP):
        w = builder.constant(weights[first : first + GROUP], f"expand_weight_{first}")
        b = builder.constant(biases[first : first + GROUP], f"expand_bias_{first}")
        tiles = [_tile(builder, site, part, rows, count, w, b) for part, count in pieces]
        operators += [node for nodes, _, _ in tiles for node in nodes]
        for parts, groups in (
            ([t for _, t, _ in tiles], totals),
            ([n for _, _, n in tiles if n is not None], lasts),
        ):
            if parts:
                joined, nodes = _joined(builder, parts, width)
                operators += nodes
                groups.append(joined)
    operators += builder.join(totals, -1, int(site.total.outputs[0]))
    if site.last is not None:
        operators += builder.join(lasts, -1, int(site.last.outputs[0]))
    return operators


def _tile(builder: Builder, site: Site, part: int, rows: int, width: int, weight: int, bias: int
          ) -> tuple[list[Any], int, int | None]:  # fmt: skip
    """One tile: its operators, the sum over its rows, and its last row where the site needs it."""
    shape = [1, rows, width, GROUP]
    mapped = builder.tensor(shape, int(site.linear.outputs[0]), "tile")
    active = builder.tensor(shape, int(site.gelu.outputs[0]), "tile")
    total = builder.tensor([*([1, 1] if site.total.builtinOptions.keepDims else [1]), width, GROUP],
                           int(site.total.outputs[0]), "tile")  # fmt: skip
    nodes = [
        builder.like(site.linear, [part, weight, bias], mapped),
        builder.like(site.gelu, [mapped], active),
        builder.like(site.total, [active, int(site.total.inputs[1])], total),
    ]
    if site.last is None:
        return nodes, total, None
    node, last = builder.slice(active, [0, rows - 1, 0, 0], [1, 1, width, GROUP])
    return [*nodes, node], total, last


def _joined(builder: Builder, parts: list[int], width: int) -> tuple[int, list[Any]]:
    """`parts`, (..., columns, GROUP) each, joined along the columns."""
    if len(parts) == 1:
        return parts[0], []
    shape = [int(n) for n in builder.graph.tensors[parts[0]].shape]
    output = builder.tensor([*shape[:-2], width, GROUP], parts[0], "columns")
    return output, builder.join(parts, len(shape) - 2, output)


def columns(rows: int, width: int) -> list[tuple[int, int]]:
    """Column ranges whose tiles of `rows` x columns x GROUP float32 values fit TILE_BYTES, as equal as can be."""
    per_tile = max(1, TILE_BYTES // (4 * rows * GROUP))
    count = -(-width // per_tile)
    cuts = [i * width // count for i in range(count + 1)]
    return list(itertools.pairwise(cuts))


def _values(model: "Model", graph: Any, index: int) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[graph.tensors[index].buffer].data), np.float32)
