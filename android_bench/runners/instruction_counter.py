"""Counts the instructions of one inference on an emulated ARM core, and which multiply-accumulates it was made of.

Emulated times mean nothing, instruction counts do: they repeat to a millionth where a host's times repeat to a few
percent, and they show which kernels XNNPACK chose: FMLA .8h is FP16 arithmetic that really ran, SDOT the INT8 dot
product. They are not latency: what an instruction costs is up to caches, memory and the core's pipelines.

The program is native/runner.c, the counter a plugin of qemu, native/counter.c with native/instructions.h. Debian's
newer qemu, which emulate.py uses, is built without plugins, so this is 7.2, which knows fewer cores. It also shows
programs this machine's own /proc/cpuinfo, which LiteRT's CPU detection crashes on: it is given the emulated core's
instead.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from android_bench.emulate import CPUS, arm_root
from android_bench.results.measurements import TEXT, WHOLE, BenchConfig, FileIdentity, Precision
from android_bench.results.signatures import read_signature
from android_bench.runners import arm_runner
from mobileiqa.errors import RunError, UserError
from mobileiqa.typed_json import Check

# Core -> its "CPU part" in /proc/cpuinfo, by which XNNPACK tells cores apart: those of CPUS that qemu 7.2 knows.
PARTS = {"cortex-a53": 0xD03, "cortex-a57": 0xD07, "cortex-a72": 0xD08, "cortex-a76": 0xD0B}
# Kind -> what it is, in the order in which native/instructions.h knows them; each instruction is of one kind.
KINDS = {
    "instructions": "all instructions",
    "fmla_4s": "FMLA .4s: four FP32 multiply-accumulates",
    "fmla_8h": "FMLA .8h: eight FP16 multiply-accumulates",
    "sdot": "SDOT: sixteen INT8 multiply-accumulates, on cores with the dot product (cortex-a76)",
    "smmla": "SMMLA: thirty-two INT8 multiply-accumulates, on cores with INT8 matrices (none of these)",
    "smlal": "SMLAL and SMULL: four or eight widening INT8 or INT16 products, where there is no SDOT",
    "loads": "loads into any register, prefetches included",
    "stores": "stores",
    "moves": "constants into, and copies of, a vector register",
    "shuffles": "between lanes: DUP, INS, EXT, TBL, ZIP, UZP, TRN",
    "transfers": "between general and vector registers",
    "converts": "narrower, wider, between FP16, FP32 and integers",
    "vector": "all other vector and floating-point arithmetic",
    "branches": "branches and calls",
    "scalar": "integer arithmetic and system instructions",
}
WARMUP_RUNS = 2  # the second still takes 150 instructions more than all that follow
MOST_SPREAD = 1e-4  # relative, between the runs of one process; measured: 0
LOADER = "ld.so"  # the emulator's own
CPUINFO = """processor\t: {index}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part:#x}

