"""Plots as SVG without any library: axes, grids, dots and lines, drawn for the width of a phone held upright.

Colours are the CSS variables of html_page's stylesheet, so that they follow light and dark. Points are one path of
dots each: thousands of images stay a small file. Nothing is imported beyond the standard library: every package may
use this.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
WIDTH, HEIGHT = 360, 250  # CSS pixels, less the page's margin: the text is legible without zooming
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 36


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, drawn from `start` to `end`; `log`: a factor is the same distance everywhere."""

    name: str
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies in the drawing."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def across(low: float, high: float, name: str, log: bool = False) -> Axis:
    """A horizontal axis; one value alone gets a range around it."""
    return _axis(low, high, name, LEFT, WIDTH - RIGHT, log)


def up(low: float, high: float, name: str, log: bool = False) -> Axis:
    """A vertical axis."""
    return _axis(low, high, name, HEIGHT - BOTTOM, TOP, log)


def _axis(low: float, high: float, name: str, start: float, end: float, log: bool) -> Axis:
    if log:
        ticks = log_ticks(low, high)
        return Axis(name, ticks[0], ticks[-1], start, end, tuple(ticks), log)
    low, high = (low, high) if high - low > 1e-12 else (low - 0.5, high + 0.5)
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step = next(step * k for k in (5, 2, 1) if (high - low) / (step * k) >= 3)  # three to six ticks
    ticks = [k * step for k in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
    return Axis(name, low, high, start, end, tuple(ticks))


def log_ticks(low: float, high: float) -> list[float]:
    """1-2-5 steps from the last one at or below `low` to the first one at or above `high`, at least two."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    steps = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low)
    last = min(index for index, step in enumerate(steps) if step >= high)
    marks = steps[first : max(last, first + 1) + 1]
    if len(marks) > 8:  # decades are enough over a wide range
        return [step for step in marks if f"{step:e}".startswith("1") or step in (marks[0], marks[-1])]
    return marks


def plot(label: str, x: Axis, y: Axis, parts: Iterable[str]) -> str:
    """An inline <svg> element: grid lines, their numbers, what the axes are, and `parts`."""
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" font-size="11">'
    return "\n".join([head, *_grid(x, y), *parts, "</svg>"])


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    for tick in x.ticks:
        yield f'<path class="axis" d="M{x.at(tick):.1f} {TOP}V{y.start}"/>'
        yield f'<text x="{x.at(tick):.1f}" y="{y.start + 14}" text-anchor="middle">{_shown(tick)}</text>'
    for tick in y.ticks:
        yield f'<path class="axis" d="M{LEFT} {y.at(tick):.1f}H{x.end}"/>'
        yield f'<text x="{LEFT - 4}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{_shown(tick)}</text>'
    middle = (TOP + y.start) / 2
    yield f'<text x="{(LEFT + x.end) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(x.name)}</text>'
    yield (
        f'<text x="10" y="{middle}" text-anchor="middle" transform="rotate(-90 10 {middle})">{escape(y.name)}</text>'
    )


def _shown(tick: float) -> str:
    return f"{tick:.6g}".replace("e-0", "e-") if abs(tick) > 1e-12 else "0"


def line(points: Sequence[tuple[float, float]], attributes: str) -> str:
    """A path through points of the drawing."""
    return f'<path {attributes} d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'


def dots(points: Iterable[tuple[float, float]], color: int) -> str:
    """All points as one path; "" without any. `color`: an index into COLORS."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    style = f'stroke="var(--c{color})" stroke-width="4.5" stroke-linecap="round" stroke-opacity=".55"'
    return f'<path d="{path}" {style}/>' if path else ""
