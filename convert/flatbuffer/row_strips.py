"""Adaptive pooling of a map that is too large to exist, in strips of rows: convert.rewrites.strips has the equation.

It is exported whole, as two products with constant matrices, for the reason that convert.flatbuffer.row_bands gives.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convert import row_ranges
from convert.flatbuffer.builder import Builder
from convert.flatbuffer.links import Links

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model


@dataclass(frozen=True)
class PooledMap:
    """Linear -> GELU -> adaptive pooling to grid x grid cells, (1, H, W, C) -> (grid * grid, C)."""

    linear: Any
    gelu: Any
    pooling: list[Any]  # the operators from the GELU to the cells
    matrix: Any  # the last FULLY_CONNECTED among them
    grid: int


def cut_strips(model: "Model") -> int:
    """Cuts every pooled map into the strips of its bins. Returns how many maps."""
    links = Links(model)
    maps = [each for each in (_pooled_map(links, o) for o in links.graph.operators) if each is not None]
    builder = Builder(model, links.graph)
    return links.replace([([m.linear, m.gelu, *m.pooling], _strips(builder, links, m)) for m in maps])


def _pooled_map(links: Links, gelu: Any) -> PooledMap | None:
    """The map that `gelu` ends, if its one reader pools it by the matrices of adaptive pooling: columns, then rows."""
    linear = links.before(gelu) if links.kind(gelu) == "GELU" else None
    if links.kind(linear) != "FULLY_CONNECTED" or links.constant(linear.inputs[1], np.float32) is None:
        return None
    shape = links.shape(gelu.outputs[0])
    pooling, matrices, operator = [], [], links.after(gelu)
    while len(shape) == 4 and links.kind(operator) in ("RESHAPE", "TRANSPOSE", "FULLY_CONNECTED"):
        pooling.append(operator)
        if links.kind(operator) == "FULLY_CONNECTED":
            matrices.append(operator)
        weights = [links.constant(each.inputs[1], np.float32) for each in matrices]
        grid = 0 if not weights or weights[0] is None else len(weights[0])
        cells = links.kind(operator) == "TRANSPOSE" and links.shape(operator.outputs[0]) == [
            grid * grid,
            shape[3],
        ]
        if len(matrices) == 2 and cells:
            pools = [row_ranges.pool_matrix(size, grid).astype(np.float32) for size in (shape[2], shape[1])]
            same = all(np.array_equal(a, b) for a, b in zip(weights, pools, strict=True))
            return PooledMap(linear, gelu, pooling, matrices[-1], grid) if same else None
        operator = links.after(operator)
    return None


def _strips(builder: Builder, links: Links, site: PooledMap) -> list[Any]:
    """The operators of all strips: each bin's sum over rows, its columns pooled, and the cells joined."""
    _, height, width, _ = links.shape(site.gelu.outputs[0])
    columns = row_ranges.pool_matrix(width, site.grid)
    edges = row_ranges.bins(height, site.grid)
    by_strip = height >= 2 * site.grid  # else strips of one or two rows would cost more than the map
    operators: list[Any] = [] if by_strip else [site.linear, site.gelu]
    last, cells = None, []
    for i, (start, end) in enumerate(edges):
        shared = by_strip and i > 0 and edges[i - 1][1] > start
        if by_strip:
            nodes, values = _expanded(builder, links, site, start + shared, end)
        else:
            nodes, values = _cut(builder, links, int(site.gelu.outputs[0]), start, end)
        more, cell = _cell(builder, links, site, values, columns / (end - start), last if shared else None)
        operators += nodes + more
        cells.append(cell)
        if by_strip and i + 1 < site.grid and edges[i + 1][0] < end:
            rows = links.shape(values)[1]
            nodes, last = _cut(builder, links, values, rows - 1, rows)
            operators += nodes
    return operators + builder.join(cells, 0, int(site.pooling[-1].outputs[0]))


def _cut(builder: Builder, links: Links, source: int, start: int, end: int) -> tuple[list[Any], int]:
    """Rows start..end of a map (1, H, W, C): a SLICE, or nothing where that is all of them."""
    _, height, width, channels = links.shape(source)
    if end - start == height:
        return [], source
    node, part = builder.slice(source, [0, start, 0, 0], [1, end - start, width, channels])
    return [node], part


def _expanded(builder: Builder, links: Links, site: PooledMap, start: int, end: int) -> tuple[list[Any], int]:
    """Rows start..end of the map after the GELU, from the linear layer's input."""
    operators, part = _cut(builder, links, int(site.linear.inputs[0]), start, end)
    for operator in (site.linear, site.gelu):
        output = builder.tensor(
            [1, end - start, *links.shape(operator.outputs[0])[2:]], int(operator.outputs[0]), "strip"
        )
        operators.append(builder.like(operator, [part, *(int(i) for i in operator.inputs[1:])], output))
        part = output
    return operators, part


def _cell(builder: Builder, links: Links, site: PooledMap, values: int, columns: np.ndarray, last: int | None
          ) -> tuple[list[Any], int]:  # fmt: skip
    """One row of cells, (grid, C): the sum over the rows of `values` (and the row `last`), by `columns` (grid, W)."""
    _, _, width, channels = links.shape(values)

    def tensor(*shape: int) -> int:
        return builder.tensor(list(shape), values, "strip")

    def ints(*numbers: int) -> int:
        return builder.constant(np.array(numbers, np.int32), "numbers")

    total = tensor(1, width, channels)
    operators = [builder.operator("SUM", "ReducerOptions", [values, ints(1)], total)]
    if last is not None:
        added = tensor(1, 1, width, channels)
        operators.append(builder.operator("ADD", "AddOptions", [total, last], added))
        total = added
    row, turned, pooled, cell = (
        tensor(width, channels), tensor(channels, width), tensor(channels, site.grid), tensor(site.grid, channels)
    )  # fmt: skip
    weight = builder.constant(columns.astype(np.float32), "columns")
    return [
        *operators,
        builder.operator("RESHAPE", "", [total, ints(width, channels)], row),
        builder.operator("TRANSPOSE", "TransposeOptions", [row, ints(1, 0)], turned),
        builder.like(site.matrix, [turned, weight, -1], pooled),
        builder.operator("TRANSPOSE", "TransposeOptions", [pooled, ints(1, 0)], cell),
    ], cell
