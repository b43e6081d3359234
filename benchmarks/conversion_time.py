"""What a conversion costs, stage by stage: `python benchmarks/conversion_time.py [--before CHECKOUT] [--runs 3]`

Each command runs in a process of its own, the checkouts in turn, so that a machine that grows busy slows both. CPU
seconds are the process's, user and system, of all threads; the peak is its largest resident memory. Medians of the
runs; stages are those that the command itself reports (convert.stage_times), of the run of median CPU time. This
process stays small: Linux counts its memory towards what it starts.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.checkouts import run_python
from mobileiqa import cli, text
from mobileiqa.errors import UserError

COMMANDS = {
    "mobilenet-iqa 1907x1231, FP16": ["--model", "mobilenet-iqa", "--size", "1907x1231", "--fp16"],
    "reference, FP16": ["--fp16"],
    "reference, INT8": ["--int8"],
    "reference, FP16, takes 4032x3024 and 3024x4032": [
        "--fp16", "--input", "uint8", "--input-size", "4032x3024,3024x4032"
    ],
}  # fmt: skip


def run(checkout: Path, arguments: list[str]) -> dict[str, Any]:
    """One conversion by the code of `checkout`: CPU seconds, peak MB, stages. UserError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, "a.tflite"))
        conversion = run_python(checkout, ["-m", "convert.tflite", *arguments, "--out", out])
    if conversion.returncode:
        raise UserError(
            f"a conversion that passes in {checkout}", conversion.last_line, "see what it says alone"
        )
    return {
        "cpu_seconds": round(conversion.cpu_s, 1), "peak_mb": round(conversion.peak_mb),
        "load": os.getloadavg()[0], "stages": json.loads(conversion.last_line).get("stages", []),
    }  # fmt: skip


def median_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of CPU time and memory, and the stages of the run in the middle."""
    middle = sorted(runs, key=lambda each: each["cpu_seconds"])[(len(runs) - 1) // 2]
    medians = {name: statistics.median(r[name] for r in runs) for name in ("cpu_seconds", "peak_mb", "load")}
    return {"runs": len(runs), **medians, "stages": middle["stages"]}


def table(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """A line for each command and checkout, then the stages of each command as the first checkout runs it."""
    head = ("conversion", "checkout", "runs", "CPU s", "peak MB", "load")
    rows = [
        (name, checkout, str(r["runs"]), f"{r['cpu_seconds']:.0f}", f"{r['peak_mb']:,.0f}", f"{r['load']:.1f}")
        for name, checkouts in results.items() for checkout, r in checkouts.items()
    ]  # fmt: skip
    lines = text.table([head, *rows]).splitlines()
    for name, checkouts in results.items():
        stages = next(iter(checkouts.values()))["stages"]
        lines.append(f"{name}: " + ", ".join(f"{s['stage']} {s['cpu_seconds']:.1f}" for s in stages))
    return lines


def main(argv: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = cli.parser(
        "What a conversion costs, stage by stage.", "python benchmarks/conversion_time.py --runs 3"
    )
    parser.add_argument(
        "--before", type=cli.input_path, metavar="CHECKOUT", help="another checkout, run in turn"
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each (%(default)s)")
    parser.add_argument("--only", choices=sorted(COMMANDS), help="one conversion")
    parser.add_argument(
        "--out", type=Path, default=HERE / "conversion_time.json", help="default: %(default)s"
    )
    return cli.command(parser, _measure, argv)


def _measure(arguments: argparse.Namespace) -> int:
    checkouts = {"this": HERE.parent} | ({"before": arguments.before.resolve()} if arguments.before else {})
    results = {}
    for name in [arguments.only] if arguments.only else COMMANDS:
        runs: dict[str, list[dict[str, Any]]] = {checkout: [] for checkout in checkouts}
        for _ in cli.progress(range(arguments.runs), name):
            for checkout, folder in checkouts.items():
                runs[checkout].append(run(folder, COMMANDS[name]))
        results[name] = {checkout: median_of(each) for checkout, each in runs.items()}
    for line in table(results):
        cli.say(line)
    cli.write_json(arguments.out, results)
    cli.emit({"out": str(arguments.out), "conversions": len(results)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
