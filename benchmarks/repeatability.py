"""Does the benchmark repeat? Two sessions of the same two files, some time apart, and their ratios beside each other.

    python benchmarks/repeatability.py a.tflite b.tflite --minutes 60

In a session the files take turns, so that what slows the machine slows both: times of two sessions may differ,
their ratio must not, by more than 3 %. Choose files whose times differ for another reason than noise.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from android_bench.comparison.significance import speed
from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig
from android_bench.runners import host
from benchmarks import output
from benchmarks.table import markdown
from mobileiqa import cli
from mobileiqa.errors import UserError

MAX_DIFFERENCE = 0.03


@dataclass(frozen=True)
class Session:
    """One interleaved measurement. `ratio`: the second file's median over the first's, with its 95 % interval."""

    started: str
    first_ms: float
    second_ms: float
    ratio: float
    low: float
    high: float
    repeated: int


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit 1 when the ratios differ too much, or when a session was disturbed."""
    return cli.command(arguments(), repeat, argv)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser(
        "Measure two files in two sessions and compare the sessions' ratios.",
        "python benchmarks/repeatability.py fp32.tflite int8.tflite --minutes 60 --launches 5",
    )
    parser.add_argument("files", nargs=2, type=Path, metavar="FILE.tflite")
    parser.add_argument("--minutes", type=float, default=60, help="between them (default %(default)s)")
    output.add_protocol(parser, launches=5, of="per session")
    output.add_if_disturbed(parser)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "repeatability.json", help="JSON")
    parser.add_argument("--force", action="store_true", help="replace existing results")
    return parser


def repeat(args: argparse.Namespace) -> int:
    """Measures, waits, measures; prints and writes."""
    cli.refuse_existing(args.out, args.force)
    if not 0 <= args.minutes <= 24 * 60:
        raise UserError("--minutes from 0 to 1440", f"{args.minutes:g}", "correct --minutes")
    config = BenchConfig(runs=args.runs, launches=args.launches)
    sessions = [session(args, config)]
    for _ in cli.progress(range(round(args.minutes * 60)), "waiting"):
        time.sleep(1)
    sessions.append(session(args, config))
    content = {
        "files": [str(path) for path in args.files],
        "minutes": args.minutes,
        "config": asdict(config),
        "device": asdict(host.this_machine()),
        "sessions": [asdict(one) for one in sessions],
        **differences(sessions),
    }
    cli.write_json(args.out, content)
    cli.say(table(args.files, sessions))
    cli.emit({"json": str(args.out), **differences(sessions)})
    return int(not content["passed"])


def session(args: argparse.Namespace, config: BenchConfig) -> Session:
    """Both files in turns. Raises what host.measure raises."""
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    cli.note(f"{started}: measuring")
    first, second = host.measure(args.files, config, cli.note, IfDisturbed(args.if_disturbed))
    runs = [[launch.run_ms for launch in result.launches] for result in (first, second)]
    ratio, low, high = speed(runs[0], runs[1], paired=True)
    return Session(started, first.run_ms.median, second.run_ms.median, ratio, low, high, first.repeated)


def differences(sessions: Sequence[Session]) -> dict[str, Any]:
    """How far two sessions are apart, as parts of 1: in either file's time, and in the ratio, which is judged."""
    result = {
        f"{name}_difference": round(max(pair) / min(pair) - 1, 5)
        for name in ("first_ms", "second_ms", "ratio")
        if (pair := [getattr(one, name) for one in sessions])
    }
    return {**result, "at_most": MAX_DIFFERENCE, "passed": result["ratio_difference"] <= MAX_DIFFERENCE}


def table(files: Sequence[Path], sessions: Sequence[Session]) -> str:
    """Markdown: a row per session, then how far they are apart."""
    head = ["session", f"{files[0].name} ms", f"{files[1].name} ms", "ratio", "95 %", "turns repeated"]
    rows = [
        [
            one.started,
            f"{one.first_ms:.3f}",
            f"{one.second_ms:.3f}",
            f"{one.ratio:.4f}",
            f"{one.low:.4f} to {one.high:.4f}",
            str(one.repeated),
        ]
        for one in sessions
    ]
    result = differences(sessions)
    apart = [f"{result[f'{name}_difference']:.2%}" for name in ("first_ms", "second_ms", "ratio")]
    verdict = f"at most {MAX_DIFFERENCE:.0%}: {'yes' if result['passed'] else '**NO**'}"
    return markdown(head, [*rows, ["apart", *apart, verdict, ""]])


if __name__ == "__main__":
    sys.exit(main())
