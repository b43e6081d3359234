"""The page's pictures as SVG, drawn for the width of a phone: no library, and colours that follow light and dark.

Points are one path of dots each, so that thousands of images stay a small file.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.accuracy_report.layer_sqnr import LayerTable
from convert.accuracy_report.plots import HIGHEST_DB
from convert.delegation.partitions import Forecast
from mobileiqa.text import escape

Values = NDArray[np.float64]

WIDTH, HEIGHT = 360, 250  # CSS pixels of a phone held upright, less the page's margin
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 36
BINS = 31  # odd, so that no difference has a bar of its own


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`, drawn from `start` to `end`, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    name: str

    def at(self, value: float) -> float:
        """Where a value lies in the drawing."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten inside the axis, three to six of them."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / 3))
        step = next(step * k for k in (5, 2, 1) if (self.high - self.low) / (step * k) >= 3)
        return [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def across(low: float, high: float, name: str) -> Axis:
    """A horizontal axis; one value alone gets a range around it."""
    return Axis(*_range(low, high), LEFT, WIDTH - RIGHT, name)


def up(low: float, high: float, name: str) -> Axis:
    """A vertical axis."""
    return Axis(*_range(low, high), HEIGHT - BOTTOM, TOP, name)


def _range(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high - low > 1e-12 else (low - 0.5, high + 0.5)


def scatter(fp32: Values, scores: Values, name: str) -> str:
    """A file's scores over FP32's, finite both, with the line on which they would be equal."""
    low, high = float(min(fp32.min(), scores.min())), float(max(fp32.max(), scores.max()))
    x, y = across(low, high, "FP32 score"), up(low, high, "score")
    line = _path("mark", [(x.at(x.low), y.at(y.low)), (x.at(x.high), y.at(y.high))])
    points = zip(map(x.at, fp32), map(y.at, scores), strict=True)
    return _svg(f"Scores of {name} over FP32's", x, y, [line, _dots(points, 0)])


def histogram(shifts: Values, name: str, limit: float | None = None) -> str:
    """How far scores moved: counts of candidate - FP32, zero in the middle; a limit on |shift| as two lines."""
    widest = float(np.abs(shifts).max()) or 1e-9
    counts, edges = np.histogram(shifts, BINS, (-widest, widest))
    x, y = across(-widest, widest, "score less FP32's"), up(0, float(counts.max()), "images")
    bars = "".join(
        f"M{x.at(a):.1f} {y.start}V{y.at(n):.1f}H{x.at(b):.1f}V{y.start}Z"
        for n, a, b in zip(counts, edges, edges[1:], strict=False)
        if n
    )
    marks = [v for v in ((-limit, limit) if limit else ()) if abs(v) <= widest]
    lines = [_path("mark", [(x.at(v), y.start), (x.at(v), y.end)]) for v in marks]
    return _svg(f"Shifts of {name}", x, y, [f'<path d="{bars}" fill="var(--c0)"/>', *lines])


def along_the_graph(layers: LayerTable, name: str) -> str:
    """SQNR, dB, of every activation that differs from FP32's, in running order: floats and integers in two colours.

    An empty string where none has a figure.
    """
    known = [(x, min(x.sqnr_db, HIGHEST_DB)) for x in layers.layers if x.sqnr_db is not None]
    if not known:
        return ""
    x = across(0, max(layer.index for layer, _ in known), "operator, in running order")
    y = up(min(0, *(db for _, db in known)), max(db for _, db in known), "SQNR, dB")

    def dots(color: int, floats: bool) -> str:
        some = [(layer, db) for layer, db in known if layer.dtype.startswith("float") == floats]
        return _dots([(x.at(layer.index), y.at(db)) for layer, db in some], color)

    return _svg(f"SQNR along {name}", x, y, [dots(0, floats=True), dots(1, floats=False)])


def delegation_map(expected: Forecast, name: str) -> str:
    """A bar over the operators in running order: partitions of the delegate by turns, what it refuses in red."""
    owner = {index: number for number, part in enumerate(expected.partitions) for index in part}
    spans: list[tuple[int | None, int, int]] = []
    for index in range(expected.total):
        kind = owner.get(index)
        if spans and spans[-1][0] == kind:
            spans[-1] = (kind, spans[-1][1], index + 1)
        else:
            spans.append((kind, index, index + 1))
    parts = "".join(
        f'<rect x="{a}" width="{b - a}" height="10" fill="{_shade(kind)}"/>' for kind, a, b in spans
    )
    return (
        f'<svg viewBox="0 0 {max(expected.total, 1)} 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(f"Partitions of {name}")}">{parts}</svg>'
    )


def _shade(partition: int | None) -> str:
    return "var(--bad)" if partition is None else f"var(--c{partition % 2})"


def _dots(points: Iterable[tuple[float, float]], color: int) -> str:
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    style = f'stroke="var(--c{color})" stroke-width="4.5" stroke-linecap="round" stroke-opacity=".55"'
    return f'<path d="{path}" {style}/>' if path else ""


def _path(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<path class="{kind}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'


def _svg(label: str, x: Axis, y: Axis, parts: Iterable[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" font-size="11">'
    return "\n".join([head, *_grid(x, y), *parts, "</svg>"])


def _grid(x: Axis, y: Axis) -> Iterable[str]:
    for tick in x.ticks:
        yield f'<path class="axis" d="M{x.at(tick):.1f} {TOP}V{y.start}"/>'
        yield f'<text x="{x.at(tick):.1f}" y="{y.start + 14}" text-anchor="middle">{_shown(tick)}</text>'
    for tick in y.ticks:
        yield f'<path class="axis" d="M{LEFT} {y.at(tick):.1f}H{x.end}"/>'
        yield f'<text x="{LEFT - 4}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{_shown(tick)}</text>'
    middle = (TOP + y.start) / 2
    yield f'<text x="{(LEFT + x.end) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{x.name}</text>'
    yield f'<text x="10" y="{middle}" text-anchor="middle" transform="rotate(-90 10 {middle})">{y.name}</text>'


def _shown(tick: float) -> str:
    return f"{tick:.3g}".replace("e-0", "e-") if abs(tick) > 1e-12 else "0"
