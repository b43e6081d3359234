"""How long .tflite files take: the one protocol of the INT8 search, `mobileiqa accuracy` and the report.

`python -m android_bench` measures, in a process of its own, because no part of `convert` imports the benchmark: fresh
pinned processes, files in turn, one thread. Launches that something disturbed are kept and marked: a search that
took minutes does not fail for a moment's noise.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileiqa import cli
from mobileiqa.errors import UserError, one_line

LAUNCHES = 3
PROTOCOL = ("--runs=10", "--warmup=2", f"--launches={LAUNCHES}", "--threads=1", "--if-disturbed=keep")
SETUP = ("runtime", "config", "device")  # what the figures of one session have in common


@dataclass(frozen=True)
class Timing:
    """One file's latency: the median of every launch, ms, and whether something else ran meanwhile."""

    launch_ms: tuple[float, ...]
    disturbed: bool

    @property
    def ms(self) -> float:
        """The fastest launch's median: a disturbance only ever adds."""
        return min(self.launch_ms)


@dataclass(frozen=True)
class FileLatency:
    """One file's figures over all launches: ms, and MB resident less the imported runtime."""

    sha256: str
    timing: Timing
    median_ms: float
    p5_ms: float
    p95_ms: float
    init_ms: float
    peak_memory_mb: float


FIGURES = ("median_ms", "p5_ms", "p95_ms", "init_ms", "peak_memory_mb")


@dataclass(frozen=True)
class Session:
    """Files that took turns, in their order, and what they were measured with."""

    files: tuple[FileLatency, ...]
    setup: dict[str, Any]
    command: str

    @property
    def timings(self) -> dict[str, Timing]:
        """By SHA-256."""
        return {file.sha256: file.timing for file in self.files}


def measure(files: Sequence[Path], todo: str) -> Session:
    """Times .tflite files on this machine. Raises UserError, with the benchmark's line, where it reports nothing."""
    with tempfile.TemporaryDirectory() as folder:
        out, printed = Path(folder) / "bench.json", Path(folder) / "stdout"
        command = [sys.executable, "-m", "android_bench", *map(str, files), *PROTOCOL, f"--out={out}"]
        with printed.open("wb") as stdout:
            code, last_note = _run(command, stdout)
        if code:
            reason = one_line(last_note)[-300:] or f"exit code {code}"
            raise UserError("latencies from python -m android_bench", reason, todo)
        results = json.loads(out.read_text(encoding="utf-8"))["results"]
        rows = json.loads(printed.read_text(encoding="utf-8").splitlines()[-1])[
            "results"
        ]  # which were disturbed
    if len(results) != len(files):
        expected = f"latencies of {len(files)} files from python -m android_bench"
        raise UserError(expected, f"{len(results)}: files with several signatures", "name files with one")
    latencies = (_latency(result, row) for result, row in zip(results, rows, strict=True))
    return Session(tuple(latencies), {name: results[0][name] for name in SETUP}, _typed())


def _typed() -> str:
    return " ".join(["android_bench", *PROTOCOL])


def _run(command: Sequence[str], stdout: Any) -> tuple[int, str]:
    """Its exit code and the last line on its stderr; the lines before, its progress, are passed on."""
    last = ""
    with subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if last:
                cli.note(last)
            last = line.rstrip()
    return process.returncode, last


def _latency(result: dict[str, Any], row: dict[str, Any]) -> FileLatency:
    medians = tuple(statistics.median(launch["run_ms"]) for launch in result["launches"])
    timing, summary = Timing(medians, row["disturbed"]), result["summary"]
    return FileLatency(result["artifact_sha256"], timing, **{name: summary[name] for name in FIGURES})
