"""The record of a benchmark: how it was measured and what was measured, as dataclasses that are also its JSON.

The fields of these classes are the fields of a bench.json (docs/bench.md); their types and metadata are what
`from_json` checks, through mobileiqa.typed_json. Sizes in MB are 10^6 bytes; times are milliseconds of wall clock.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from android_bench.results.signatures import labelled
from android_bench.results.summary import Summary, summarize
from mobileiqa import typed_json
from mobileiqa.errors import RunError, UserError
from mobileiqa.typed_json import Check, shortened

SCHEMA = 1
TODO = "correct the file (docs/bench.md has the fields) or measure again"
LARGEST = 2**53  # what is larger is no measurement


def _line(value: str) -> bool:
    """Printable, so that it can stand in any output: XML takes no control characters, UTF-8 no lone surrogate."""
    return value.isprintable() and len(value) <= 4096


# What fields must be besides their type. A time is wide enough for any measurement, and narrow enough that a quotient
# of two is a number.
LINE = {"check": Check("a printable text", _line)}
TEXT = {
    "check": Check("a printable text that is not empty", lambda value: _line(value) and bool(value.strip()))
}
SHA256 = {"check": Check("64 hex digits", lambda value: bool(re.fullmatch("[0-9a-f]{64}", value)))}
COUNT, WHOLE, AMOUNT = ({"range": (low, LARGEST)} for low in (1, 0, 0.0))
TIME = {"range": (1e-6, 1e9)}  # ms
NUMBER = {"range": (-LARGEST, LARGEST)}


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
    cpu_mask: int = 0  # a bit for each CPU: of any size
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
                raise UserError(f"{name} of at least {lowest}", f"{value}", f"correct {name}")
        if self.cpu_mask and self.cpu_mask.bit_count() < self.threads:
            raise UserError(
                f"a CPU mask with at least {self.threads} CPUs, one per thread",
                f"{self.cpu_mask:#x}",
                "add CPUs to the mask or use fewer threads",
            )

    @property
    def masked_cpus(self) -> list[int]:
        """The CPUs of the mask."""
        return [cpu for cpu in range(self.cpu_mask.bit_length()) if self.cpu_mask >> cpu & 1]


@dataclass(frozen=True)
class Device:
    """What ran the file. `fp16_hardware`: the CPU has FP16 vector arithmetic."""

    kind: str = field(metadata=TEXT)  # "host" or "phone"
    cpu: str = field(metadata=TEXT)
    cores: int = field(metadata=COUNT)
    platform: str = field(metadata=TEXT)
    fp16_hardware: bool


@dataclass(frozen=True)
class ContentionCounters:
    """What else happened on a launch's CPUs while it was measured; interference.py reads them.

    wait_ms: its threads could have run and did not, summed over them; init_wait_ms: the same while the file was
    loaded. steal_ms: the hypervisor ran something else on its CPUs, in steps of 10 ms. These are None where the
    kernel does not count them. pace_*_ms: one fixed computation, before the file was loaded and after the last
    run. workers: threads that the runtime started.
    """

    preemptions: int = field(metadata=WHOLE)
    pace_before_ms: float = field(metadata=TIME)
    pace_after_ms: float = field(metadata=TIME)
    workers: int = field(metadata=WHOLE)
    wait_ms: float | None = field(default=None, metadata=AMOUNT)
    init_wait_ms: float | None = field(default=None, metadata=AMOUNT)
    steal_ms: float | None = field(default=None, metadata=AMOUNT)


@dataclass(frozen=True)
class ThermalState:
    """How a phone was at a moment; None where it does not say. Degrees Celsius, and percent of its charge."""

    battery_percent: int | None = field(metadata={"range": (0, 100)})
    battery_c: float | None = field(metadata=NUMBER)
    skin_c: float | None = field(metadata=NUMBER)
    thermal_status: str | None = field(metadata=LINE)  # Android's name: "none", "light", "moderate"...


@dataclass(frozen=True)
class PhoneRecord:
    """What only a phone has. `governor`: of the cores measured on, "" when unknown."""

    soc: str = field(metadata=TEXT)
    android: str = field(metadata=TEXT)
    governor: str = field(metadata=LINE)
    before: ThermalState
    after: ThermalState


@dataclass(frozen=True)
class Launch:
    """One process: load the file, run it. `init_ms` leaves the import of the runtime out."""

    cpus: tuple[int, ...] = field(metadata={**WHOLE, "least": 1})
    init_ms: float = field(metadata=TIME)
    first_ms: float = field(metadata=TIME)
    run_ms: tuple[float, ...] = field(metadata={**TIME, "least": 1})
    rss_after_import_mb: float = field(metadata=AMOUNT)
    peak_rss_mb: float = field(metadata=AMOUNT)
    delegate_kernels: int = field(
        metadata=WHOLE
    )  # partitions that XNNPACK took; 0: none of the graph was delegated
    evidence: ContentionCounters | None = None  # None on a phone, and in results from before it was kept

    @property
    def peak_memory_mb(self) -> float:
        """Peak resident memory less what the imported runtime already held, the file's own pages included."""
        return self.peak_rss_mb - self.rss_after_import_mb


@dataclass(frozen=True)
class Figures:
    """One table row: times in ms, rounded (a tiny time may be 0); all of them follow from a result's launches."""

    size_mb: float = field(metadata=AMOUNT)
    init_ms: float = field(metadata=AMOUNT)
    first_ms: float = field(metadata=AMOUNT)
    mean_ms: float = field(metadata=AMOUNT)
    median_ms: float = field(metadata=AMOUNT)
    p5_ms: float = field(metadata=AMOUNT)
    p95_ms: float = field(metadata=AMOUNT)
    std_ms: float = field(metadata=AMOUNT)
    min_ms: float = field(metadata=AMOUNT)
    max_ms: float = field(metadata=AMOUNT)
    peak_memory_mb: float = field(metadata=NUMBER)
    delegate_kernels: int = field(metadata=WHOLE)


