"""Latency against input size: what is drawn, as SVG for a page, and as PNG for slides and pull requests.

Both axes are logarithmic: sizes and times span decades, and a cost that grows with the pixels is a straight line
of slope 1. Points are medians with p5 to p95; a figure entered by hand is its mean, an open ring.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from android_bench.comparison.regression_gate import Row, Verdict
from android_bench.results.entries import Entry
from mobileiqa import cli
from mobileiqa import svg as drawing
from mobileiqa.errors import UserError
from mobileiqa.svg import COLORS, Axis
from mobileiqa.text import escape, plot_text


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


def axes_of(drawn: Sequence[Series]) -> tuple[Axis, Axis]:
    """Axes that hold every point and its p5 to p95: megapixels, ms."""
    points = [point for one in drawn for point in one.points]
    sizes = [point.megapixels for point in points]
    return (
        drawing.across(min(sizes), max(sizes), "input, megapixels", log=True),
        drawing.up(min(p.low_ms for p in points), max(p.high_ms for p in points), "ms", log=True),
    )


def svg(drawn: Sequence[Series]) -> str:
    """An inline <svg> element of at least one series."""
    x, y = axes_of(drawn)
    curves = [_curve(one, f"var(--c{index % len(COLORS)})", x, y) for index, one in enumerate(drawn)]
    return drawing.plot("Latency against input size", x, y, [part for curve in curves for part in curve])


def _curve(one: Series, color: str, x: Axis, y: Axis) -> Iterator[str]:
    """A line, bars from p5 to p95, and dots that name their figure; dashed and hollow when by hand."""
    dash = 'stroke-dasharray="5 3"' * one.points[0].by_hand
    yield f'<g stroke="{color}" fill="none" stroke-width="1.6">'
    yield drawing.line([(x.at(p.megapixels), y.at(p.ms)) for p in one.points], dash)
    for p in one.points:
        place, fill = x.at(p.megapixels), "var(--paper)" if p.by_hand else color
        yield drawing.line(
            [(place, y.at(p.low_ms)), (place, y.at(p.high_ms))], 'stroke-width="3" opacity=".45"'
        )
        title = f"<title>{escape(p.label)}</title>"
        yield f'<circle cx="{place:.1f}" cy="{y.at(p.ms):.1f}" r="3.5" fill="{fill}">{title}</circle>'
    yield "</g>"


def png(drawn: Sequence[Series]) -> bytes:
    """The same by matplotlib. Raises UserError when it is not installed, or when there is nothing to draw."""
    if not drawn:
        raise UserError("a result with an input size to draw", "none", "leave --plot out, or measure again")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "matplotlib, which draws --plot",
            f"none ({error})",
            "install it (`pip install matplotlib`), or use --html, whose picture needs nothing",
        ) from error
    figure = Figure(figsize=(8, 5.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for index, one in enumerate(drawn):
        _errorbars(axes, one, COLORS[index % len(COLORS)][0])
    _scales(axes, *axes_of(drawn))
    figure.legend(loc="outside lower center", fontsize="small", frameon=False)
    out = io.BytesIO()
    cli.save_plot(figure, out)
    return out.getvalue()


def _errorbars(plot: Any, one: Series, color: str) -> None:
    """Medians with p5 to p95; dashed and hollow, without bars, when by hand."""
    by_hand, points = one.points[0].by_hand, one.points
    sides = [[p.ms - p.low_ms for p in points], [p.high_ms - p.ms for p in points]]
    plot.errorbar(
        [p.megapixels for p in points],
        [p.ms for p in points],
        yerr=None if by_hand else sides,
        label=plot_text(one.label),
        color=color,
        linestyle="--" if by_hand else "-",
        marker="o",
        markerfacecolor="white" if by_hand else color,
        capsize=3,
    )


def _scales(plot: Any, x: Axis, y: Axis) -> None:
    plot.set(
        xscale="log", yscale="log", xlabel="input, megapixels", ylabel="ms: median, p5 to p95 (by hand: mean)"
    )
    for axis, marks in ((plot.xaxis, x.ticks), (plot.yaxis, y.ticks)):
        axis.set_ticks(marks, labels=[f"{mark:g}" for mark in marks])
        axis.set_ticks([], minor=True)
    plot.set(xlim=(x.low, x.high), ylim=(y.low, y.high))
    plot.grid(alpha=0.3)
