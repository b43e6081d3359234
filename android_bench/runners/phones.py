"""Measures .tflite files on phones: push, run, read, clean up; several phones in turn or side by side.

The same protocol as on the host: a fresh process per launch, pinned to the fastest cores, files in turns. All of
a phone's files lie in one folder that goes away with the run, also when the cable is pulled or this process dies.
"""

import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from android_bench.results.measurements import BenchConfig, BenchResult, Launch, PhoneRecord, ThermalState
from android_bench.results.measurements import Device as MeasuredOn
from android_bench.results.signatures import FileSignature, read_signatures
from android_bench.runners import arm_runner, benchmark_model
from android_bench.runners.adb import Device, choose, folder_on, last_words, push, shell
from android_bench.runners.device_program import DeviceProgram
from android_bench.runners.phone_info import Phone, condition, describe, require_cool
from mobileiqa.errors import RunError, UserError

LAUNCH_TIMEOUT_S = 600.0
CANNOT_EXECUTE = 126  # what shells and their tools exit with
# Ten runs after warm-up, their mean: AI Benchmark's protocol, in processes of benchmark_model whose every run is known.
PROTOCOL = {"runs": benchmark_model.MOST_RUNS, "launches": 5}
Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Bench:
    """What is the same on every phone."""

    signatures: Sequence[FileSignature]
    config: BenchConfig
    program: DeviceProgram
    timeout_s: float
    progress: Progress

    @property
    def files(self) -> list[Path]:
        """Each file once, whatever the number of its signatures."""
        return list(dict.fromkeys(entry.file.path for entry in self.signatures))


