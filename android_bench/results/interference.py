"""Whether a measurement is the file's own: did anything else use the CPU, or slow it, while it ran?

Counters come before guesses. The kernel counts how long a launch waited for its CPU and how often it was put
aside, and a fixed computation shows how fast the core was; both are independent of the times that are judged,
so that throwing such a launch away favours no result. Scatter comes last: it shows what neither does (a shared
cache, memory, a hyper-thread's twin), and it cannot say what it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum

from android_bench.results.measurements import BenchConfig, BenchResult, Launch
from android_bench.results.summary import middle_half, summarize

MAX_WAIT = (
    0.03  # of the measured time; the mean is off by as much, and 3 % is what two sessions may differ by
)
MAX_STEAL = 0.03  # the same, by the hypervisor
# Of the load, which is one time and no mean of many: fresh pages wake kernel threads on the same CPU, 4 % on a quiet
# machine, and another process takes half.
MAX_LOAD_WAIT = 0.10
MAX_FREQUENCY_RATIO = 1.10  # slowest over fastest; on a quiet core the fixed computation repeats within 4 %
MAX_SCATTER = 0.10  # quartile to quartile over the median; one slow run in ten does not move it
MAX_BETWEEN = 0.15  # how far launches are apart over their median; 10 % is seen on quiet virtual machines
FLOOR_MS = 0.05  # less than this is the clock's and the interrupts', not interference
LOAD_FLOOR_MS = 1.0  # a load sleeps and wakes over its pages and files, and waits a little each time
STEAL_TICK_MS = 10.0  # a single tick may have been filled for the most part before
ENOUGH = 4  # fewer runs or launches have no quartiles


class IfDisturbed(StrEnum):
    """What to do about a disturbed launch."""

    STOP = "stop"  # report nothing
    REPEAT = "repeat"  # measure that round again, three times at most, then stop
    KEEP = "keep"  # report it, marked


REPEATS = 3
ADVICE = (
    "stop what else runs, have disturbed launches measured again (--if-disturbed repeat), "
    "or keep them, marked (without --strict)"
)


def of_launch(launch: Launch, config: BenchConfig) -> str:
    """What disturbed one launch, in words; "" when nothing did."""
    return "; ".join([*_of_counters(launch, config), *of_runs(launch.run_ms)])


def of_result(result: BenchResult) -> list[str]:
    """What disturbed a whole measurement: each launch by itself, else the launches beside each other."""
    reasons = []
    for number, launch in enumerate(result.launches, 1):
        if words := of_launch(launch, result.config):
            reasons.append(f"launch {number}: {words}")
    return reasons or list(_between(result.launches))


def calm(result: BenchResult) -> BenchResult:
    """The result of the launches that nothing disturbed; of all where each was, or none."""
    launches = tuple(launch for launch in result.launches if not of_launch(launch, result.config))
    if not launches:
        return result
    return replace(result, launches=launches, config=replace(result.config, launches=len(launches)))


def lost_percent(result: BenchResult) -> float | None:
    """How much of the measured time, in per cent, its threads waited for their CPU or the hypervisor had it.

    None where neither was counted: on a phone, and in results from before.
    """
    counted = [(launch, launch.evidence) for launch in result.launches if launch.evidence is not None]
    if not counted:
        return None
    threads = result.config.threads
    lost = [(c.wait_ms or 0.0) / threads + (c.steal_ms or 0.0) / len(one.cpus) for one, c in counted]
    return 100 * sum(lost) / sum(sum(one.run_ms) for one, _ in counted)


def _of_counters(launch: Launch, config: BenchConfig) -> Iterator[str]:
    counters, measured_ms = launch.evidence, sum(launch.run_ms)
    if counters is None:
        return
    # All threads waited in the same stretch of time: the share is one thread's, on average.
    waited = (counters.wait_ms or 0.0) / config.threads / measured_ms
    if waited > MAX_WAIT:
        others = (
            "another process" if config.threads == 1 else "another process, or too many threads of its own,"
        )
        yield (
            f"it waited for its CPU for {_percent(waited)} of the measured time (at most {MAX_WAIT:.0%}), put aside "
            f"{counters.preemptions} times: {others} ran there"
        )
    loading = counters.init_wait_ms or 0.0
    if loading > max(MAX_LOAD_WAIT * launch.init_ms, LOAD_FLOOR_MS):
        share = _percent(loading / launch.init_ms)
        yield f"while the file was loaded it waited for its CPU for {share} of the time (at most {MAX_LOAD_WAIT:.0%})"
    stolen = (counters.steal_ms or 0.0) / len(launch.cpus)
    if stolen > max(MAX_STEAL * measured_ms, STEAL_TICK_MS):
        share = _percent(stolen / measured_ms)
        yield f"the hypervisor took its CPU for {share} of the measured time (at most {MAX_STEAL:.0%})"
    first, last = counters.pace_before_ms, counters.pace_after_ms
    if max(first, last) / min(first, last) > MAX_FREQUENCY_RATIO:
        yield (
            f"its core changed speed: a fixed computation took {first:.3g} ms before the runs and {last:.3g} ms "
            f"after (at most {MAX_FREQUENCY_RATIO:g} times)"
        )


def of_runs(run_ms: Sequence[float]) -> Iterator[str]:
    """What the runs of one process show by themselves."""
    if len(run_ms) < ENOUGH:
        return
    scatter, median = middle_half(run_ms), summarize(run_ms).median
    if scatter > max(MAX_SCATTER * median, FLOOR_MS):
        share = _percent(scatter / median)
        yield f"the middle half of its runs spans {share} of the median (at most {MAX_SCATTER:.0%})"


def _between(launches: Sequence[Launch]) -> Iterator[str]:
    medians = [summarize(launch.run_ms).median for launch in launches]
    if _apart(medians) > max(MAX_BETWEEN * summarize(medians).median, FLOOR_MS):
        yield f"launches took {min(medians):.4g} to {max(medians):.4g} ms (at most {MAX_BETWEEN:.0%} apart)"
    probes = [launch.evidence.pace_after_ms for launch in launches if launch.evidence]
    if probes and _apart(probes) > (MAX_FREQUENCY_RATIO - 1) * min(probes):
        yield (
            f"the core's speed differed: a fixed computation took {min(probes):.3g} to {max(probes):.3g} ms "
            f"(at most {MAX_FREQUENCY_RATIO:g} times)"
        )


def _apart(values: Sequence[float]) -> float:
    """From the lowest to the highest; of four or more their middle half, which one odd launch does not move."""
    return middle_half(values) if len(values) >= ENOUGH else max(values) - min(values)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
