"""Our own ARM program that runs a .tflite file on LiteRT: where it is, what it is given, what it says.

`make arm` builds it from native/runner.c and puts it into a folder with every library that it needs, the C library
and its loader among them. So one folder is all that an emulator, a board or a phone takes, whatever C library is
there: the program starts through the loader beside it. Its answers are JSON lines, one a run.
"""

import hashlib
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from android_bench.emulate import arm_root, missing
from android_bench.results.measurements import AMOUNT, NUMBER, WHOLE, BenchConfig, Launch, Precision
from android_bench.runners.adb import last_words
from android_bench.runners.device_program import DeviceProgram
from mobileiqa import typed_json
from mobileiqa.errors import RunError, UserError

PROGRAM = "runner"
LOADER = "ld-linux-aarch64.so.1"
KIB_TO_MB = 1.024e-3
# What a runner says that was built before it took 8-bit inputs and several signatures.
OLDER = ("an unknown option: --signature", "an input is not float32")


@dataclass(frozen=True)
class Opened:
    """The first line: the file is loaded. Times in microseconds."""

    event: str
    init_us: int = field(metadata=WHOLE)
    fully_delegated: bool
    threads: int = field(metadata=WHOLE)
    cpus: tuple[int, ...] = field(metadata=WHOLE)


@dataclass(frozen=True)
class Run:
    """One inference, "warmup" or "run"."""

    event: str
    us: int = field(metadata=WHOLE)


@dataclass(frozen=True)
class Closed:
    """The last line. Memory in KiB, `start_rss_kb` before the file was opened; `output`: first values of the score."""

    event: str
    start_rss_kb: float = field(metadata=AMOUNT)
    peak_rss_kb: float = field(metadata=AMOUNT)
    output: tuple[float, ...] = field(metadata=NUMBER)


LINES = {"opened": Opened, "warmup": Run, "run": Run, "closed": Closed}


@dataclass(frozen=True)
class RunnerOutput:
    """What one process printed."""

    opened: Opened
    warmup_us: tuple[int, ...]
    run_us: tuple[int, ...]
    closed: Closed


def folder() -> Path:
    """Where `make arm` puts the program and its libraries."""
    return arm_root() / "runner"


def missing_runner() -> str:
    """Why the program cannot be had here; empty when it is there."""
    there = (folder() / PROGRAM).is_file()
    return missing() or ("" if there else f"no runner in the ARM root at {arm_root()}, which is an older one")


def require_runner() -> None:
    """Raises UserError when `make arm` has not built the program."""
    if reason := missing_runner():
        raise UserError(
            "the ARM programs that `make arm` builds",
            reason,
            "run `make arm` in a checkout, or set MOBILEIQA_ARM to the folder of one",
        )


def program() -> DeviceProgram:
    """It, for phones: its whole folder goes there. Raises UserError when `make arm` has not built it."""
    require_runner()
    digest = hashlib.sha256((folder() / PROGRAM).read_bytes()).hexdigest()
    return DeviceProgram(
        PROGRAM,
        {file.name: file for file in sorted(folder().iterdir())},
        start("."),
        f"{runtime()}, {PROGRAM} {digest[:12]}",
        "arm64-v8a",
        options,
        lambda output, code, config, cpus: launch(parse(output, code=code), config, cpus),
    )


def check_config(config: BenchConfig) -> None:
    """Raises UserError for what the program cannot do: the built-in kernels, without XNNPACK."""
    if not config.use_xnnpack:
        raise UserError("XNNPACK, which our runner always uses", "no XNNPACK", "leave --no-xnnpack out")


def runtime() -> str:
    """Name and version of the runtime that it is linked with."""
    (distribution,) = Distribution.discover(name="ai-edge-litert", path=[str(arm_root() / "site")])
    return f"ai-edge-litert {distribution.version}"


def start(where: str) -> list[str]:
    """The command that starts the program in the folder `where`, with nothing of the machine's own libraries."""
    return [f"{where}/{LOADER}", "--library-path", where, f"{where}/{PROGRAM}"]


def options(config: BenchConfig, model: str, signature: str = "", *, mark: bool = False) -> list[str]:
    """Its options for that config; `signature`: of several; with `mark` it marks its runs instead of timing them."""
    words = [
        f"--graph={model}",
        f"--num_runs={config.runs}",
        f"--warmup_runs={config.warmup_runs}",
        f"--num_threads={config.threads}",
    ]
    if config.precision is Precision.FP16:
        words.append("--force_fp16")
    if signature:
        words.append(f"--signature={signature}")
    return [*words, "--mark"] if mark else words


def parse(printed: str, complaints: str = "", code: int = 0) -> RunnerOutput:
    """Reads what one process printed: `printed` its stdout, `complaints` its stderr, `code` its exit code.

    Both may be one text. Raises RunError, in its own words, when it failed, or printed something else.
    """
    errors = [line for line in f"{printed}\n{complaints}".splitlines() if line.startswith("ERROR")]
    if code:
        reason = " | ".join(errors[:3]) or last_words(printed)
        todo = "; it is an older one, run `make arm`" if any(words in reason for words in OLDER) else ""
        raise RunError(f"the runner failed (exit code {code}): {reason}{todo}")
    lines = [_line(text) for text in printed.splitlines() if text.startswith("{")]
    warmup, runs = (tuple(line.us for line in lines if line.event == name) for name in ("warmup", "run"))
    order = [line.event for line in lines]
    if order != ["opened", *["warmup"] * len(warmup), *["run"] * len(runs), "closed"]:
        raise RunError(f"the runner's answer is not whole: {order or last_words(printed + complaints)}")
    if not lines[-1].output:
        raise RunError("the runner shows no score: the file's first output is not float32")
    return RunnerOutput(lines[0], warmup, runs, lines[-1])


def launch(answer: RunnerOutput, config: BenchConfig, cpus: tuple[int, ...]) -> Launch:
    """The launch that was measured. Raises RunError when it is not what `config` and `cpus` asked for."""
    opened, closed = answer.opened, answer.closed
    requested = (config.warmup_runs, config.runs, config.threads, cpus)
    reported = (len(answer.warmup_us), len(answer.run_us), opened.threads, opened.cpus)
    if requested != reported:
        raise RunError(f"warm-up, runs, threads, CPUs {requested} were asked for, the runner made {reported}")
    if not opened.fully_delegated:
        raise RunError(
            "XNNPACK did not take the whole graph, and the runner cannot tell how much of it; name a benchmark_model, "
            "which can, or look at the file with `python -m convert.inspect`"
        )
    return Launch(
        cpus=opened.cpus,
        init_ms=opened.init_us / 1e3,
        first_ms=(answer.warmup_us + answer.run_us)[0] / 1e3,
        run_ms=tuple(us / 1e3 for us in answer.run_us),
        rss_after_import_mb=closed.start_rss_kb * KIB_TO_MB,
        peak_rss_mb=closed.peak_rss_kb * KIB_TO_MB,
        delegate_kernels=1,
    )


def _line(text: str) -> Any:
    try:
        line = typed_json.parse(text, "the runner's answer")
        return typed_json.decode(LINES[line["event"]], line, "the runner's answer")
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"the runner printed a line that cannot be read: {text[:120]} ({error})") from error
