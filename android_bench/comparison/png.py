"""Latency against input size as a PNG: the picture of svg.py, for slides and pull requests, by matplotlib."""

import io
from collections.abc import Sequence
from typing import Any

from android_bench.comparison.svg import COLORS, Axes, Series, axes_of
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.text import plot_text


def png(drawn: Sequence[Series]) -> bytes:
    """The picture. Raises UserError when matplotlib is not installed, or when there is nothing to draw."""
    if not drawn:
        raise UserError("a result with an input size to draw", "none", "leave --plot out, or measure again")
    figure = _figure()
    plot = figure.subplots()
    for index, one in enumerate(drawn):
        _curve(plot, one, COLORS[index % len(COLORS)][0])
    _scales(plot, axes_of(drawn))
    figure.legend(loc="outside lower center", fontsize="small", frameon=False)
    out = io.BytesIO()
    cli.save_plot(figure, out)
    return out.getvalue()


def _figure() -> Any:
    """An empty figure, without pyplot and its global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "matplotlib, which draws --plot",
            f"none ({error})",
            "install it (`pip install matplotlib`), or use --html, whose picture needs nothing",
        ) from error
    figure = Figure(figsize=(8, 5.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _curve(plot: Any, one: Series, color: str) -> None:
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


def _scales(plot: Any, axes: Axes) -> None:
    plot.set(
        xscale="log", yscale="log", xlabel="input, megapixels", ylabel="ms: median, p5 to p95 (by hand: mean)"
    )
    for axis, marks in ((plot.xaxis, axes.across), (plot.yaxis, axes.up)):
        axis.set_ticks(marks, labels=[f"{mark:g}" for mark in marks])
        axis.set_ticks([], minor=True)
    plot.set(xlim=(axes.across[0], axes.across[-1]), ylim=(axes.up[0], axes.up[-1]))
    plot.grid(alpha=0.3)
