"""Latency against input size: what is drawn, as SVG without any library, for a page (png.py makes a PNG).

Both axes are logarithmic: sizes and times span decades, and a cost that grows with the pixels is a straight line
of slope 1. Points are medians with p5 to p95; a figure entered by hand is its mean, an open ring.
Colours are the page's CSS variables (--ink, --line, --paper, --c0 to --c5), so that they follow light and dark.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from android_bench.comparison.regression_gate import Row, Verdict
from android_bench.results.entries import Entry
from mobileiqa.text import escape

# Okabe and Ito's colours, which people with colour-blind eyes can tell apart, less yellow: (light, dark) page.
COLORS = (
    ("#0072b2", "#56a8e0"),
    ("#d55e00", "#f08a3c"),
    ("#007d5c", "#2fbf97"),
    ("#a8467f", "#dd8fbd"),
    ("#8a6500", "#e0b040"),
    ("#3c4a56", "#b8c4ce"),
)
WIDTH, HEIGHT = 400, 290  # CSS pixels of a phone held upright: the text is legible there without zooming
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 14, 40


@dataclass(frozen=True)
class Point:
    """One row: megapixels of all inputs, its time in ms, and p5 to p95 (equal to the time when by hand)."""

    megapixels: float
    ms: float
    low_ms: float
    high_ms: float
    by_hand: bool
    label: str


@dataclass(frozen=True)
class Series:
    """Points of one model, precision and device, by size."""

    label: str
    points: tuple[Point, ...]


def series(rows: Sequence[Row]) -> list[Series]:
    """What can be drawn; rows of unknown size cannot, and what a gate found lost was not measured."""
    points_by_file: dict[str, list[Point]] = {}
    for row in rows:
        if row.entry.pixels is not None and row.verdict is not Verdict.LOST:
            points_by_file.setdefault(_label(row.entry), []).append(_point(row.entry, row.entry.pixels))
    return [Series(label, tuple(sorted(points, key=_order))) for label, points in points_by_file.items()]


def _order(point: Point) -> tuple[float, float]:
    return point.megapixels, point.ms


def _label(entry: Entry) -> str:
    threads = f", {entry.measured.config.threads} threads" if entry.measured else ""
    threads = "" if threads == ", 1 threads" else threads
    return f"{entry.model}, {entry.precision}, {entry.device}{threads}{' (by hand)' * entry.by_hand}"


def _point(entry: Entry, pixels: int) -> Point:
    runs = entry.measured.run_ms if entry.measured else None
    low, high = (runs.p5, runs.p95) if runs else (entry.mean_ms, entry.mean_ms)
    words = "mean, by hand" if entry.by_hand else "median"
    label = f"{entry.size}: {entry.central_ms:.4g} ms ({words})"
    return Point(pixels / 1e6, entry.central_ms, low, high, entry.by_hand, label)


def ticks(low: float, high: float) -> list[float]:
    """1-2-5 steps from the last one at or below `low` to the first one at or above `high`, at least two."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    steps = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low)
    last = min(index for index, step in enumerate(steps) if step >= high)
    marks = steps[first : max(last, first + 1) + 1]
    if len(marks) > 8:  # decades are enough over a wide range
        return [step for step in marks if f"{step:e}".startswith("1") or step in (marks[0], marks[-1])]
    return marks


@dataclass(frozen=True)
class Axes:
    """The ticks of both axes, and where values lie on the drawing."""

    across: list[float]  # megapixels
    up: list[float]  # ms

    def x(self, megapixels: float) -> float:
        """From the left, in the drawing's units."""
        return LEFT + _part(megapixels, self.across) * (WIDTH - LEFT - RIGHT)

    def y(self, ms: float) -> float:
        """From the top, in the drawing's units."""
        return HEIGHT - BOTTOM - _part(ms, self.up) * (HEIGHT - TOP - BOTTOM)


def axes_of(drawn: Sequence[Series]) -> Axes:
    """Axes that hold every point and its p5 to p95."""
    points = [point for one in drawn for point in one.points]
    return Axes(
        ticks(min(p.megapixels for p in points), max(p.megapixels for p in points)),
        ticks(min(p.low_ms for p in points), max(p.high_ms for p in points)),
    )


def svg(drawn: Sequence[Series]) -> str:
    """An inline <svg> element of at least one series."""
    axes = axes_of(drawn)
    label = 'role="img" aria-label="Latency against input size" font-size="11"'
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {label}>', *_grid(axes)]
    for index, one in enumerate(drawn):
        parts += _curve(one, f"var(--c{index % len(COLORS)})", axes)
    return "\n".join([*parts, "</svg>"])


def _grid(axes: Axes) -> Iterator[str]:
    """Grid lines, their numbers, and what the axes are."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in axes.up:
        y = axes.y(tick)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>'
        yield f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for tick in axes.across:
        x = axes.x(tick)
        yield f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{tick:g}</text>'
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">input, megapixels</text>'
    middle = (TOP + bottom) / 2
    yield f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">ms</text>'


def _curve(one: Series, color: str, axes: Axes) -> Iterator[str]:
    """A line, bars from p5 to p95, and dots that name their figure; dashed and hollow when by hand."""
    path = "L".join(f"{axes.x(p.megapixels):.1f} {axes.y(p.ms):.1f}" for p in one.points)
    dash = ' stroke-dasharray="5 3"' * one.points[0].by_hand
    yield f'<g stroke="{color}" fill="none" stroke-width="1.6"><path d="M{path}"{dash}/>'
    for p in one.points:
        x, fill = f"{axes.x(p.megapixels):.1f}", "var(--paper)" if p.by_hand else color
        bar = f"M{x} {axes.y(p.low_ms):.1f}V{axes.y(p.high_ms):.1f}"
        yield f'<path d="{bar}" stroke-width="3" opacity=".45"/>'
        title = f"<title>{escape(p.label)}</title>"
        yield f'<circle cx="{x}" cy="{axes.y(p.ms):.1f}" r="3.5" fill="{fill}">{title}</circle>'
    yield "</g>"


def _part(value: float, axis: Sequence[float]) -> float:
    """Where a value lies between an axis's ends, 0..1, on a logarithmic scale."""
    return math.log(value / axis[0]) / math.log(axis[-1] / axis[0])