def measure(
    files: Sequence[Path | str],
    config: BenchConfig,
    program: Path | None,
    serials: Sequence[str] = (),
    *,
    side_by_side: bool = False,
    timeout_s: float = LAUNCH_TIMEOUT_S,
    progress: Progress = lambda text: None,
    signature: str | None = None,
) -> list[BenchResult]:
    """Benchmarks each signature of each file, of several `signature` alone where it is given, on each phone.

    `program`: a `benchmark_model`, None for our own runner. Results come phone by phone. `serials` names the phones:
    ("all",) every attached one, () the only one. `timeout_s` is for one launch. Raises UserError for what can be
    seen before anything is copied (files, flags, phones, heat) and RunError when a phone goes away, has no room,
    cannot start the program, or leaves runs out.
    """
    if not files:
        raise UserError("at least one .tflite file", "none", "name the files to measure")
    (benchmark_model.check if program else arm_runner.check_config)(config)
    used = benchmark_model.program(program) if program else arm_runner.program()
    signatures = read_signatures(files, signature)
    phones = [(device, describe(device)) for device in choose(serials)]
    for device, phone in phones:
        choose_cpus(device, phone, config)
        if used.abi not in phone.abis:
            raise UserError(
                f"a {used.name} for {' or '.join(phone.abis)}, which {device.serial} runs",
                f"one for {used.abi}",
                "name the build for that instruction set",
            )
        require_cool(device, condition(device))
    bench = _Bench(signatures, config, used, timeout_s, progress)
    with ThreadPoolExecutor(len(phones) if side_by_side else 1) as pool:
        jobs = [pool.submit(_measure_on, bench, device, phone) for device, phone in phones]
        try:
            return [result for job in jobs for result in job.result()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # where one phone failed, no other one is begun


def launch_script(folder: str, program: str, mask: int, words: Sequence[str]) -> str:
    """A script for the phone's shell that runs exactly `words`, pinned to the CPUs of `mask`, and prints what they say.

    The process writes to a file, read afterwards: nothing travels over the cable while it is timed. Its number is
    what the folder's holder stops it by. Two shells read the words, so they are quoted once for each.
    """
    pid = shlex.quote(f"{program}.pid")
    inner = f"echo $$ > {pid}; exec {shlex.join(['taskset', f'{mask:x}', *words])}"
    return (
        f"cd {shlex.quote(folder)} && sh -c {shlex.quote(inner)} > said 2>&1\n"
        f"code=$?; cat said; rm -f said {pid}; exit $code"
    )


def headline(result: BenchResult) -> str:
    """One line for people: which phone, how it was pinned, and how warm it was."""
    phone, config = result.phone, result.config
    assert phone, "a result of this runner"
    cpus = ",".join(map(str, result.launches[0].cpus))
    return (
        f"{result.device.cpu}, {phone.android}: {config.threads} thread(s) on CPU {cpus}, governor "
        f"{phone.governor or 'unknown'}, {config.warmup_runs} + {config.runs} runs x {config.launches} launch(es), "
        f"{_degrees(phone.before)} before, {_degrees(phone.after)} after"
    )


def _degrees(moment: ThermalState) -> str:
    return "temperature unknown" if moment.battery_c is None else f"{moment.battery_c:g} C"


def choose_cpus(device: Device, phone: Phone, config: BenchConfig) -> tuple[int, ...]:
    """The CPUs to pin to: those of the mask, or the fastest `threads`. Raises UserError for absent ones."""
    there = [core.index for core in phone.cores]
    if not set(config.masked_cpus) <= set(there) or config.threads > len(there):
        raise UserError(
            f"at most the CPUs {there} of {device.serial}",
            f"{config.threads} threads, mask {config.cpu_mask:#x}",
            "use fewer threads, or leave absent CPUs out of the mask",
        )
    return tuple(config.masked_cpus) or phone.big_cores(config.threads)


def _measure_on(bench: _Bench, device: Device, phone: Phone) -> list[BenchResult]:
    """All files on one phone."""
    config, cpus = bench.config, choose_cpus(device, phone, bench.config)
    launches: list[list[Launch]] = [[] for _ in bench.signatures]
    before = condition(device)
    require_cool(device, before)
    with folder_on(device) as folder:
        bench.progress(f"{device.serial}: copying {len(bench.files)} file(s)")
        for name, local in bench.program.files.items():
            push(device, local, f"{folder}/{name}")
        for index, path in enumerate(bench.files):
            push(device, path, f"{folder}/{index}.tflite")
        for round_ in range(config.launches):
            for index, entry in enumerate(bench.signatures):
                bench.progress(f"{device.serial}: launch {round_ + 1}/{config.launches} of {entry.name}")
                if config.cooldown_s and (round_ or index):
                    time.sleep(config.cooldown_s)
                launches[index].append(_launch(bench, device, folder, entry, cpus))
    after = condition(device)
    _require_unthrottled(device, after)
    governors = sorted({core.governor for core in phone.cores if core.index in cpus})
    record = PhoneRecord(phone.soc, phone.android, ", ".join(governors), before, after)
    platform = f"{phone.android}, {phone.abis[0]}"
    cpu, cores = f"{phone.name}, {phone.soc}", len(phone.cores)
    measured_on = MeasuredOn("phone", cpu, cores, platform, phone.fp16_hardware)
    return [
        BenchResult(
            **entry.identity(),
            config=config,
            device=measured_on,
            runtime=bench.program.runtime,
            launches=tuple(of_entry),
            phone=record,
        )
        for entry, of_entry in zip(bench.signatures, launches, strict=True)
    ]


def _launch(
    bench: _Bench, device: Device, folder: str, entry: FileSignature, cpus: tuple[int, ...]
) -> Launch:
    """One process on the phone."""
    program, mask = bench.program, sum(1 << cpu for cpu in cpus)
    model = f"{bench.files.index(entry.file.path)}.tflite"
    words = [*program.start, *program.options(bench.config, model, entry.runtime_name)]
    script = launch_script(folder, program.name, mask, words)
    where = f"{device.serial}: {entry.location}"
    code, output = shell(device, script, bench.timeout_s)
    if "No space left" in output:
        raise RunError(f"{where}: no space left on the phone: free some, and run again")
    if code == CANNOT_EXECUTE:
        raise RunError(
            f"{device.serial}: the phone runs no program from {folder} (mounted noexec, or without its run bit): "
            f"{last_words(output)}; use another phone"
        )
    try:
        return program.read(output, code, bench.config, cpus)
    except RunError as error:
        raise RunError(f"{where}: {error}") from error


def _require_unthrottled(device: Device, after: ThermalState) -> None:
    if after.thermal_status not in (None, "none"):
        raise RunError(
            f"{device.serial}: the phone began to throttle ({after.thermal_status}) while it was measured: let it "
            "cool down, and use fewer launches or a cool-down between them"
        )
