"""`python -m android_bench.compare`: benchmark results side by side, and a gate against slowing down.

Exit 0: shown, or nothing is slower than the baseline. 1: the gate failed. 2: the user's input was wrong: one
line on stderr. The last line on stdout is compact JSON. docs/bench.md has the format and the gate's rules.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from android_bench.comparison.regression_gate import MAX_SLOWDOWN, Row, judge, lay_out, passed
from android_bench.comparison.tables import csv_text, junit, names, records, text_table
from android_bench.results.entries import read_all
from mobileiqa import cli
from mobileiqa.errors import UserError

EXAMPLE = "python -m android_bench.compare new.json --baseline main.json --html report.html --junit gate.xml"
OUTPUTS = ("csv", "html", "plot", "junit")
BRIEF = (
    "name", "size", "precision", "device", "source", "median_ms", "mean_ms", "speed", "p_slower", "verdict",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.command(_parser(), compare, argv)


def compare(args: argparse.Namespace) -> int:
    """Reads, compares, shows, writes; 1 when there is a baseline and the gate failed, else 0."""
    outputs = _checked(args)
    entries, max_slowdown = read_all(args.files), args.max_slowdown or MAX_SLOWDOWN
    if args.baseline:
        rows = judge(entries, read_all(args.baseline), max_slowdown)
    else:
        rows = lay_out(entries)
    # All are made before any is written: a picture that cannot be drawn leaves no half report.
    content = {path: _output(kind, rows, args, max_slowdown) for kind, path in outputs.items()}
    for path, whole in content.items():
        cli.write_bytes(path, whole)
    good = passed(rows) if args.baseline else None
    _show(rows, good, [str(path) for path in content])
    return int(good is False)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "Lays benchmark results side by side; with --baseline, exits with 1 when one became slower.", EXAMPLE
    )
    add = parser.add_argument
    add(
        "files", nargs="+", type=Path, metavar="BENCH.json", help="what `python -m android_bench --out` wrote"
    )
    add("--baseline", action="append", type=Path, metavar="BENCH.json", help="older results; may be repeated")
    add("--max-slowdown", type=float, metavar="FACTOR", help=f"of the median, for the gate ({MAX_SLOWDOWN})")
    add("--csv", type=Path, metavar="PATH", help="every figure, one row per result")
    add("--html", type=Path, metavar="PATH", help="one self-contained page, readable on a phone")
    add("--plot", type=Path, metavar="PATH.png", help="latency against input size (needs matplotlib)")
    add("--junit", type=Path, metavar="PATH.xml", help="the gate's verdicts for continuous integration")
    add("--force", action="store_true", help="replace existing outputs")
    return parser


def _checked(args: argparse.Namespace) -> dict[str, Path]:
    """The outputs asked for; refuses, before anything is read, what could not be honoured at the end."""
    if not args.baseline and (args.junit or args.max_slowdown is not None):
        raise UserError(
            "--baseline with --junit and --max-slowdown",
            "no --baseline",
            "name the results to compare with",
        )
    if args.max_slowdown is not None and not 1 <= args.max_slowdown <= 100:
        raise UserError("--max-slowdown from 1 to 100", f"{args.max_slowdown:g}", "use 1.05 for 5 %")
    if args.plot and args.plot.suffix.lower() != ".png":
        raise UserError("a --plot that ends in .png", str(args.plot), "rename it; --html has an SVG")
    outputs = {kind: getattr(args, kind) for kind in OUTPUTS if getattr(args, kind)}
    taken = [path.resolve() for path in (*args.files, *(args.baseline or ()))]
    for path in outputs.values():
        if path.resolve() in taken:
            raise UserError("a file of its own for each output", f"{path} twice", "change one of the names")
        taken.append(path.resolve())
        cli.refuse_existing(path, args.force)
    return outputs


def _output(kind: str, rows: Sequence[Row], args: argparse.Namespace, max_slowdown: float) -> bytes:
    """The content of one output file."""
    if kind == "csv":
        return csv_text(rows).encode("utf-8", "backslashreplace")
    if kind == "junit":
        return junit(rows, max_slowdown)
    if kind == "plot":
        from android_bench.comparison.plot import png, series

        return png(series(rows))
    from android_bench.comparison.html import page

    gate = max_slowdown if args.baseline else None
    return page(rows, args.baseline or (), gate).encode("utf-8", "backslashreplace")


def _show(rows: Sequence[Row], good: bool | None, written: list[str]) -> None:
    """Table, what must be said beside it, and the JSON line."""
    cli.say(text_table(rows))
    cli.say(
        "ms; mean as AI Benchmark prints it; speed: the reference's median over this one's, 95 % interval"
    )
    for row, name in zip(rows, names([row.entry for row in rows]), strict=True):
        if row.reason or row.entry.note:
            remarks = "; ".join(filter(None, [row.reason, row.entry.note]))
            cli.say(f"{name} {row.entry.size} {row.entry.precision}: {remarks}")
    if good is not None:
        cli.say(f"gate {'passed' if good else 'FAILED'}")
    brief: dict[str, Any] = {} if good is None else {"passed": good}
    brief["rows"] = [{key: record[key] for key in BRIEF} for record in records(rows)]
    cli.emit({**brief, "written": written})


if __name__ == "__main__":
    sys.exit(main())