@dataclass(frozen=True, kw_only=True)
class FileIdentity:
    """Which signature of which file: what `tflite_file` reads. What has a default was not kept in the first results.

    `signature` is empty for files that name none.
    """

    file: str = field(metadata=TEXT)
    artifact_sha256: str = field(metadata=SHA256)
    size_bytes: int = field(metadata=COUNT)
    fp16_capable: bool
    file_precision: str = field(default="", metadata=LINE)
    signature: str = field(default="", metadata=LINE)
    input_types: tuple[str, ...] = field(default=(), metadata=TEXT)
    input_shapes: tuple[tuple[int, ...], ...] = field(default=(), metadata=COUNT)


@dataclass(frozen=True, kw_only=True)
class BenchResult(FileIdentity):
    """A complete measurement of one signature of a file; one with missing or impossible runs raises RunError.

    `repeated`: launches of it that were thrown away, because they or one beside them were disturbed.
    """

    config: BenchConfig
    device: Device
    runtime: str = field(metadata=TEXT)
    launches: tuple[Launch, ...] = field(metadata={"least": 1})
    repeated: int = field(default=0, metadata=WHOLE)
    phone: PhoneRecord | None = None

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
    def peak_memory_mb(self) -> float:
        """The largest over launches."""
        return max(launch.peak_memory_mb for launch in self.launches)

    def figures(self) -> Figures:
        """The figures of one table row: of the runs all statistics, medians over launches, the largest memory."""
        runs = dataclasses.asdict(self.run_ms)
        times = {f"{name}_ms": runs[name] for name in runs if name != "count"}
        for name in ("init_ms", "first_ms"):
            times[name] = summarize([getattr(launch, name) for launch in self.launches]).median
        return Figures(
            size_mb=round(self.size_bytes / 1e6, 3),
            **{name: round(ms, 4) for name, ms in times.items()},
            peak_memory_mb=round(self.peak_memory_mb, 3),
            delegate_kernels=self.launches[0].delegate_kernels,
        )

    def summary(self) -> dict[str, Any]:
        """`figures`, JSON-ready."""
        return dataclasses.asdict(self.figures())


# Left out of the JSON where they are None.
OPTIONAL = {
    each.name
    for record in (ContentionCounters, Launch, BenchResult)
    for each in dataclasses.fields(record)
    if each.default is None
}


def to_json(results: Sequence[BenchResult]) -> dict[str, Any]:
    """A JSON-ready dict of a benchmark, summaries written out for readers; `from_json` reverses it."""
    rows = (dataclasses.asdict(result, dict_factory=_present) for result in results)
    return {
        "schema": SCHEMA,
        "results": [{**row, "summary": result.summary()} for row, result in zip(rows, results, strict=True)],
    }


def _present(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a dataclass, less the optional ones that it does not have."""
    return {name: value for name, value in pairs if value is not None or name not in OPTIONAL}


def results_of(data: Any, source: str) -> list[Any]:
    """The rows of a benchmark's JSON, as they are. Raises UserError for another schema, and where there is none."""
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA or type(schema) is not int:
        kind = f"schema {shortened(repr(schema), 60)}" if isinstance(data, dict) else type(data).__name__
        todo = "measure again with this version, or correct the file"
        raise UserError(f"a benchmark of schema {SCHEMA} in {source}", kind, todo)
    rows = data.get("results")
    if not isinstance(rows, list) or not rows or data.keys() != {"schema", "results"}:
        raise UserError(
            f"'schema' and a non-empty array 'results' in {source}",
            shortened(f"{sorted(data)}", 200),
            "measure again, or correct the file",
        )
    return rows


def result_of(row: Any, source: str, where: str) -> BenchResult:
    """One row, which is at `where` in `source`. A summary that its own runs contradict was edited: it is not believed.

    Raises UserError, naming the field, for what a measurement of ours cannot be.
    """
    if not isinstance(row, dict):
        raise UserError(f"an object at {where} in {source}", shortened(repr(row), 60), TODO)
    config = row.get("config")
    absent = [
        one.name
        for one in dataclasses.fields(BenchConfig)
        if isinstance(config, dict) and one.name not in config
    ]
    if absent:  # its defaults are for who measures, not for who reads
        raise UserError(f"every field of a config in {source}", f"{where}.config.{absent[0]}: missing", TODO)
    try:
        fields = {name: value for name, value in row.items() if name != "summary"}
        result = typed_json.decode(BenchResult, fields, source, TODO, where)
    except RunError as error:  # missing or impossible runs
        raise UserError(
            f"a complete measurement at {where} in {source}", str(error), "measure again"
        ) from error
    written = typed_json.decode(Figures, row.get("summary"), source, TODO, f"{where}.summary")
    for name, figure in result.summary().items():
        if not math.isclose(getattr(written, name), figure, rel_tol=1e-6, abs_tol=1e-3):
            expected = f"in {source} at {where}.summary.{name} what the runs give, {figure}"
            raise UserError(expected, f"{getattr(written, name)}", "measure again")
    return result


def from_json(data: Any, source: str = "the results") -> list[BenchResult]:
    """The results of `to_json`'s dict. Raises UserError, naming `source` and the field, for any other."""
    return [result_of(row, source, f"results[{index}]") for index, row in enumerate(results_of(data, source))]
