"""Latency against accuracy: every candidate that was measured, what the budget leaves, and the one to choose.

The fastest candidate inside the budget is chosen. Latencies that differ by less than TIE are one latency, so the
more accurate of them is; equal measurements therefore always give the same choice.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.comparison.compare import TOLERANCES
from convert.int8.recipe import Recipe
from convert.runtimes.latency import Timing
from mobileiqa import cli, text, typed_json
from mobileiqa.errors import UserError
from mobileiqa.text import plot_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIE = 0.03  # of the fastest latency; two sessions on one calm machine may differ by as much
CLOSEST = 8  # rows of the table of candidates that missed the budget
DEFAULT_MAX_DROP = 0.005
GATE = TOLERANCES["int8"]
COLUMNS = ("candidate", "ms", "SRCC", "shift", "max shift", "flips", "MB", "budget")
_ROUNDING = 1e-9  # of a correlation that is exactly one
_COLORS = {"static": "tab:blue", "dynamic": "tab:orange", "weights": "tab:green"}


class OverBudgetError(Exception):
    """No candidate keeps to the budget. `rows`: the closest ones, best first, as `rows` gives them."""

    def __init__(self, budget: "Budget", rows: list[dict[str, Any]]) -> None:
        super().__init__(f"no recipe keeps to {budget}")
        self.rows = rows


@dataclass(frozen=True)
class Measured:
    """A candidate against FP32 on the validation images; shifts are in units of the score range.

    None stands for a figure that could not be computed; `failure` says why there are none.
    """

    recipe: Recipe
    sha256: str  # of its file, before the metadata is written into it
    size_bytes: int
    srcc: float | None
    mean_abs: float | None
    max_abs: float | None
    bias: float | None
    pair_flips: float | None
    failure: str = ""

    @classmethod
    def from_json(cls, content: Any, source: str = "a search's record") -> "Measured":
        """Reverses dataclasses.asdict after a way through JSON. Raises UserError, naming `source`."""
        return typed_json.decode(cls, content, source, "remove the search's folder")

    @property
    def name(self) -> str:
        """A short name for people; the recipe itself is the identity."""
        recipe, parts = self.recipe, [self.recipe.mode]
        if recipe.mode == "static":
            parts += [recipe.ranges, f"first {recipe.float_first} float"]
        if recipe.keep_float:
            parts.append(f"{len(recipe.keep_float)} layers float")
        return ", ".join(parts)


@dataclass(frozen=True)
class Budget:
    """What may be lost: 1 - SRCC(FP32, INT8), and the mean shift of the score that every INT8 file may have.

    Raises UserError for a drop below 0, or above what the INT8 parity gate lets pass.
    """

    max_srcc_drop: float = DEFAULT_MAX_DROP
    max_shift: float = GATE.mean_abs or 0.0

    def __post_init__(self) -> None:
        most = 1 - (GATE.min_srcc or 0.0)
        if not 0 <= self.max_srcc_drop <= most + _ROUNDING:
            raise UserError(
                f"--max-srcc-drop of 0 to {most:g}, which is what parity allows an INT8 file",
                f"{self.max_srcc_drop}",
                "correct it",
            )

    def __str__(self) -> str:
        return f"1 - SRCC <= {self.max_srcc_drop:g} and a mean shift <= {self.max_shift:g}"

    def broken(self, candidate: Measured) -> str:
        """Which limit the candidate breaks, with its figure; empty inside the budget."""
        if candidate.failure or candidate.srcc is None or candidate.mean_abs is None:
            return candidate.failure or "its scores do not vary"
        reasons = []
        if 1 - candidate.srcc > self.max_srcc_drop + _ROUNDING:
            reasons.append(f"1 - SRCC {1 - candidate.srcc:.4f}")
        if candidate.mean_abs > self.max_shift:
            reasons.append(f"shift {candidate.mean_abs:.4f}")
        return ", ".join(reasons)

    def loss_ratio(self, candidate: Measured) -> float:
        """The larger of both losses over its limit: at most 1 inside the budget, infinite without figures."""
        if candidate.failure or candidate.srcc is None or candidate.mean_abs is None:
            return math.inf
        smallest = 1e-4  # a drop of nothing is no unit to measure in
        return max(
            (1 - candidate.srcc) / max(self.max_srcc_drop, smallest), candidate.mean_abs / self.max_shift
        )


def choose(candidates: Sequence[Measured], timings: Mapping[str, Timing], budget: Budget) -> Measured | None:
    """The fastest timed candidate inside the budget, None without one. `timings` by the file's SHA-256.

    Of those within TIE of the fastest: the least loss ratio, then the smallest file, then the first name.
    """
    inside = [c for c in candidates if not budget.broken(c) and c.sha256 in timings]
    if not inside:
        return None
    fastest = min(timings[c.sha256].ms for c in inside)
    tied = [c for c in inside if timings[c.sha256].ms <= fastest * (1 + TIE)]
    return min(tied, key=lambda c: (budget.loss_ratio(c), c.size_bytes, c.name, c.sha256))


def rows(
    candidates: Sequence[Measured],
    timings: Mapping[str, Timing],
    budget: Budget,
    winner: Measured | None = None,
) -> list[dict[str, Any]]:
    """Every candidate, JSON-ready: chosen, then inside the budget by latency, then outside by how far."""

    def order(c: Measured) -> tuple[Any, ...]:
        timing = timings.get(c.sha256)
        inside = not budget.broken(c)
        return c != winner, not inside, timing.ms if timing and inside else 0.0, budget.loss_ratio(c), c.name

    return [
        {
            "name": c.name, **asdict(c), "budget": budget.broken(c) or "inside", "chosen": c == winner,
            "latency_ms": timings[c.sha256].ms if c.sha256 in timings else None,
        }
        for c in sorted(candidates, key=order)
    ]  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """`rows` as lines of text; the chosen one is marked with a star."""

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    cells: list[Sequence[str]] = [COLUMNS]
    for row in rows:
        cells.append((
            ("* " if row["chosen"] else "  ") + row["name"], shown(row["latency_ms"], ".2f"),
            shown(row["srcc"], ".4f"), shown(row["mean_abs"], ".4f"), shown(row["max_abs"], ".3f"),
            shown(row["pair_flips"], ".3f"), f"{row['size_bytes'] / 1e6:.2f}", row["budget"],
        ))  # fmt: skip
    return text.table(cells).splitlines()


def draw(rows: Sequence[Mapping[str, Any]], fp32_ms: float, budget: Budget, title: str, path: Path) -> None:
    """The front as a PNG: latency against 1 - SRCC and against the mean shift, both losses logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    losses = (
        ("1 - SRCC with FP32", budget.max_srcc_drop, lambda row: 1 - row["srcc"]),
        ("mean shift of the score", budget.max_shift, lambda row: row["mean_abs"]),
    )
    drawn = [row for row in rows if row["latency_ms"] is not None and row["srcc"] is not None]
    for axes, (label, limit, loss) in zip(figure.subplots(1, 2), losses, strict=True):
        points = [(row["latency_ms"], max(loss(row), 1e-6), row) for row in drawn]
        _panel(axes, points, limit)
        axes.axvline(fp32_ms, color="grey", linestyle=":", label="FP32")
        axes.set(xlabel="latency in ms, one thread", ylabel=label, yscale="log")
    handles = {label: h for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8
    )
    untimed = len(rows) - len(drawn)
    figure.suptitle(
        plot_text(title) + (f"; {untimed} slower ones outside the budget not timed" if untimed else ""),
        fontsize=9,
    )
    cli.save_plot(figure, path, dpi=120)


def _panel(axes: "Axes", points: Sequence[tuple[float, float, Mapping[str, Any]]], limit: float) -> None:
    """Every point by mode, the best loss at each latency as steps, the budget as a line, the choice as a star."""
    for x, y, row in points:
        mode = row["recipe"]["mode"]
        axes.scatter(x, y, s=28, color=_COLORS[mode], alpha=0.8, linewidths=0, label=mode)
        if row["chosen"]:
            axes.scatter(
                x, y, s=190, marker="*", facecolor="none", edgecolor="black", label="chosen", zorder=3
            )
            axes.annotate(
                plot_text(row["name"]), (x, y), xytext=(6, 8), textcoords="offset points", fontsize=7
            )
    best, steps = math.inf, []
    for x, y, _ in sorted(points, key=lambda p: p[:2]):
        if y < best:
            best = y
            steps.append((x, y))
    axes.step(*zip(*steps, strict=True), where="post", color="black", linewidth=0.8, label="front")
    axes.axhline(limit, color="tab:red", linestyle="--", linewidth=1, label="budget")
    axes.grid(alpha=0.3)
