"""Latency of candidates, by `python -m android_bench`: fresh pinned processes, files in turn, one thread.

A process of its own: `convert` imports nothing of the benchmark. Launches that something disturbed are kept
and marked: a search that took minutes does not fail for a moment's noise. What counts is the fastest launch's
median, because a disturbance only ever adds.
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

from mobileiqa.errors import UserError

RUNS, WARMUP, LAUNCHES = 10, 2, 3
SESSION = ("runtime", "config", "device")  # what the figures of one session have in common


@dataclass(frozen=True)
class Timing:
    """One file's latency: the median of every launch, ms, and whether something else ran meanwhile."""

    launch_ms: tuple[float, ...]
    disturbed: bool

    @property
    def ms(self) -> float:
        """The fastest launch's median."""
        return min(self.launch_ms)


def measure(files: Sequence[Path]) -> tuple[dict[str, Timing], dict[str, Any]]:
    """Times .tflite files on this machine: SHA-256 of the file -> Timing, and what they were timed with.

    The benchmark's progress and its errors go to stderr. Raises UserError where it reported nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bench.json"
        protocol = [f"--runs={RUNS}", f"--warmup={WARMUP}", f"--launches={LAUNCHES}", "--if-disturbed=keep"]
        command = [sys.executable, "-m", "android_bench", *map(str, files), *protocol, f"--out={out}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise UserError(
                "latencies from python -m android_bench",
                f"exit code {done.returncode} and the message above",
                "type the command again: it goes on from what was measured",
            )
        results = json.loads(out.read_text(encoding="utf-8"))["results"]
    brief = json.loads(done.stdout.strip().splitlines()[-1])["results"]  # says which were disturbed
    timings = {
        result["artifact_sha256"]: Timing(
            tuple(statistics.median(launch["run_ms"]) for launch in result["launches"]), row["disturbed"]
        )
        for result, row in zip(results, brief, strict=True)
    }
    return timings, {name: results[0][name] for name in SESSION}
