"""`python -m android_bench.arm_counts`: instructions of one inference on an emulated ARM core, and a gate on them.

A regression metric without noise for CI machines whose times are noise: a change that makes XNNPACK leave its FP16 or
INT8 kernels, or that adds work, shows in the first run. Not latency, and never printed as such.

Exit 0: counted, and the gate passed. 1: a file did not run, or the gate failed. 2: the user's input was wrong.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench import core_bounds
from android_bench.emulate import DEFAULT_CPU
from android_bench.results.entries import load_json
from android_bench.results.signatures import HELP, OPTION, labelled, read_signatures
from android_bench.runners.instruction_counter import PARTS, Counted, check_cpu, count
from mobileiqa import cli, text, typed_json
from mobileiqa.errors import UserError
from mobileiqa.typed_json import shortened

SCHEMA = 2
EXAMPLE = "python -m android_bench.arm_counts fp32.tflite fp16.tflite --cpu cortex-a76 --baseline main.json"
NOT_LATENCY = (
    "Instruction counts are not latency: caches, memory and pipelines decide what an instruction costs."
)
NOT_A_TIME = "No core can be faster with these kernels, those of cortex-a76; all are slower: not a time."
MAX_GROWTH = 1.01
HEADS = {
    "instructions": "M instr",
    "fmla_4s": "FMLA .4s",
    "fmla_8h": "FMLA .8h",
    "sdot": "SDOT",
    "smmla": "SMMLA",
    "smlal": "SMLAL",
}
CLASSES = ("loads", "stores", "moves", "shuffles", "transfers", "converts", "vector", "branches", "scalar")
FAST = ("fmla_8h", "sdot", "smmla")  # the reduced-precision kernels
FAILING = frozenset({"more", "lost kernels", "lost"})


@dataclass(frozen=True)
class CountsFile:
    """The JSON of `--out`, whose rows are the fields of `Counted`."""

    schema: int
    note: str
    counts: tuple[Counted, ...]


@dataclass(frozen=True)
class Judged:
    """A file beside its baseline. `growth`: instructions now over then; None where one of them is missing.

    verdict: lost kernels (it ran FP16 or dot-product kernels and runs none of them now), more (beyond the allowed
    factor), fewer (beyond its inverse), same, new (not in the baseline), lost (there, and not counted now).
    """

    name: str
    cpu: str
    verdict: str
    growth: float | None = None
    remark: str = ""


def to_json(rows: Sequence[Counted]) -> dict[str, Any]:
    """Everything, JSON-ready; `read_counts` reads it."""
    return dataclasses.asdict(CountsFile(SCHEMA, NOT_LATENCY, tuple(rows)))


def read_counts(path: Path) -> list[Counted]:
    """Rows of one file. Raises UserError, naming the field, when it is missing, no JSON, or not of this schema."""
    data = load_json(path, "count again, or correct the file")
    if not isinstance(data, dict) or type(data.get("schema")) is not int or data["schema"] != SCHEMA:
        actual = (
            f"schema {shortened(repr(data.get('schema')), 60)}"
            if isinstance(data, dict)
            else type(data).__name__
        )
        raise UserError(f"counts of schema {SCHEMA} in {path}", actual, "count again with this version")
    return list(typed_json.decode(CountsFile, data, str(path), "count again, or correct the file").counts)


def judge(
    rows: Sequence[Counted], baseline: Sequence[Counted], max_growth: float = MAX_GROWTH
) -> list[Judged]:
    """Each row beside the baseline's of the same file name, signature, CPU and forced precision, then the lost ones.

    Raises UserError when either side holds two rows that would meet the same one.
    """
    new, old = _by_key(rows, "new counts"), _by_key(baseline, "baseline")
    verdicts = [_judge(row, old.get(key), max_growth) for key, row in new.items()]
    lost = [Judged(_name(row), row.cpu, "lost") for key, row in old.items() if key not in new]
    return [*verdicts, *lost]


def table(rows: Sequence[Counted]) -> str:
    """Aligned columns for people, one row per signature of each file and CPU; millions."""
    lines = [["file", "cpu", *HEADS.values()]]
    for row in rows:
        lines.append([_name(row), row.cpu, *(f"{row.counts[kind] / 1e6:,.2f}" for kind in HEADS)])
    return text.table(lines, left=(0, 1))


def bound_table(rows: Sequence[Counted]) -> str:
    """What else was executed, in millions, and the least cycles and milliseconds of each core, where they are known."""
    lines = [["file", "M instr", *CLASSES]]
    lines += [[_name(r), *(f"{r.counts[k] / 1e6:,.2f}" for k in ("instructions", *CLASSES))] for r in rows]
    bounds = [["file", "core", "M cycles, at least", "ms, at least", "GHz", "limited by"]]
    for row in (row for row in rows if row.cpu == core_bounds.COUNTED_ON):
        for core, least in zip(core_bounds.CORES, core_bounds.bounds(row.counts), strict=True):
            figures = (f"{least.cycles / 1e6:,.2f}", f"{least.ms:,.2f}", f"{core.ghz:g}")
            bounds.append([_name(row), core.name, *figures, least.limit])
    return f"{text.table(lines, left=(0,))}\n\n{text.table(bounds, left=(0, 1, 5))}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.command(_parser(), _run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "Counts the instructions of one inference on an emulated ARM core. They are not latency.", EXAMPLE
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE.tflite")
    add("--cpu", action="append", metavar="CPU", help=f"{', '.join(PARTS)}; may be repeated ({DEFAULT_CPU})")
    add(OPTION, metavar="NAME", help=f"{HELP} (all of them)")
    add("--force-fp16", action="store_true", help="compute in FP16 whatever the file says")
    add(
        "--bound",
        action="store_true",
        help="also the other instructions, and the least cycles that five cores need",
    )
    add("--baseline", type=Path, metavar="COUNTS.json", help="older counts: exit 1 when instructions grew")
    add(
        "--max-growth", type=float, metavar="FACTOR", help=f"of the instructions, for the gate ({MAX_GROWTH})"
    )
    add("--out", type=Path, metavar="COUNTS.json", help="also write the counts here")
    add("--force", action="store_true", help="replace an existing --out file")
    return parser


def _run(args: argparse.Namespace) -> int:
    """Counts, shows, writes, judges."""
    cpus, max_growth = args.cpu or [DEFAULT_CPU], args.max_growth or MAX_GROWTH
    if args.max_growth is not None and not (args.baseline and 1 <= args.max_growth <= 100):
        raise UserError(
            "--max-growth from 1 to 100 with --baseline", f"{args.max_growth:g}", "use 1.01 for 1 %"
        )
    if args.out:
        cli.refuse_existing(args.out, args.force)
    if args.bound and core_bounds.COUNTED_ON not in cpus:
        raise UserError(
            f"--cpu {core_bounds.COUNTED_ON} with --bound", ", ".join(cpus), "count on that core too"
        )
    for cpu in cpus:
        check_cpu(cpu)
    baseline = read_counts(args.baseline) if args.baseline else []
    signatures = read_signatures(args.files, args.signature)
    rows = [
        count(entry.file.path, cpu, force_fp16=args.force_fp16, signature=entry.signature.name)
        for entry in signatures
        for cpu in cpus
    ]
    verdicts = judge(rows, baseline, max_growth) if args.baseline else []
    if args.out:
        cli.write_json(args.out, to_json(rows))
    return _show(rows, verdicts, args.out, args.bound)


def _show(rows: Sequence[Counted], verdicts: Sequence[Judged], out: Path | None, bound: bool) -> int:
    """Table, verdicts and the JSON line; the exit code."""
    failed = any(entry.verdict in FAILING for entry in verdicts)
    cli.say(table(rows))
    cli.say(f"one inference, one thread, {rows[0].runtime}, {rows[0].emulator}. {NOT_LATENCY}")
    if bound:
        cli.say(f"\n{bound_table(rows)}\n{NOT_A_TIME}")
    for entry in verdicts:
        growth = "" if entry.growth is None else f", {entry.growth:.4f} times the instructions"
        cli.say(f"{entry.name} on {entry.cpu}: {entry.verdict}{growth}{entry.remark}")
    brief: dict[str, Any] = {
        "counts": [
            {"file": row.file, "signature": row.signature, "cpu": row.cpu, **row.counts} for row in rows
        ]
    }
    if bound:
        brief["bounds"] = [
            {"file": row.file, "signature": row.signature, **dataclasses.asdict(least)}
            for row in rows
            if row.cpu == core_bounds.COUNTED_ON
            for least in core_bounds.bounds(row.counts)
        ]
    if verdicts:
        cli.say(f"gate {'FAILED' if failed else 'passed'}")
        brief |= {"passed": not failed, "judged": [dataclasses.asdict(entry) for entry in verdicts]}
    brief["written"] = [str(out)] if out else []
    cli.emit(brief)
    return int(failed)


def _judge(row: Counted, then: Counted | None, max_growth: float) -> Judged:
    if then is None:
        return Judged(_name(row), row.cpu, "new")
    growth = row.counts["instructions"] / then.counts["instructions"]
    if any(then.counts[kind] and not row.counts[kind] for kind in FAST):
        verdict = "lost kernels"
    else:
        verdict = "more" if growth > max_growth else "fewer" if growth < 1 / max_growth else "same"
    return Judged(_name(row), row.cpu, verdict, growth, _remark(row, then))


def _remark(row: Counted, then: Counted) -> str:
    """What changed beside the number: kinds that came or went, another runtime or emulator."""
    words = [
        f"{'no' if then.counts[kind] else 'now'} {head}"
        for kind, head in HEADS.items()
        if bool(row.counts[kind]) != bool(then.counts[kind])
    ]
    words += [
        f"{name} was {getattr(then, name)}, is {getattr(row, name)}"
        for name in ("runtime", "emulator")
        if getattr(then, name) != getattr(row, name)
    ]
    return f" ({'; '.join(words)})" if words else ""


def _by_key(rows: Sequence[Counted], what: str) -> Mapping[tuple[str, str, bool], Counted]:
    rows_by_key: dict[tuple[str, str, bool], Counted] = {}
    for row in rows:
        key = (labelled(Path(row.file).name, row.signature), row.cpu, row.force_fp16)
        if key in rows_by_key:
            raise UserError(
                f"one row for each file name, signature and CPU in the {what}",
                f"two of {key[0]} on {key[1]}",
                "leave one out",
            )
        rows_by_key[key] = row
    return rows_by_key


def _name(row: Counted) -> str:
    """The file's name, the signature's where it says something, and what was forced."""
    return labelled(Path(row.file).name, row.signature) + (" (fp16 forced)" if row.force_fp16 else "")


if __name__ == "__main__":
    sys.exit(main())
