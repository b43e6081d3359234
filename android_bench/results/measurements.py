"""What a benchmark was asked to do and what it found: BenchConfig, Launch, BenchResult, and their JSON.

Sizes in MB are 10^6 bytes; times are milliseconds of wall clock.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from android_bench.errors import InputError, RunError
from android_bench.results.signatures import labelled
from android_bench.results.summary import Summary, summarize

SCHEMA = 1
OPTIONAL = (
    "evidence",
    "wait_ms",
    "init_wait_ms",
    "steal_ms",
    "phone",
)  # left out of the JSON where they are None


class Precision(StrEnum):
    """Which arithmetic the runtime is told to use."""

    FILE = "file"  # what the file's metadata allows and the hardware has
    FP16 = "fp16"  # FP16 forced, as AI Benchmark's FP16 mode does; needs a runner that can force it


@dataclass(frozen=True)
class BenchConfig:
    """How to measure. `seed` makes the random inputs; `cpu_mask` 0 leaves the choice of CPUs to the runner.

    With `warmup_runs` 0 the first inference is also the first measured run.
    """

    threads: int = 1
    cpu_mask: int = 0
    warmup_runs: int = 1
    runs: int = 10
    launches: int = 1
    precision: Precision = Precision.FILE
    use_xnnpack: bool = True
    cooldown_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", Precision(self.precision))
        for name in ("threads", "runs", "launches", "warmup_runs", "cpu_mask", "cooldown_s", "seed"):
            lowest, value = int(name in ("threads", "runs", "launches")), getattr(self, name)
            if not lowest <= value < math.inf:
                raise InputError(f"{name} of at least {lowest}", f"{value}", f"correct {name}")
        if self.cpu_mask and self.cpu_mask.bit_count() < self.threads:
            raise InputError(
                f"a CPU mask with at least {self.threads} CPUs, one per thread",
                f"{self.cpu_mask:#x}",
                "add CPUs to the mask or use fewer threads",
            )


@dataclass(frozen=True)
class Device:
    """What ran the file. `fp16_hardware`: the CPU has FP16 vector arithmetic."""

    kind: str  # "host" or "phone"
    cpu: str
    cores: int
    platform: str
    fp16_hardware: bool


@dataclass(frozen=True)
class Evidence:
    """What else happened on a launch's CPUs while it was measured; interference.py judges it.

    wait_ms: its threads could have run and did not, summed over them; init_wait_ms: the same while the file was
    loaded. steal_ms: the hypervisor ran something else on its CPUs, in steps of 10 ms. These are None where the
    kernel does not count them. pace_*_ms: one fixed computation, before the file was loaded and after the last
    run. workers: threads that the runtime started.
    """

    preemptions: int
    pace_before_ms: float
    pace_after_ms: float
    workers: int
    wait_ms: float | None = None
    init_wait_ms: float | None = None
    steal_ms: float | None = None


@dataclass(frozen=True)
class Condition:
    """How a phone was at a moment; None where it does not say. Degrees Celsius, and percent of its charge."""

    battery_percent: int | None
    battery_c: float | None
    skin_c: float | None
    thermal_status: str | None  # Android's name: "none", "light", "moderate"...


@dataclass(frozen=True)
class PhoneRecord:
    """What only a phone has. `governor`: of the cores measured on, "" when unknown."""

    soc: str
    android: str
    governor: str
    before: Condition
    after: Condition


@dataclass(frozen=True)
class Launch:
    """One process: load the file, run it. `init_ms` leaves the import of the runtime out."""

    cpus: tuple[int, ...]
    init_ms: float
    first_ms: float
    run_ms: tuple[float, ...]
    rss_after_import_mb: float
    peak_rss_mb: float
    delegate_kernels: int  # partitions that XNNPACK took; 0 means that none of the graph was delegated
    evidence: Evidence | None = None  # None on a phone, and in results from before it was kept

    @property
    def peak_memory_mb(self) -> float:
        """Peak resident memory less what the imported runtime already held, the file's own pages included."""
        return self.peak_rss_mb - self.rss_after_import_mb


