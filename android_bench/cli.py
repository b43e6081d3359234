"""`python -m android_bench`: times .tflite files on this machine or on phones.

Exit 0: measured. 1: the runtime refused a file, crashed, or left runs out; nothing is reported then.
2: the user's input was wrong. Errors are one line on stderr; the last line on stdout is compact JSON.
"""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from android_bench.results import interference
from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig, BenchResult, Precision, from_json, to_json
from android_bench.results.signatures import HELP, OPTION
from android_bench.results.tflite_file import takes
from android_bench.runners import phones
from android_bench.runners.host import measure
from mobileiqa import cli, text
from mobileiqa.errors import UserError

EXAMPLE = "python -m android_bench fp32.tflite fp16.tflite --runs 10 --launches 3 --out bench.json"
COLUMNS = (
    "size_mb", "init_ms", "first_ms", "median_ms", "mean_ms", "p5_ms", "p95_ms", "std_ms", "min_ms", "max_ms",
    "peak_memory_mb",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return cli.command(_parser(), _run, argv)


def _run(args: argparse.Namespace) -> int:
    """Measures where the arguments say, shows and writes."""
    if args.out:
        cli.refuse_existing(args.out, args.force)
    on_phones = args.benchmark_model or args.runner or args.serial
    if args.emulate:
        todo = "scores: `python -m convert.parity --runtimes arm:CPU`; kernels: `python -m android_bench.arm_counts`"
        raise UserError("a host or a phone, which have times", "--emulate, which was taken out", todo)
    report = (_measure_phones if on_phones else _measure)(args)
    if args.out:
        cli.write_json(args.out, report)
    cli.emit(_brief(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "Times .tflite files: fresh pinned processes, files in turn, seeded random inputs.",
        f"{EXAMPLE}\ninstructions on an emulated CPU: python -m android_bench.arm_counts --help",
    )
    default = BenchConfig()
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE.tflite")
    add("--runs", type=int, metavar="N", help=f"measured runs per launch ({default.runs})")
    add(
        "--warmup",
        dest="warmup_runs",
        type=int,
        metavar="N",
        help=f"runs before them ({default.warmup_runs})",
    )
    add("--threads", type=int, metavar="N", help=f"threads, each with a CPU of its own ({default.threads})")
    add("--launches", type=int, metavar="N", help=f"fresh processes per file ({default.launches})")
    add("--cpu-mask", type=hex_mask, metavar="HEX", help="CPUs to pin to, such as 0x2 (the last ones)")
    add("--no-xnnpack", action="store_true", help="run the built-in kernels, without the XNNPACK delegate")
    add(
        "--if-disturbed",
        choices=list(IfDisturbed),
        help="host: report and mark it (keep, the default), measure the round again (repeat), or report nothing (stop)",
    )
    add("--strict", action="store_true", help="as --if-disturbed stop, with exit code 1: for gates")
    add(OPTION, metavar="NAME", help=f"{HELP} (all of them)")
    add("--emulate", metavar="CPU", help=argparse.SUPPRESS)
    add("--benchmark-model", type=Path, metavar="PATH", help="measure on phones over adb, with this program")
    add("--runner", choices=["ours"], help="the same with our own program, which `make arm` builds")
    add(
        "--serial",
        action="append",
        metavar="ID",
        help="which phone; repeat, or `all`, for several (the only one)",
    )
    add("--side-by-side", action="store_true", help="several phones at the same time, not in turn")
    add("--force-fp16", action="store_true", help="phones: compute in FP16, as AI Benchmark's FP16 mode does")
    add("--out", type=Path, metavar="BENCH.json", help="also write every figure here")
    add("--force", action="store_true", help="replace an existing --out file")
    return parser


def hex_mask(mask: str) -> int:
    """A CPU mask written as `taskset` takes it, with or without 0x."""
    if "_" in mask:
        raise ValueError(mask)
    return int(mask, 16)


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    """Host benchmark: prints the table and returns the report."""
    for_phones = [name for name in ("force_fp16", "side_by_side") if getattr(args, name)]
    if for_phones:
        raise UserError("no options for phones on the host", ", ".join(for_phones), "leave them out")
    config = BenchConfig(**_given(args), use_xnnpack=not args.no_xnnpack)
    if_disturbed = _if_disturbed(args)
    results = measure(args.files, config, cli.status(), if_disturbed, args.signature)
    cli.say(table([interference.calm(result) for result in results]))
    device = results[0].device
    cli.say(
        f"{results[0].runtime}, {device.cpu}, {config.threads} thread(s) on CPU "
        f"{','.join(map(str, results[0].launches[0].cpus))}, {config.warmup_runs} + {config.runs} runs x "
        f"{config.launches} launch(es); MB = 10^6 bytes; peak MB: resident, less the imported runtime"
    )
    for result in results:
        if not all(launch.delegate_kernels for launch in result.launches):
            cli.say(f"{result.name}: ran without XNNPACK, on the built-in kernels")
        for words in interference.of_result(result):
            cli.say(f"{result.name}: DISTURBED, {words}")
        if words := _counted(result):
            cli.say(f"{result.name}: {words}")
    if results[0].repeated:
        cli.say(f"{results[0].repeated} disturbed round(s) were measured again")
    return to_json(results)


def _if_disturbed(args: argparse.Namespace) -> IfDisturbed:
    """What the flags say of a disturbed launch. Raises UserError where they say two things."""
    if args.strict and args.if_disturbed not in (None, IfDisturbed.STOP):
        raise UserError(
            "--strict alone", f"--if-disturbed {args.if_disturbed} with it", "leave one of them out"
        )
    return IfDisturbed.STOP if args.strict else IfDisturbed(args.if_disturbed or IfDisturbed.KEEP)


def _counted(result: BenchResult) -> str:
    """Which launches the figures are of, where some or all were disturbed, and how much of the time was lost."""
    if not interference.of_result(result):
        return ""
    count, lost = len(interference.calm(result).launches), interference.lost_percent(result)
    disturbed = sum(bool(interference.of_launch(launch, result.config)) for launch in result.launches)
    figures = (
        f"the figures are of the {count} calm launches"
        if 0 < disturbed < len(result.launches)
        else ("the figures are of all launches")
    )
    share = "" if lost is None else f"; {lost:.0f} % of the measured time went to something else"
    return f"{figures}, {disturbed} of {len(result.launches)} were disturbed{share}; --strict reports nothing then"


def _measure_phones(args: argparse.Namespace) -> dict[str, Any]:
    """Benchmark on phones: prints a table for each and returns the report."""
    if bool(args.benchmark_model) == bool(args.runner):
        raise UserError(
            "one program for the phones",
            "two" if args.runner else "none",
            "name TFLite's with --benchmark-model, or take ours with `--runner ours`",
        )
    if args.if_disturbed or args.strict:
        flag = "--strict" if args.strict else "--if-disturbed"
        raise UserError(f"no {flag} for phones", args.if_disturbed or flag, "leave it out")
    precision = Precision.FP16 if args.force_fp16 else Precision.FILE
    protocol = phones.PROTOCOL if args.benchmark_model else {}
    asked = {**protocol, **_given(args), "precision": precision, "use_xnnpack": not args.no_xnnpack}
    results = phones.measure(
        args.files,
        BenchConfig(**asked),
        args.benchmark_model,
        args.serial or (),
        side_by_side=args.side_by_side,
        progress=cli.status(),
        signature=args.signature,
    )
    for _, rows in groupby(results, key=lambda result: id(result.phone)):  # one record for each phone
        group = list(rows)
        cli.say(f"{phones.headline(group[0])}\n{table(group)}")
    return to_json(results)


def _given(args: argparse.Namespace) -> dict[str, int]:
    """The timing options that were given, by BenchConfig's names."""
    names = ("runs", "warmup_runs", "threads", "launches", "cpu_mask")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def table(results: Sequence[BenchResult]) -> str:
    """Aligned columns for people, one row per signature of each file; times in ms."""
    heads = (name.removesuffix("_ms").replace("_memory", "").replace("_mb", " MB") for name in COLUMNS)
    rows = [["file", "input", *heads]]
    for result in results:
        figures = result.summary()
        inputs = takes(result.input_types, result.input_shapes)
        rows.append([result.name, inputs, *(f"{figures[name]:.2f}" for name in COLUMNS)])
    return text.table(rows, left=(0, 1))


def _interference(result: BenchResult) -> dict[str, Any]:
    """Whether a result was disturbed, of how many launches its figures are, and the time lost in per cent."""
    lost = interference.lost_percent(result)
    return {
        "disturbed": bool(interference.of_result(result)),
        "launches": len(interference.calm(result).launches),
        "interference_percent": None if lost is None else round(lost, 1),
    }


def _brief(report: dict[str, Any]) -> dict[str, Any]:
    """The last line: without the single runs, which --out holds."""
    fields = ("file", "signature", "input_types", "input_shapes", "fp16_capable")
    rows = [
        {
            **{name: row[name] for name in fields},
            **interference.calm(result).summary(),
            **_interference(result),
        }
        for row, result in zip(report["results"], from_json(report), strict=True)
    ]
    first = report["results"][0]
    return {**report, "runtime": first["runtime"], "config": first["config"], "results": rows}
