"""MobileIQA's phone table on this machine: latency against input size, beside the published phones.

    python benchmarks/phone_table.py

Converts MobileNet-IQA at the paper's six sizes and HyperIQA (a batch of 25 crops) to FP16 and measures them in
turns, one thread, one CPU. Milliseconds of other machines do not compare, so every figure is shown as a multiple
of the same machine's 224x224: what compares is the shape of the curve.

The published figures are of the models as they were converted then; ours are rewritten. On x86 an FP16 file
computes in FP32.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig
from android_bench.results.summary import summarize
from android_bench.runners import host
from benchmarks import output
from benchmarks.conversion_paths import OURS_FP16, Case, build
from benchmarks.table import markdown
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.spec import parse_size

CACHE = ROOT / ".cache" / "baselines"
BASE = "224x224"  # what every figure is divided by
PHONES = ("Xiaomi 10S", "HONOR Magic5 Pro")
SOURCE = "arXiv 2409.01212: TFLite in AI Benchmark, FP16, one CPU, mean of 10 runs"


@dataclass(frozen=True)
class Row:
    """A file of the table; `published`: ms on each of PHONES."""

    case: Case
    published: tuple[float, float]

    @property
    def name(self) -> str:
        """Its size, or what it is."""
        return "HyperIQA, 25 crops" if self.case.model == "hyperiqa" else self.case.size


ROWS = (
    Row(Case("mobilenet-iqa", "238x153"), (1460, 985)),
    Row(Case("mobilenet-iqa", BASE), (1488, 1003)),
    Row(Case("mobilenet-iqa", "317x205"), (1522, 1073)),
    Row(Case("mobilenet-iqa", "476x307"), (1677, 1145)),
    Row(Case("mobilenet-iqa", "1271x820"), (3636, 2625)),
    Row(Case("mobilenet-iqa", "1907x1231"), (6465, 4537)),
    Row(Case("hyperiqa"), (5762, 3654)),
)


@dataclass(frozen=True)
class Measured:
    """What this machine needs for a row: ms over all runs; slowest launch over fastest, less 1; peak memory."""

    mean_ms: float
    median_ms: float
    spread: float
    memory_mb: float


def main(argv: Sequence[str] | None = None, rows: Sequence[Row] = ROWS) -> int:
    """The command; `rows` are for tests."""
    return cli.command(arguments(), lambda args: tabulate(args, rows), argv)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser(
        "MobileIQA's phone table, measured here.", "python benchmarks/phone_table.py --runs 10"
    )
    output.add_protocol(parser)
    output.add_if_disturbed(parser)
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="converted files")
    output.add_output(parser, "phone_table")
    return parser


def tabulate(args: argparse.Namespace, rows: Sequence[Row]) -> int:
    """Converts, measures, prints and writes."""
    picture = args.out.with_suffix(".png")
    output.refuse_existing(args, picture)
    config = BenchConfig(runs=args.runs, launches=args.launches)
    paths = [converted(row, args.cache) for row in rows]
    measurements = measured(paths, config, IfDisturbed(args.if_disturbed))
    draw(rows, measurements, picture)
    text = report(rows, measurements, config, host.this_machine().cpu)
    content = as_json(rows, measurements, config)
    output.publish(args.out, content, text, picture=str(picture), rows=len(rows))
    return 0


def converted(row: Row, cache: Path) -> Path:
    """The row's FP16 file. UserError when it cannot be made: the table is whole or not there."""
    cli.note(f"{row.case}: converting to FP16")
    built = build(OURS_FP16, row.case, cache)
    if built.error:
        raise UserError(f"{row.case} in FP16", built.error, "run the conversion alone to see more")
    return built.path


def measured(paths: Sequence[Path], config: BenchConfig, if_disturbed: IfDisturbed) -> list[Measured]:
    """All files in turns. Raises what host.measure raises."""
    measurements = []
    for result in host.measure(list(paths), config, cli.note, if_disturbed):
        medians = [summarize(launch.run_ms).median for launch in result.launches]
        spread = max(medians) / min(medians) - 1
        runs = result.run_ms
        measurements.append(Measured(
            round(runs.mean, 3), round(runs.median, 3), round(spread, 4), round(result.peak_memory_mb, 1)
        ))  # fmt: skip
    return measurements


def relative(rows: Sequence[Row], figures: Sequence[float]) -> list[float]:
    """Each figure as a multiple of the BASE row's."""
    base = next(value for row, value in zip(rows, figures, strict=True) if row.case.size == BASE)
    return [value / base for value in figures]


def curves(rows: Sequence[Row], measurements: Sequence[Measured]) -> dict[str, list[float]]:
    """Machine -> each row's multiple of its BASE row; this machine first, by its mean as the app prints it."""
    ours = {"this machine": relative(rows, [one.mean_ms for one in measurements])}
    return ours | {
        phone: relative(rows, [row.published[i] for row in rows]) for i, phone in enumerate(PHONES)
    }


def report(rows: Sequence[Row], measurements: Sequence[Measured], config: BenchConfig, cpu: str) -> str:
    """The page that is committed."""
    head = ["input", "mean ms", "median ms", "spread", "memory MB", f"× {BASE}", *(f"{p} ×" for p in PHONES)]
    shapes = curves(rows, measurements).values()
    table = [
        [row.name, f"{one.mean_ms:.1f}", f"{one.median_ms:.1f}", f"{one.spread:.1%}", f"{one.memory_mb:.0f}",
         *(f"{shape[i]:.2f}" for shape in shapes)]
        for i, (row, one) in enumerate(zip(rows, measurements, strict=True))
    ]  # fmt: skip
    return (
        "# MobileIQA's phone table, measured here\n\n"
        f"Made by `python benchmarks/phone_table.py`: FP16 files of this toolkit, one thread on {cpu} (which computes "
        f"them in FP32), {config.launches} x {config.runs} runs taking turns. Phones: {SOURCE}, of the model as it was "
        f"converted then. Every × is a multiple of the same machine's {BASE}.\n\n{markdown(head, table)}\n\n"
        "![latency against size](phone_table.png)\n"
    )


def as_json(rows: Sequence[Row], measurements: Sequence[Measured], config: BenchConfig) -> dict[str, Any]:
    """Everything that was measured, without this machine's paths."""
    entries = [
        {
            "case": asdict(row.case),
            "published_ms": dict(zip(PHONES, row.published, strict=True)),
            **asdict(one),
        }
        for row, one in zip(rows, measurements, strict=True)
    ]
    device = asdict(host.this_machine())
    return {"schema": 1, "source": SOURCE, "config": asdict(config), "device": device, "rows": entries}


def draw(rows: Sequence[Row], measurements: Sequence[Measured], path: Path) -> None:
    """The multiples against the number of pixels; HyperIQA, whose input is another, is a level."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    sized = [i for i, row in enumerate(rows) if row.case.size != "-"]
    pixels = [width * height / 1e6 for width, height in (parse_size(rows[i].case.size) for i in sized)]
    for (name, shape), style in zip(curves(rows, measurements).items(), ("o-", "s--", "^--"), strict=True):
        (line,) = axes.plot(pixels, [shape[i] for i in sized], style, label=name)
        for i in set(range(len(rows))) - set(sized):
            axes.axhline(shape[i], color=line.get_color(), linestyle=":", label=f"{rows[i].name}: {name}")
    axes.set(
        xscale="log", xlabel="megapixels", ylabel=f"multiple of {BASE}", title="Latency against input size"
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    with cli.atomic(path) as temporary:
        cli.save_plot(figure, temporary, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