@dataclass(frozen=True)
class BenchResult:
    """A complete measurement of one signature of a file; one with missing or impossible runs raises RunError.

    `signature`, `input_types`, `input_shapes` and `file_precision` are what `tflite_file` reads; empty in results
    from before they were kept, and `signature` in those of files that name none.
    `repeated`: launches of it that were thrown away, because they or one beside them were disturbed.
    """

    file: str
    artifact_sha256: str
    size_bytes: int
    fp16_capable: bool
    config: BenchConfig
    device: Device
    runtime: str
    launches: tuple[Launch, ...]
    input_shapes: tuple[tuple[int, ...], ...] = ()
    file_precision: str = ""
    repeated: int = 0
    phone: PhoneRecord | None = None
    signature: str = ""
    input_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = [("launches", self.config.launches, len(self.launches))]
        counts += [("runs", self.config.runs, len(launch.run_ms)) for launch in self.launches]
        for what, asked, reported in counts:
            if asked != reported:
                raise RunError(f"{self.file}: {asked} {what} were asked for, {reported} reported")
        for launch in self.launches:
            times = (launch.init_ms, launch.first_ms, *launch.run_ms)
            if not all(math.isfinite(ms) and ms > 0 for ms in times):
                raise RunError(f"{self.file}: a time is not a positive number: {launch}")

    @property
    def name(self) -> str:
        """What ran, for people: the file, and its signature where that says something."""
        return labelled(self.file, self.signature)

    @property
    def run_ms(self) -> Summary:
        """Statistics over the measured runs of all launches, in ms."""
        return summarize([ms for launch in self.launches for ms in launch.run_ms])

    @property
    def init_ms(self) -> float:
        """Median over launches."""
        return summarize([launch.init_ms for launch in self.launches]).median

    @property
    def first_ms(self) -> float:
        """Median over launches."""
        return summarize([launch.first_ms for launch in self.launches]).median

    @property
    def peak_memory_mb(self) -> float:
        """The largest over launches."""
        return max(launch.peak_memory_mb for launch in self.launches)

    @property
    def size_mb(self) -> float:
        """File size in MB."""
        return self.size_bytes / 1e6

    def summary(self) -> dict[str, Any]:
        """The figures of one table row, JSON-ready; all of them follow from the fields."""
        runs = {
            f"{name}_ms": round(value, 4)
            for name, value in dataclasses.asdict(self.run_ms).items()
            if name != "count"
        }
        return {
            "size_mb": round(self.size_mb, 3),
            "init_ms": round(self.init_ms, 4),
            "first_ms": round(self.first_ms, 4),
            **runs,
            "peak_memory_mb": round(self.peak_memory_mb, 3),
            "delegate_kernels": self.launches[0].delegate_kernels,
        }


def to_json(results: Sequence[BenchResult]) -> dict[str, Any]:
    """A JSON-ready dict of a benchmark, summaries written out for readers; `from_json` reverses it."""
    return {
        "schema": SCHEMA,
        "results": [
            {**dataclasses.asdict(result, dict_factory=_known), "summary": result.summary()}
            for result in results
        ],
    }


def _known(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a dataclass, less the optional ones that it does not have."""
    return {name: value for name, value in pairs if value is not None or name not in OPTIONAL}


def from_json(data: dict[str, Any]) -> list[BenchResult]:
    """The results of `to_json`'s dict; the summaries are computed again, not believed.

    Raises InputError when it is of another schema or malformed, RunError when runs are missing.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        kind = f"schema {data.get('schema')!r}" if isinstance(data, dict) else type(data).__name__
        raise InputError(f"a benchmark of schema {SCHEMA}", kind, "measure again with this version")
    try:
        return [_result(entry) for entry in data["results"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "results as android_bench writes them",
            f"{type(error).__name__}: {error}",
            "measure again with this version",
        ) from error


def _result(entry: dict[str, Any]) -> BenchResult:
    fields = {name: value for name, value in entry.items() if name != "summary"}
    fields["config"] = BenchConfig(**fields["config"])
    fields["device"] = Device(**fields["device"])
    fields["launches"] = tuple(launch_from_json(value) for value in fields["launches"])
    fields["input_shapes"] = tuple(tuple(shape) for shape in fields.get("input_shapes", ()))
    fields["input_types"] = tuple(fields.get("input_types", ()))
    if phone := fields.get("phone"):
        moments = {name: Condition(**phone[name]) for name in ("before", "after")}
        fields["phone"] = PhoneRecord(**{**phone, **moments})
    return BenchResult(**fields)


def launch_from_json(value: dict[str, Any]) -> Launch:
    """A Launch from JSON, where tuples are lists."""
    fields = {**value, "cpus": tuple(value["cpus"]), "run_ms": tuple(value["run_ms"])}
    if "evidence" in value:
        fields["evidence"] = Evidence(**value["evidence"])
    return Launch(**fields)
