"""A finished comparison: as Markdown for people, as JSON for machines, and what of it fails."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from android_bench.results.measurements import BenchConfig, Device
from benchmarks import table
from benchmarks.conversion_paths import OURS, OURS_FP16, Case
from benchmarks.limit import Rates, Work
from benchmarks.results import Row, verdicts
from mobileiqa.zoo import UNTRAINED

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """Everything that one run of the benchmark says. `work` holds the cases whose FP32 file is ours."""

    rows: Sequence[Row]
    rates: Rates
    work: dict[Case, Work]
    config: BenchConfig
    device: Device


def failures(report: Report) -> list[str]:
    """Targets that were missed, and files of ours that failed or do not compute the published model."""
    missed = [
        f"{table.described(v)}: {table.shown(v, v.value)}" for v in verdicts(report.rows) if not v.passed
    ]
    ours = [row for row in report.rows if row.built.route in (OURS, OURS_FP16)]
    broken = [f"{row.built.case}, {row.built.route}: {row.error}" for row in ours if row.error]
    wrong = [
        f"{row.built.case}, {row.built.route}: score off by {row.difference:.1e}"
        for row in ours
        if row.difference is not None and not row.faithful
    ]
    return missed + broken + wrong


def markdown(report: Report) -> str:
    """The report that is committed."""
    parts = ["# Our files beside those of other converters", protocol(report)]
    for case in dict.fromkeys(row.built.case for row in report.rows):
        rows = [row for row in report.rows if row.built.case == case]
        parts += [f"## {case}", table.case_table(rows)]
    if targets := verdicts(report.rows):
        parts += ["## Targets", table.target_table(targets)]
    if report.work:
        parts += [
            "## Distance to the limit of this core",
            limit(report.rates),
            table.limit_table(report.rows, report.work, report.rates),
        ]
    return "\n\n".join([*parts, f"Versions: {', '.join(versions(report.rows))}."]) + "\n"


def protocol(report: Report) -> str:
    """How to read the tables."""
    config, device = report.config, report.device
    return (
        f"Measured by `python benchmarks/baselines.py` on one core of {device.cpu} ({device.platform}): batch 1, "
        f"{config.threads} thread, the median of {config.launches} launches of {config.runs} runs, files "
        f"taking turns. Seeded weights, {UNTRAINED}. Other converters get the published module as it is.\n\n"
        "MB are 10^6 bytes. Memory is a launch's peak RSS less its RSS after the runtime's import. Spread is "
        "the slowest launch over the fastest. Score error is the distance from the published module's score "
        'on the same input. "× ours" says how many times our FP32 file\'s figure it is.'
    )


def limit(rates: Rates) -> str:
    """What the limit is made of."""
    return (
        f"The limit is MACs over {rates.gmacs_per_s:.0f} GMAC/s (FP32 matrix product) plus "
        f"{rates.gelu_ns:.3f} ns for each GELU value ({rates.gelu_streamed_ns:.3f} ns where it comes "
        "from memory); both rates were measured through LiteRT in the same run."
    )


def versions(rows: Sequence[Row]) -> list[str]:
    """Every converter and runtime with its version, once."""
    converters = {f"{name} {version}" for row in rows for name, version in row.built.versions.items()}
    return sorted(converters | {row.runtime for row in rows if row.runtime}, key=str.lower)


def as_json(report: Report) -> dict[str, Any]:
    """Everything that was measured, without this machine's paths."""
    rows = [
        {**asdict(row), "built": {**asdict(row.built), "path": row.built.path.name}} for row in report.rows
    ]
    return {
        "schema": SCHEMA,
        "device": asdict(report.device),
        "config": asdict(report.config),
        "rates": asdict(report.rates),
        "work": [{**asdict(case), **asdict(value)} for case, value in report.work.items()],
        "rows": rows,
        "targets": [{**asdict(v), "passed": v.passed} for v in verdicts(report.rows)],
        "versions": versions(report.rows),
    }
