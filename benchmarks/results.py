"""What was measured of each file, and whether the targets are met."""

from collections.abc import Sequence
from dataclasses import dataclass

from android_bench.results.measurements import Launch
from android_bench.results.summary import summarize
from benchmarks.conversion_paths import OURS, OURS_FP16, Built, Case

MAX_ABS = {OURS_FP16: 2e-3}  # allowed distance from the published module's score, in score units
DEFAULT_MAX_ABS = 1e-4


@dataclass(frozen=True)
class Row:
    """One file and what was measured of it; `error` says why something is missing.

    `score` is the file's, `expected` the published module's, on the same input.
    """

    built: Built
    launches: tuple[Launch, ...] = ()
    score: float | None = None
    expected: float | None = None
    runtime: str = ""
    error: str = ""

    @property
    def median_ms(self) -> float:
        """Over the runs of all launches."""
        return summarize([ms for launch in self.launches for ms in launch.run_ms]).median

    @property
    def spread(self) -> float:
        """Slowest launch's median over the fastest's, less 1: the noise between processes."""
        medians = [summarize(launch.run_ms).median for launch in self.launches]
        return max(medians) / min(medians) - 1

    @property
    def init_ms(self) -> float:
        """Load and prepare, median over launches; the runtime's import is not in it."""
        return summarize([launch.init_ms for launch in self.launches]).median

    @property
    def memory_mb(self) -> float:
        """Peak RSS less RSS after the runtime's import, the largest over launches."""
        return max(launch.peak_memory_mb for launch in self.launches)

    @property
    def size_mb(self) -> float:
        """File size."""
        return self.built.size_bytes / 1e6

    @property
    def partitions(self) -> int:
        """XNNPACK partitions; 0 where the runtime does not tell."""
        return self.launches[0].delegate_kernels

    @property
    def difference(self) -> float | None:
        """|score - expected|; None where one is unknown."""
        return None if self.score is None or self.expected is None else abs(self.score - self.expected)

    @property
    def faithful(self) -> bool:
        """The file computes the published model."""
        limit = MAX_ABS.get(self.built.route, DEFAULT_MAX_ABS)
        return self.difference is not None and self.difference <= limit


@dataclass(frozen=True)
class Target:
    """`metric` of `route`, over that of `against` unless "", within bounds. `size` "": every size."""

    model: str
    size: str
    route: str
    metric: str
    against: str
    at_most: float
    at_least: float = 0.0


TARGETS = (
    #      model            size         route      metric        against         at most, at least
    Target("mobilenet-iqa", "1271x820", OURS, "median_ms", "executorch", 0.40),
    Target("mobilenet-iqa", "1271x820", OURS, "memory_mb", "executorch", 0.30),
    Target("mobilenet-iqa", "1907x1231", OURS, "median_ms", "executorch", 0.40),
    Target("mobilenet-iqa", "1907x1231", OURS, "memory_mb", "executorch", 0.22),
    Target("mobilenet-iqa", "1271x820", OURS, "median_ms", "litert-torch", 1 / 20),
    Target("mobilenet-iqa", "1271x820", OURS, "size_mb", "litert-torch", 1 / 7),
    Target("mobilenet-iqa", "", OURS_FP16, "size_mb", "", 83),
    Target("lar-iqa-kan", "", OURS, "median_ms", "litert-torch", 1.0),
    Target("lar-iqa-kan", "", OURS, "partitions", "", 1, 1),
)


@dataclass(frozen=True)
class Verdict:
    """A target beside what was found; `value` is None when a row is missing, and then it did not pass."""

    case: Case
    target: Target
    value: float | None

    @property
    def passed(self) -> bool:
        """The target was met."""
        return self.value is not None and self.target.at_least <= self.value <= self.target.at_most


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """One verdict per target and measured case; what was left out of the run is not judged."""
    by_key = {(row.built.case, row.built.route): row for row in rows}
    judgements = []
    for target in TARGETS:
        for case in dict.fromkeys(row.built.case for row in rows):
            sides = [(case, name) for name in (target.route, target.against) if name]
            applies = case.model == target.model and target.size in ("", case.size)
            if applies and all(side in by_key for side in sides):
                judgements.append(Verdict(case, target, _value(target, [by_key[side] for side in sides])))
    return judgements


def _value(target: Target, rows: Sequence[Row]) -> float | None:
    """The metric, or its ratio of two rows; None when one was not measured."""
    if any(row.error for row in rows):
        return None
    values = [float(getattr(row, target.metric)) for row in rows]
    return values[0] / values[1] if len(values) == 2 else values[0]
