"""Latency and memory of files by `python -m android_bench`, in turn, for the report's table.

A process of its own: packages do not import each other. The protocol is convert.accuracy's, which keeps disturbed
launches and marks them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from convert.int8.measure import BENCHMARK
from mobileiqa.errors import UserError, one_line


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
    command = [sys.executable, "-m", "android_bench", *map(str, paths), *BENCHMARK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        found = one_line(done.stderr)[-300:] or f"exit code {done.returncode}"
        raise UserError("latency from python -m android_bench", found, "leave --latency out, or try again")
    answer = json.loads(done.stdout.splitlines()[-1])
    names = [field.name for field in fields(Cost)]
    costs = [Cost(**{name: row[name] for name in names}) for row in answer["results"]]
    return Bench(
        dict(zip(paths, costs, strict=True)), answer["runtime"], f"android_bench {' '.join(BENCHMARK)}"
    )
