"""Converts the published models with every converter there is, and with ours, and measures all files in turn.

    python benchmarks/baselines.py --sizes 1271x820,1907x1231 --runs 10 --out benchmarks/baselines.json

Protocol: batch 1, one thread, one CPU, every launch a fresh pinned process, launch k of every file before
launch k + 1 of any, so that a machine that slows down slows all of them. Memory is the peak of a launch
less what the imported runtime held (ExecuTorch's Python runtime imports torch). Conversions are cached
(conversion_paths.py).

Each baseline needs its environment: `make onnx2tf executorch`, or leave its path out with --paths.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from android_bench.results.measurements import BenchConfig, Launch
from android_bench.runners import host
from benchmarks import limit, measure, output, report
from benchmarks.conversion_paths import COUNTED_ALONE, OURS, PATHS, Built, Case, build
from benchmarks.results import Row
from mobileiqa import cli
from mobileiqa.errors import RunError, UserError, one_line
from mobileiqa.spec import parse_size
from mobileiqa.zoo import MODELS

CACHE = ROOT / ".cache" / "baselines"
CHECK = BenchConfig(warmup_runs=0, runs=1)  # one run, for the score


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit 1 when a target is missed or a file of ours does not compute the published model."""
    return cli.command(arguments(), compare, argv)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser(
        "Compare our files with those of other converters, all measured in one run.",
        "python benchmarks/baselines.py --sizes 1271x820 --paths ours,executorch --force",
    )
    parser.add_argument("--sizes", default="1271x820,1907x1231", help="MobileNet-IQA's (default %(default)s)")
    parser.add_argument("--models", default="mobilenet-iqa,lar-iqa-kan", help="default %(default)s")
    own = ",".join(name for name in PATHS if name not in COUNTED_ALONE)
    parser.add_argument("--paths", default=own, help="default %(default)s")
    output.add_protocol(parser)
    parser.add_argument("--fresh", action="store_true", help="convert again, whatever the cache holds")
    output.add_output(parser, "baselines")
    return parser


def compare(args: argparse.Namespace) -> int:
    """Converts, measures, prints and writes."""
    output.refuse_existing(args)
    config = BenchConfig(runs=args.runs, launches=args.launches)
    paths = names_among(args.paths, PATHS, "--paths")
    built = [convert(name, case, args.fresh) for case in cases(args.models, args.sizes) for name in paths]
    probes = [probe(name, args.fresh) for name in limit.PROBES]
    rows = measured([*probes, *with_expected([checked(b) for b in built])], config)
    summary = summed_up(rows[: len(probes)], rows[len(probes) :], config)
    failed = report.failures(summary)
    text = report.markdown(summary)
    output.publish(args.out, report.as_json(summary), text, rows=len(built), failed=failed)
    return int(bool(failed))


def cases(models: str, sizes: str) -> list[Case]:
    """The models, at every size where the model's input size is free."""
    cases = []
    for name in names_among(models, MODELS, "--models"):
        free = len(MODELS[name].spec.inputs) == 1
        cases += [Case(name, size) for size in checked_sizes(sizes)] if free else [Case(name)]
    return cases


def checked_sizes(sizes: str) -> list[str]:
    """Comma-separated WxH, checked and in one spelling."""
    return ["{}x{}".format(*parse_size(size)) for size in sizes.split(",")]


def names_among(text: str, known: Collection[str], option: str) -> list[str]:
    """Comma-separated names, all of them among `known`."""
    names = text.split(",")
    if strange := [name for name in names if name not in known]:
        raise UserError(f"names among {', '.join(known)}", ", ".join(map(repr, strange)), f"correct {option}")
    return names


def convert(name: str, case: Case, fresh: bool) -> Built:
    """One file, one conversion at a time: the largest take gigabytes."""
    cli.note(f"{case}: converting with {PATHS[name].label}")
    built = build(name, case, CACHE, fresh)
    cli.note(f"  {built.error or f'{built.size_bytes / 1e6:.0f} MB in {built.seconds:.0f} s'}")
    return built


def probe(name: str, fresh: bool) -> Row:
    """The row of one of limit.py's probes; without it there is no limit to print, so it must work."""
    row = checked(convert("litert-torch", Case(name), fresh))
    if row.error:
        raise UserError(f"{name} to convert and run", row.error, "check the installation of litert-torch")
    return row


def checked(built: Built) -> Row:
    """Runs the file once for its score; a file that does not run is a row that says so."""
    if built.error:
        return Row(built, error=f"does not convert: {built.error}")
    try:
        return Row(built, score=measure.score(built.path, CHECK))
    except RunError as error:
        return failed(Row(built), error)


def failed(row: Row, error: RunError) -> Row:
    """`row` with the essence of what its runtime said."""
    text = one_line(str(error)).removeprefix(f"{row.built.path}: ")
    return replace(row, launches=(), error=f"does not run: {text[:200]}")


def with_expected(rows: Sequence[Row]) -> list[Row]:
    """The rows with the published module's score, which any of the baselines' conversions computed."""
    known = {row.built.case: row.built.score for row in rows if row.built.score is not None}
    return [replace(row, expected=known.get(row.built.case)) for row in rows]


def measured(rows: Sequence[Row], config: BenchConfig) -> list[Row]:
    """The rows with their launches, taken in turns; a row that fails is left out of the turns that follow."""
    results, launches = list(rows), defaultdict[int, list[Launch]](list)
    turns = [(turn, index) for turn in range(1, config.launches + 1) for index in range(len(rows))]
    for turn, index in cli.progress(turns, "measuring"):
        row = results[index]
        if row.error:
            continue
        cli.note(f"launch {turn}/{config.launches}: {row.built.case}, {PATHS[row.built.route].label}")
        try:
            launch, runtime = measure.launch(row.built.path, config)
        except RunError as error:
            results[index] = failed(row, error)
            continue
        launches[index].append(launch)
        results[index] = replace(row, runtime=runtime, launches=tuple(launches[index]))
    return results


def summed_up(probes: Sequence[Row], rows: Sequence[Row], config: BenchConfig) -> report.Report:
    """The rows with this core's rates and the work that our FP32 files do."""
    rates = limit.rates(
        {row.built.case.model: row.built.path for row in probes},
        {row.built.case.model: row.median_ms for row in probes},
    )
    ours = [row.built for row in rows if row.built.route == OURS and not row.error]
    work = {built.case: limit.work_of(built.path) for built in ours}
    return report.Report(rows, rates, work, config, host.this_machine())


if __name__ == "__main__":
    sys.exit(main())
