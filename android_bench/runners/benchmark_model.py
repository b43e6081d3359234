"""TFLite's `benchmark_model` (its Interpreter build): which flags it is given, and what its output says.

It prints statistics, not runs: of a process with many runs only the first and the last are known. Samples are
what comparisons need, so a process makes at most two runs here, and ten runs are five processes of two.
Builds differ: old ones print no percentiles and another last line, the oldest no memory; new ones put "INFO: "
in front. A flag that a build does not know is a warning there and an error here.
"""

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from android_bench.results.measurements import BenchConfig, Launch, Precision
from android_bench.runners.adb import last_words
from android_bench.runners.device_program import DeviceProgram
from mobileiqa.errors import RunError, UserError

NAME = "benchmark_model"
MOST_RUNS = 2
MIB = 1.048576  # the tool's "MB" are 2**20 bytes
# ELF machine -> Android's name of the instruction set.
ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}
NUMBER = r"[0-9][0-9.e+]*"
COUNT = re.compile(r"^.*?\bcount=(\d+)(.*)$", re.MULTILINE)
FIELD = re.compile(rf"(\w+)=({NUMBER})")
INIT = re.compile(rf"[iI]nference timings in us: .*?\bInit: ({NUMBER})")
SESSION = re.compile(rf"Initialized session in ({NUMBER}) ?ms")
MEMORY = re.compile(rf"[mM]emory footprint[^\n]*\(MB\): init=({NUMBER}) overall=({NUMBER})")
PARTLY = re.compile(r"partially executed by the delegate w/ (\d+) delegate kernels")
UNKNOWN_FLAGS = re.compile(r"Unconsumed cmdline flags:\s*(.*\S)")


@dataclass(frozen=True)
class Series:
    """One `count=` line, in microseconds."""

    count: int
    first: float
    last: float


@dataclass(frozen=True)
class Printed:
    """What one process said. `memory_mb`: growth of the peak resident memory, in 10^6 bytes.

    `delegate_kernels`: partitions that XNNPACK took, None when the process does not speak of it.
    """

    init_ms: float
    warmup: Series
    runs: Series
    memory_mb: float | None
    delegate_kernels: int | None


def check(config: BenchConfig) -> None:
    """Raises UserError when benchmark_model cannot do, or not tell, what is asked for."""
    if config.runs > MOST_RUNS:
        raise UserError(
            f"at most {MOST_RUNS} runs per launch, of which benchmark_model tells the times",
            f"{config.runs}",
            f"use --runs {MOST_RUNS} --launches {-(-config.runs * config.launches // MOST_RUNS)}",
        )
    if config.precision is Precision.FP16 and not config.use_xnnpack:
        raise UserError("XNNPACK, which computes in FP16", "no XNNPACK", "leave one of the two options out")


def flags(config: BenchConfig, model: str, signature: str = "") -> list[str]:
    """Exactly `config.runs` runs after exactly `config.warmup_runs`: the time limits that add or cut runs are off.

    Inputs are random, normal or over a type's whole range, as the program makes them. `signature`: of several.
    """
    words = {
        "graph": model,
        "num_runs": config.runs,
        "warmup_runs": config.warmup_runs,
        "min_secs": 0,
        "warmup_min_secs": 0,
        "max_secs": 3600,
        "num_threads": config.threads,
        "use_xnnpack": "true" if config.use_xnnpack else "false",
    }
    if config.precision is Precision.FP16:  # --allow_fp16 does nothing for XNNPACK
        words["xnnpack_force_fp16"] = "true"
    if signature:  # without it the first subgraph would run, whatever it is
        words["signature_to_run_for"] = signature
    return [f"--{name}={value}" for name, value in words.items()]


