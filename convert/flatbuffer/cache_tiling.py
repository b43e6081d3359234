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

from convert.flatbuffer.builder import Builder
from convert.flatbuffer.links import Links

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
    links = Links(model)
    sites = [
        site for site in (_site(links, operator) for operator in links.graph.operators) if site is not None
    ]
    builder = Builder(model, links.graph)
    return links.replace([(site.operators, _tiles(builder, links, site)) for site in sites])


def _site(links: Links, linear: Any) -> Site | None:
    """The site that starts at `linear`, if one does."""
    if links.kind(linear) != "FULLY_CONNECTED" or len(linear.inputs) < 3:
        return None
    shape = links.shape(linear.outputs[0])
    constants = all(links.constant(i, np.float32) is not None for i in linear.inputs[1:])
    if not constants or len(shape) != 4 or shape[-1] % GROUP or 4 * int(np.prod(shape)) <= TILE_BYTES:
        return None
    gelu = links.after(linear)
    if links.kind(gelu) != "GELU":
        return None
    readers = links.readers.get(int(gelu.outputs[0]), [])
    uses = {links.kind(reader): reader for reader in readers}
    if "SUM" not in uses or not set(uses) <= {"SUM", "SLICE"} or len(uses) != len(readers):
        return None
    total, last = uses["SUM"], uses.get("SLICE")
    if _ints(links, total.inputs[1]) != [ROWS]:
        return None
    if last is not None and _ints(links, last.inputs[1]) != [0, shape[ROWS] - 1, 0, 0]:
        return None
    return Site(linear, gelu, total, last)


def _ints(links: Links, index: int) -> list[int] | None:
    values = links.constant(index, np.int32)
    return None if values is None else values.ravel().tolist()


def _tiles(builder: Builder, links: Links, site: Site) -> list[Any]:
    """The operators that compute what the site computes."""
    source = int(site.linear.inputs[0])
    weights, biases = (links.constant(i, np.float32) for i in site.linear.inputs[1:3])
    assert weights is not None and biases is not None  # _site has asked
    _, rows, width, outputs = links.shape(site.linear.outputs[0])
    channels = links.shape(source)[-1]
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