"""


@dataclass(frozen=True, kw_only=True)
class Counted(FileIdentity):
    """The counts of one inference of one signature of a file.

    `counts`: kind -> executed instructions, kinds as in KINDS.
    `spread`: the relative difference in instructions between two runs of the process, at most MOST_SPREAD.
    `force_fp16`: FP16 arithmetic was forced, whatever the file says.
    """

    cpu: str = field(metadata={"check": Check(f"one of {', '.join(PARTS)}", lambda value: value in PARTS)})
    force_fp16: bool
    runtime: str = field(metadata=TEXT)
    emulator: str = field(metadata=TEXT)
    counts: dict[str, int] = field(metadata=WHOLE)
    spread: float = field(metadata={"range": (0.0, MOST_SPREAD)})

    def __post_init__(self) -> None:
        if self.counts.keys() != KINDS.keys() or self.counts["instructions"] < 1:
            raise ValueError(
                f"counts of {', '.join(self.counts)}, expected some of each of {', '.join(KINDS)}"
            )


def check_cpu(cpu: str) -> None:
    """Raises UserError when instructions cannot be counted on that CPU, or `make arm` has not run."""
    if cpu not in PARTS:
        others = f"; {cpu} only runs files (`convert.parity --runtimes arm:{cpu}`)" if cpu in CPUS else ""
        raise UserError(f"one of the CPUs {', '.join(PARTS)}", f"{cpu!r}{others}", "name one of these")
    arm_runner.require_runner()


def count(path: Path | str, cpu: str, *, force_fp16: bool = False, signature: str | None = None) -> Counted:
    """Runs a signature of the file four times on random inputs on one emulated core, and counts in the last two.

    Raises UserError for an unknown CPU, a CPU without FP16 arithmetic that is to be forced, a missing ARM root, an
    unreadable file or several signatures of which none is named, and RunError, with the runtime's own words, when the
    file does not run on that CPU or its runs differ.
    """
    check_cpu(cpu)
    if force_fp16 and not CPUS[cpu]:
        raise UserError("a CPU with FP16 arithmetic to force", cpu, "use cortex-a76")
    entry, precision = read_signature(path, signature), Precision.FP16 if force_fp16 else Precision.FILE
    config = BenchConfig(warmup_runs=WARMUP_RUNS, runs=2, precision=precision)
    words = arm_runner.options(config, str(entry.file.path.resolve()), entry.runtime_name, mark=True)
    command = [*arm_runner.start(str(arm_root().resolve() / "runner")), *words]
    counts, spread = count_marked(command, cpu, entry.location, arm_runner.parse)
    return Counted(
        **entry.identity(),
        cpu=cpu,
        force_fp16=force_fp16,
        runtime=arm_runner.runtime(),
        emulator=_emulator(),
        counts=counts,
        spread=spread,
    )


def emulator() -> list[str]:
    """The counting qemu, started through the loader and libraries that lie beside it."""
    home = arm_root().resolve() / "counter"
    return [f"{home}/lib/{LOADER}", "--library-path", f"{home}/lib", f"{home}/qemu-aarch64"]


def count_marked(
    command: Sequence[str], cpu: str, file: str, parse: Callable[[str, str, int], object]
) -> tuple[dict[str, int], float]:
    """The counts of the last run of a program that marks its runs, and how far they are from those of the one before.

    Its first runs are its warm-up: they bind symbols and fill what is kept. One thread may compute (counter.c). `parse`
    reads stdout, stderr and exit code, and raises RunError where it failed. Raises RunError, `file` first, for that and
    for runs that differ by more than MOST_SPREAD.
    """
    *_, first, last = _counted_runs(command, cpu, file, parse)
    spread = abs(first["instructions"] / last["instructions"] - 1)
    if spread > MOST_SPREAD:
        raise RunError(
            f"{file}: two runs of it differ by {spread:.1e} in instructions, more than {MOST_SPREAD:g}"
        )
    return last, spread


def _counted_runs(
    command: Sequence[str], cpu: str, file: str, parse: Callable[[str, str, int], object]
) -> list[dict[str, int]]:
    """The counts of every run of one process."""
    counter = str(arm_root().resolve() / "counter" / "counter.so").replace(
        ",", ",,"
    )  # qemu's way to write a comma
    with tempfile.TemporaryDirectory(prefix="counts-") as name:
        prefix, marks = Path(name, "prefix"), Path(name, "marks")
        write_cpuinfo(prefix, cpu)
        process = subprocess.run(
            [*emulator(), "-cpu", cpu, "-L", str(prefix), "-plugin", f"{counter},out={marks}", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            parse(process.stdout, process.stderr, process.returncode)
        except RunError as error:
            raise RunError(f"{file}: {error}") from error
        return between(marks.read_text(encoding="ascii"))


def between(marks: str) -> list[dict[str, int]]:
    """The counts between each two marks, from the counter's lines. Raises RunError when there are none, or half."""
    try:
        totals = [{kind: int(json.loads(line)[kind]) for kind in KINDS} for line in marks.splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the counter wrote a line that cannot be read: {error}; if it is an older one, run `make arm`"
        ) from error
    if not totals or len(totals) % 2:
        raise RunError(f"the counter saw {len(totals)} marks, two for each run were expected")
    pairs = zip(totals[::2], totals[1::2], strict=True)
    return [{kind: end[kind] - begin[kind] for kind in KINDS} for begin, end in pairs]


def write_cpuinfo(prefix: Path, cpu: str) -> None:
    """What programs below `prefix` see as /proc/cpuinfo: that core, as often as this machine has processors."""
    folder = prefix / "proc"
    folder.mkdir(parents=True)
    cores = range(os.cpu_count() or 1)
    text = "".join(CPUINFO.format(index=index, part=PARTS[cpu]) for index in cores)
    (folder / "cpuinfo").write_text(text, encoding="ascii")


def _emulator() -> str:
    banner = subprocess.run([*emulator(), "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version ([\d.]+)", banner)
    return f"qemu {version[1] if version else 'unknown'}"
