"""Measures .tflite files on this machine: every launch is a fresh, pinned process.

A fresh process per launch keeps one file's allocator, caches and packed weights out of another's figures, and
files take turns (launch k of each before launch k + 1), so that a machine that slows down slows all of them.
Left out: dropping the page cache (needs root) and fixing the clock; `launches` and the spread show the noise.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from android_bench.config import BenchConfig, BenchResult, Device, Launch, Precision, launch_from_json
from android_bench.errors import InputError
from android_bench.process import ask
from android_bench.tflite_file import TfliteFile, read

# How Linux names FP16 vector arithmetic in /proc/cpuinfo on x86 and on ARM.
FP16_FLAGS = frozenset({"avx512_fp16", "asimdhp"})


def measure(
    files: Sequence[Path | str], config: BenchConfig, progress: Callable[[str], None] = lambda text: None
) -> list[BenchResult]:
    """Benchmarks each file on random normal float32 inputs; results in the order of `files`.

    Raises InputError before anything runs (missing, foreign or truncated file, too many threads, forced FP16)
    and RunError when the runtime refuses a file, crashes or leaves runs out. `progress` hears of each launch.
    """
    if not files:
        raise InputError("at least one .tflite file", "none", "name the files to measure")
    if config.precision is not Precision.FILE:
        raise InputError(
            f"precision {Precision.FILE} on the host",
            f"{config.precision}",
            "mark the file as FP16-capable instead: the host's runtime follows its metadata",
        )
    cpus = choose_cpus(config)
    artifacts = [read(path) for path in files]
    launches: list[list[Launch]] = [[] for _ in artifacts]
    runtimes = [""] * len(artifacts)
    for turn in range(config.launches):
        for index, artifact in enumerate(artifacts):
            progress(f"launch {turn + 1}/{config.launches} of {artifact.path.name}")
            if config.cooldown_s and (turn or index):
                time.sleep(config.cooldown_s)
            launch, runtimes[index] = _launch(artifact, config, cpus)
            launches[index].append(launch)
    device = this_machine()
    return [
        BenchResult(
            str(a.path),
            a.sha256,
            a.size_bytes,
            a.fp16_capable,
            config,
            device,
            runtime,
            tuple(done),
            input_shapes=a.input_shapes,
            file_precision=a.precision,
        )
        for a, runtime, done in zip(artifacts, runtimes, launches, strict=True)
    ]


def choose_cpus(config: BenchConfig) -> tuple[int, ...]:
    """The CPUs to pin to: those of the mask, or the last `threads` allowed (the first serve interrupts)."""
    allowed = sorted(os.sched_getaffinity(0))
    if config.threads > len(allowed):
        raise InputError(
            f"at most {len(allowed)} threads, one per CPU that this process may use",
            f"{config.threads}",
            "use fewer threads",
        )
    if not config.cpu_mask:
        return tuple(allowed[-config.threads :])
    wanted = [cpu for cpu in range(config.cpu_mask.bit_length()) if config.cpu_mask >> cpu & 1]
    if not set(wanted) <= set(allowed):
        raise InputError(
            f"a CPU mask within the CPUs {allowed}",
            f"{config.cpu_mask:#x}, CPUs {wanted}",
            "leave absent CPUs out of the mask",
        )
    return tuple(wanted)


def this_machine() -> Device:
    """CPU model, CPUs that this process may use, platform, FP16 vector arithmetic."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = set(pairs.get("flags", pairs.get("Features", "")).split())
    return Device(
        kind="host",
        cpu=pairs.get("model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        platform=platform.platform(),
        fp16_hardware=bool(flags & FP16_FLAGS),
    )


def _launch(artifact: TfliteFile, config: BenchConfig, cpus: tuple[int, ...]) -> tuple[Launch, str]:
    """One process; its measurements and the runtime that made them."""
    answer = ask(
        [sys.executable],
        {
            "mode": "time",
            "model": str(artifact.path),
            "threads": config.threads,
            "cpus": cpus,
            "seed": config.seed,
            "use_xnnpack": config.use_xnnpack,
            "warmup_runs": config.warmup_runs,
            "runs": config.runs,
        },
    )
    runtime = answer.pop("runtime")
    return launch_from_json(answer), runtime