def program(path: Path) -> DeviceProgram:
    """The build at `path`. Raises UserError when there is no program."""
    abi = instruction_set(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return DeviceProgram(
        NAME,
        {NAME: path},
        [f"./{NAME}"],
        f"{NAME} {digest[:12]}",
        abi,
        flags,
        lambda output, code, config, cpus: launch(parse(output, code), config, cpus),
    )


def instruction_set(program: Path) -> str:
    """Android's name of what a program is compiled for. Raises UserError when it is no program."""
    if not program.is_file():
        kind = "a folder" if program.is_dir() else "no such file"
        raise UserError(f"a benchmark_model program at {program}", kind, "check the path")
    with program.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF" or len(head) < 20:
        raise UserError(f"an Android program in {program}", f"bytes {head[:4]!r}", "name the binary itself")
    machine = struct.unpack_from("<H", head, 18)[0]
    return ABIS.get(machine, f"machine {machine}")


def parse(output: str, code: int = 0) -> Printed:
    """Reads what one process printed; `code` is its exit code.

    Raises UserError for flags it did not know, RunError, in its own words, when it failed or figures lack.
    """
    ignored = UNKNOWN_FLAGS.search(output)
    if ignored:
        raise UserError(
            "a benchmark_model that knows every flag it is given",
            f"one that ignores {ignored[1]}",
            "use a newer build, the Interpreter one and not the CompiledModel one",
        )
    if code:
        raise RunError(
            f"benchmark_model failed (exit code {code}): {_complaint(output) or last_words(output)}"
        )
    series = [_series(int(match[1]), match[2]) for match in COUNT.finditer(output)]
    init, session = INIT.search(output), SESSION.search(output)
    if len(series) != 2 or not (init or session):
        words = _complaint(output) or last_words(output)
        raise RunError(f"benchmark_model printed {len(series)} of its 2 series: {words}")
    memory = MEMORY.search(output)
    return Printed(
        init_ms=float(init[1]) / 1e3 if init else float(session[1]),  # type: ignore[index]
        warmup=series[0],
        runs=series[1],
        memory_mb=float(memory[2]) * MIB if memory else None,
        delegate_kernels=_delegate_kernels(output),
    )


def launch(printed: Printed, config: BenchConfig, cpus: tuple[int, ...]) -> Launch:
    """The launch that was measured. Raises RunError when it is not what `config` asked for."""
    runs, warmup = printed.runs, printed.warmup
    if (warmup.count, runs.count) != (config.warmup_runs, config.runs):
        raise RunError(
            f"{config.warmup_runs} + {config.runs} runs were asked for, benchmark_model made "
            f"{warmup.count} + {runs.count}"
        )
    if printed.memory_mb is None:
        raise RunError("this benchmark_model does not print its memory; use a build from 2020 or later")
    if config.use_xnnpack and printed.delegate_kernels is None:
        raise RunError("XNNPACK was asked for, and benchmark_model does not say that it was applied")
    times = (runs.first, runs.last)[: config.runs]
    return Launch(
        cpus=cpus,
        init_ms=printed.init_ms,
        first_ms=(warmup if warmup.count else runs).first / 1e3,
        run_ms=tuple(us / 1e3 for us in times),
        rss_after_import_mb=0.0,  # the tool prints the growth alone
        peak_rss_mb=printed.memory_mb,
        delegate_kernels=printed.delegate_kernels or 0,
    )


def _series(count: int, text: str) -> Series:
    """`first=` and the rest are left out where all values are the same: `curr=` is then each of them."""
    fields = {name: float(value) for name, value in FIELD.findall(text)}
    if count and "curr" not in fields:
        raise RunError(f"benchmark_model printed a series that cannot be read: count={count}{text}")
    last = fields.get("curr", 0.0)
    return Series(count, fields.get("first", last), last)


def _delegate_kernels(output: str) -> int | None:
    partly = PARTLY.search(output)
    if partly:
        return int(partly[1])
    if "will not be executed by the delegate" in output:
        return 0
    return 1 if re.search("completely executed (by|w/) the delegate", output) else None


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if re.match(r"\s*(ERROR|FATAL|CANNOT)", line)]
    return " | ".join(lines[:3])  # the first ones say why, the others what else failed then
