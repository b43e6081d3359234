import dataclasses
import json
import re

import pytest

from android_bench.results.entries import read
from android_bench.results.interference import calm, lost_percent, of_launch, of_result
from android_bench.results.measurements import (
    BenchConfig,
    BenchResult,
    ContentionCounters,
    Device,
    Launch,
    from_json,
    to_json,
)

CALM = Launch(
    cpus=(1,),
    init_ms=5.0,
    first_ms=101.0,
    run_ms=(100.0, 100.4, 99.8, 100.1, 103.0, 100.2, 99.9, 100.0, 100.3, 140.0),  # one slow run is no pattern
    rss_after_import_mb=40.0,
    peak_rss_mb=100.0,
    delegate_kernels=1,
    evidence=ContentionCounters(
        preemptions=4, pace_before_ms=0.288, pace_after_ms=0.300, workers=0, wait_ms=20.0, steal_ms=0.0
    ),
)


def quiet(**evidence) -> Launch:
    """CALM with other counters."""
    return dataclasses.replace(CALM, evidence=dataclasses.replace(CALM.evidence, **evidence))


def result(*launches: Launch, **config) -> BenchResult:
    return BenchResult(
        file="a.tflite",
        artifact_sha256="00" * 32,
        size_bytes=1,
        fp16_capable=False,
        config=BenchConfig(runs=10, launches=len(launches), **config),
        device=Device("host", "a CPU", 2, "Linux", False),
        runtime="ai-edge-litert 2.3.0",
        launches=launches,
    )


def test_a_quiet_measurement_is_not_complained_about():
    assert of_launch(CALM, BenchConfig()) == ""
    assert of_result(result(CALM, CALM, CALM)) == []


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        (
            quiet(wait_ms=33.4),
            "it waited for its CPU for 3.2% of the measured time .at most 3%., put aside 4 times",
        ),
        (quiet(wait_ms=500.0), "it waited for its CPU for 48% .* another process ran there"),
        (quiet(init_wait_ms=1.5), "while the file was loaded it waited for its CPU for 30% of the time"),
        (
            dataclasses.replace(quiet(init_wait_ms=5.5), init_ms=50.0),
            "while the file was loaded it waited for its CPU for 11% of the time .at most 10%.",
        ),
        (quiet(steal_ms=40.0), "the hypervisor took its CPU for 3.8%"),
        (
            quiet(pace_before_ms=0.29, pace_after_ms=0.33),
            "its core changed speed: .* took 0.29 ms before the runs and 0.33 ms after",
        ),
        (quiet(pace_before_ms=0.33, pace_after_ms=0.29), "its core changed speed"),
        (
            dataclasses.replace(CALM, run_ms=(100.0, 120.0) * 5, evidence=None),
            "the middle half of its runs spans 18% of the median .at most 10%.",
        ),
    ],
)
def test_each_kind_of_interference_is_named(launch, words):
    assert re.search(words, of_launch(launch, BenchConfig()))
    (output,) = of_result(result(launch))
    assert output == f"launch 1: {of_launch(launch, BenchConfig())}"


@pytest.mark.parametrize(
    "launch",
    [
        quiet(wait_ms=30.0),
        quiet(wait_ms=None, steal_ms=None),  # a kernel that does not count
        quiet(steal_ms=30.0),
        dataclasses.replace(quiet(steal_ms=10.0, wait_ms=0.0), run_ms=(10.0,) * 10),  # one tick
        quiet(init_wait_ms=0.9),
        dataclasses.replace(quiet(init_wait_ms=4.5), init_ms=50.0),  # kernel threads beside a large load
        quiet(pace_before_ms=0.29, pace_after_ms=0.318),
        dataclasses.replace(CALM, run_ms=(0.015, 0.05) * 5, evidence=None),  # 20 us are no disturbance
        dataclasses.replace(
            CALM, run_ms=(100.0, 150.0, 100.0), evidence=None
        ),  # three runs have no quartiles
    ],
)
def test_what_is_within_the_limits_passes(launch):
    assert of_launch(launch, BenchConfig()) == ""


def test_several_threads_wait_at_the_same_time():
    launch = quiet(wait_ms=50.0)
    assert of_launch(launch, BenchConfig()) != ""
    assert of_launch(launch, BenchConfig(threads=2)) == ""
    assert "or too many threads of its own" in of_launch(quiet(wait_ms=200.0), BenchConfig(threads=2))


def test_launches_are_judged_beside_each_other():
    slow = dataclasses.replace(CALM, run_ms=tuple(ms * 1.2 for ms in CALM.run_ms))
    (output,) = of_result(result(CALM, slow))
    assert output == "launches took 100.2 to 120.2 ms (at most 15% apart)"
    (output,) = of_result(result(CALM, quiet(pace_before_ms=0.35, pace_after_ms=0.35)))
    assert output.startswith("the core's speed differed: a fixed computation took 0.3 to 0.35 ms")
    assert of_result(result(CALM, CALM, CALM, CALM, slow)) == []  # one odd launch of five moves no median
    assert len(of_result(result(CALM, CALM, slow, slow, slow))) == 1
    tiny, twice = (dataclasses.replace(CALM, run_ms=(ms,) * 10, evidence=None) for ms in (0.02, 0.04))
    assert of_result(result(tiny, twice)) == []


def test_evidence_survives_json_and_what_is_unknown_is_left_out():
    rest = [result(CALM), result(quiet(wait_ms=None)), result(dataclasses.replace(CALM, evidence=None))]
    data = to_json(rest)
    assert from_json(data) == rest
    written = [entry["launches"][0] for entry in data["results"]]
    assert "wait_ms" in written[0]["evidence"] and "wait_ms" not in written[1]["evidence"]
    assert "evidence" not in written[2]


def test_a_disturbed_result_says_so_wherever_it_is_compared(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(to_json([result(CALM), result(quiet(wait_ms=500.0))])))
    good, bad = read(path)
    assert good.note == ""
    assert bad.note.startswith("disturbed: launch 1: it waited for its CPU for 48%")


def test_figures_are_of_the_calm_launches_and_the_time_lost_is_said():
    """measured: 1040 ms a launch of CALM; the disturbed one waited for half of it."""
    measured_ms = sum(CALM.run_ms)
    disturbed = quiet(wait_ms=measured_ms / 2)
    assert calm(result(CALM, disturbed, CALM)).launches == (CALM, CALM)
    assert calm(result(disturbed, disturbed)).launches == (disturbed, disturbed)
    assert calm(result(CALM)).launches == (CALM,)
    assert lost_percent(result(CALM, disturbed)) == pytest.approx(100 * (20 / measured_ms + 0.5) / 2)
    assert lost_percent(result(dataclasses.replace(CALM, evidence=None))) is None
