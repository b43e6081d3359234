"""Measures .tflite files on this machine: every launch is a fresh, pinned process.

A fresh process per launch keeps one file's allocator, caches and packed weights out of another's figures, and
files take turns (launch k of each before launch k + 1), so that a machine that slows down slows all of them.
A round that was disturbed is no measurement: it stops the benchmark, is measured again, or is kept and marked.
Left out: dropping the page cache (needs root) and fixing the clock; interference.py notices when it moves.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from android_bench.process import ask
from android_bench.results import interference
from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig, BenchResult, Device, Launch, Precision
from android_bench.results.signatures import FileSignature, read_signatures
from mobileiqa import typed_json
from mobileiqa.errors import RunError, UserError

# How Linux names FP16 vector arithmetic in /proc/cpuinfo on x86 and on ARM.
FP16_FLAGS = frozenset({"avx512_fp16", "asimdhp"})

Progress = Callable[[str], None]
Round = list[tuple[Launch, str]]  # a launch of every signature, and the runtime that made it


def measure(
    files: Sequence[Path | str],
    config: BenchConfig,
    progress: Progress = lambda text: None,
    if_disturbed: IfDisturbed = IfDisturbed.STOP,
    signature: str | None = None,
) -> list[BenchResult]:
    """Benchmarks each signature of each file (of several `signature` alone, if given); results in their order.

    Inputs are random: normal float32 values, and 8-bit ones over their whole range. Raises UserError before
    anything runs (missing, foreign or truncated file, unknown signature, too many threads, forced FP16) and
    RunError when the runtime refuses a file, crashes, leaves runs out, does not apply a flag, or when the machine was
    disturbed and `if_disturbed` is not KEEP. `progress` hears of each launch.
    """
    if not files:
        raise UserError("at least one .tflite file", "none", "name the files to measure")
    if config.precision is not Precision.FILE:
        raise UserError(
            f"precision {Precision.FILE} on the host",
            f"{config.precision}",
            "mark the file as FP16-capable instead: the host's runtime follows its metadata",
        )
    cpus = choose_cpus(config)
    signatures = read_signatures(files, signature)
    rounds, repeated = [], 0
    for number in range(1, config.launches + 1):
        name = f"{number}/{config.launches}"
        taken, again = _quiet_round(signatures, config, cpus, name, progress, if_disturbed)
        rounds.append(taken)
        repeated += again
    results = [
        BenchResult(
            **entry.identity(),
            config=config,
            device=this_machine(),
            runtime=launched[0][1],
            launches=tuple(launch for launch, _ in launched),
            repeated=repeated,
        )
        for entry, launched in zip(signatures, zip(*rounds, strict=True), strict=True)
    ]
    if if_disturbed is not IfDisturbed.KEEP:
        _refuse_disturbed(results)
    return results


def _quiet_round(
    signatures: Sequence[FileSignature],
    config: BenchConfig,
    cpus: tuple[int, ...],
    name: str,
    progress: Progress,
    if_disturbed: IfDisturbed,
) -> tuple[Round, int]:
    """One launch of every signature, and how often the round was thrown away before; RunError when it stays disturbed.

    The whole round is repeated, not the disturbed launch alone: what is compared stays side by side in time.
    """
    tries = 1 + interference.REPEATS * (if_disturbed is IfDisturbed.REPEAT)
    for again in range(tries):
        taken: Round = []
        for entry in signatures:
            progress(f"launch {name} of {entry.name}{', again' * (again > 0)}")
            time.sleep(config.cooldown_s)
            taken.append(_launch(entry, config, cpus))
        reasons = [interference.of_launch(launch, config) for launch, _ in taken]
        if if_disturbed is IfDisturbed.KEEP or not any(reasons):
            return taken, again
    entry, words = next(pair for pair in zip(signatures, reasons, strict=True) if pair[1])
    times = "" if tries == 1 else f"{tries} times in a row, "
    raise RunError(
        f"{entry.location}: launch {name} was disturbed, {times}so nothing is reported: {words}; {interference.ADVICE}"
    )


def _refuse_disturbed(results: Sequence[BenchResult]) -> None:
    """What only shows when launches lie beside each other."""
    for result in results:
        if words := interference.of_result(result):
            raise RunError(
                f"{result.name}: the machine did not stay the same, so nothing is reported: {'; '.join(words)}; "
                f"measure more launches, of which one may be odd (--launches {max(5, 2 * result.config.launches)}), "
                "or keep these, marked (without --strict)"
            )


def choose_cpus(config: BenchConfig) -> tuple[int, ...]:
    """The CPUs to pin to: those of the mask, or the last `threads` allowed (the first serve interrupts)."""
    allowed = sorted(os.sched_getaffinity(0))
    if config.threads > len(allowed):
        raise UserError(
            f"at most {len(allowed)} threads, one per CPU that this process may use",
            f"{config.threads}",
            "use fewer threads",
        )
    if not config.cpu_mask:
        return tuple(allowed[-config.threads :])
    if not set(config.masked_cpus) <= set(allowed):
        raise UserError(
            f"a CPU mask within the CPUs {allowed}",
            f"{config.cpu_mask:#x}, CPUs {config.masked_cpus}",
            "leave absent CPUs out of the mask",
        )
    return tuple(config.masked_cpus)


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


def _launch(entry: FileSignature, config: BenchConfig, cpus: tuple[int, ...]) -> tuple[Launch, str]:
    """One process; its measurements and the runtime that made them."""
    answer = ask([sys.executable], request_of("time", entry, config, cpus))
    runtime, inputs = answer.pop("runtime"), answer.pop("inputs")
    launch = typed_json.decode(Launch, answer, "the answer of a launch")
    _check_inputs(entry, inputs)
    _check_applied(entry, launch, config, cpus)
    return launch, runtime


def request_of(mode: str, entry: FileSignature, config: BenchConfig, cpus: tuple[int, ...]) -> dict[str, Any]:
    """What a child is told: "time" or "profile" that signature on those CPUs."""
    names = ("threads", "seed", "use_xnnpack", "warmup_runs", "runs")
    fields = {name: getattr(config, name) for name in names}
    return {
        "mode": mode,
        "model": str(entry.file.path),
        "signature": entry.runtime_name,
        "cpus": cpus,
        **fields,
    }


def _check_inputs(entry: FileSignature, inputs: Sequence[Sequence[Any]]) -> None:
    """Raises RunError when another subgraph ran than the one that the result is about to name."""
    ran = sorted((kind, tuple(shape)) for kind, shape in inputs)
    if ran != sorted(zip(entry.signature.input_types, entry.signature.input_shapes, strict=True)):
        raise RunError(
            f"{entry.location}: the file says that it takes {entry.signature.takes}, what ran took {ran}"
        )


def _check_applied(entry: FileSignature, launch: Launch, config: BenchConfig, cpus: tuple[int, ...]) -> None:
    """Raises RunError when the process did not do what it was told to: such times answer another question."""
    workers = launch.evidence.workers if launch.evidence else 0
    difference = ""
    if config.use_xnnpack and not launch.delegate_kernels:
        difference = (
            "XNNPACK was asked for and took no part of the graph; measure the built-in kernels (--no-xnnpack)"
        )
    elif not config.use_xnnpack and launch.delegate_kernels:
        difference = (
            f"XNNPACK was to be left out and took {launch.delegate_kernels} partition(s) of the graph"
        )
    elif set(launch.cpus) != set(cpus):
        difference = f"it was to run on the CPUs {list(cpus)} and ran on {list(launch.cpus)}"
    elif workers < config.threads - 1 or (workers and config.threads == 1):
        difference = f"{config.threads} thread(s) were asked for, the runtime ran with {workers + 1}"
    if difference:
        raise RunError(f"{entry.location}: {difference}")
