"""Latency and memory of files by `python -m android_bench`, in turn, for the report's table.

The protocol is convert.accuracy's, which keeps disturbed launches and marks them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from convert.accuracy_report import measure as accuracy


@dataclass(frozen=True)
class Cost:
    """One file's figures: ms, MB resident less the imported runtime, and whether something else ran meanwhile."""

    median_ms: float
    p5_ms: float
    p95_ms: float
    init_ms: float
    peak_memory_mb: float
    disturbed: bool


@dataclass(frozen=True)
class Bench:
    """The figures by file, and what measured them."""

    costs: dict[Path, Cost]
    runtime: str
    command: str


def measure(paths: Sequence[Path]) -> Bench:
    """Measures the files on this machine. Raises UserError, with the benchmark's line, when it reports nothing."""
    answer = accuracy.run_benchmark(paths)
    names = [field.name for field in fields(Cost)]
    costs = [Cost(**{name: row[name] for name in names}) for row in answer["results"]]
    return Bench(
        dict(zip(paths, costs, strict=True)),
        answer["runtime"],
        f"android_bench {' '.join(accuracy.BENCHMARK)}",
    )
