"""The Markdown that shows rows, targets and limits.

A ratio is always "how many times ours": 2.0 means that ours takes half of it. A row without figures says why.
"""

from collections.abc import Iterable, Sequence

from benchmarks.conversion_paths import OURS, PATHS, Case
from benchmarks.limit import Rates, Work
from benchmarks.results import Row, Verdict

AIM = 1.2  # times the limit
METRICS = {"median_ms": "time", "memory_mb": "memory", "size_mb": "file", "partitions": "XNNPACK partitions"}
UNITS = {"median_ms": " ms", "memory_mb": " MB", "size_mb": " MB", "partitions": ""}


def case_table(rows: Sequence[Row]) -> str:
    """Markdown table of one case; ratios are to its row of our own FP32 file."""
    ours = next((row for row in rows if row.built.route == OURS and not row.error), None)
    head = [
        "file from",
        "MB",
        "median ms",
        "× ours",
        "spread",
        "init ms",
        "memory MB",
        "× ours",
        "partitions",
        "converts in s",
        "with MB",
        "score error",
    ]
    return markdown(head, [_cells(row, ours) for row in rows])


def _cells(row: Row, ours: Row | None) -> list[str]:
    label, built = PATHS[row.built.route].label, row.built
    conversion = [f"{built.seconds:.0f}", f"{built.peak_mb:.0f}"]
    if row.error:
        return [
            label,
            f"{row.size_mb:.0f}" if built.size_bytes else "–",
            f"**{row.error}**",
            *["–"] * 6,
            *conversion,
            "–",
        ]
    error = "–" if row.difference is None else f"{row.difference:.0e}{'' if row.faithful else ' **wrong**'}"
    return [
        label,
        f"{row.size_mb:.0f}",
        f"{row.median_ms:.1f}",
        _times(row, ours, "median_ms"),
        f"{row.spread:.1%}",
        f"{row.init_ms:.0f}",
        f"{row.memory_mb:.0f}",
        _times(row, ours, "memory_mb"),
        str(row.partitions or "–"),
        *conversion,
        error,
    ]


def _times(row: Row, ours: Row | None, metric: str) -> str:
    return f"{getattr(row, metric) / getattr(ours, metric):.2f}" if ours else "–"


def target_table(verdicts: Iterable[Verdict]) -> str:
    """Markdown table of the targets."""
    return markdown(
        ["target", "found", "at most", "met"],
        [
            [described(v), shown(v, v.value), shown(v, v.target.at_most), "yes" if v.passed else "**NO**"]
            for v in verdicts
        ],
    )


def described(verdict: Verdict) -> str:
    """What is asked, in words."""
    target = verdict.target
    against = f", over {PATHS[target.against].label}" if target.against else ""
    return f"{verdict.case}: {METRICS[target.metric]} of {PATHS[target.route].label}{against}"


def shown(verdict: Verdict, value: float | None) -> str:
    """A figure with the target's unit, × for a ratio."""
    if value is None:
        return "not measured"
    if verdict.target.against:
        return f"{value:.3f}×"
    return f"{value:.4g}{UNITS[verdict.target.metric]}"


def limit_table(rows: Sequence[Row], work: dict[Case, Work], rates: Rates) -> str:
    """Markdown table of our FP32 files beside the least time that this core could need for them."""
    lines = []
    for row in rows:
        if row.built.route != OURS or row.error:
            continue
        todo = work[row.built.case]
        limit = rates.limit_ms(todo)
        lines.append(
            [
                str(row.built.case),
                f"{todo.macs / 1e9:.1f}",
                f"{todo.gelu_values / 1e6:.0f}",
                f"{limit:.1f}",
                f"{row.median_ms:.1f}",
                f"{row.median_ms / limit:.2f}",
            ]
        )
    head = ["file", "GMACs", "M GELU values", "limit ms", "median ms", f"× limit (aim {AIM})"]
    return markdown(head, lines)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers. A bar in a cell ends no cell."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, cells))} |" for cells in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
