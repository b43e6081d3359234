import dataclasses
import json
from pathlib import Path

import pytest

from android_bench.results.measurements import BenchConfig, BenchResult, Device, Launch, from_json, to_json
from mobileiqa.errors import RunError, UserError

LAUNCHES = (
    Launch((1,), 5.0, 9.0, (2.0, 4.0, 3.0), 40.0, 100.0, 1),
    Launch((1,), 7.0, 8.0, (5.0, 1.0, 3.0), 41.0, 104.0, 1),
)


def result(**changes) -> BenchResult:
    fields = {
        "file": "a.tflite",
        "artifact_sha256": "00" * 32,
        "size_bytes": 2_500_000,
        "fp16_capable": True,
        "config": BenchConfig(runs=3, launches=2),
        "device": Device("host", "a CPU", 2, "Linux", False),
        "runtime": "ai-edge-litert 2.3.0",
        "launches": LAUNCHES,
    }
    return BenchResult(**{**fields, **changes})


def test_pools_runs_and_takes_the_worst_memory():
    got = result().summary()
    assert got["mean_ms"] == got["median_ms"] == 3.0
    assert (got["min_ms"], got["max_ms"], got["init_ms"], got["first_ms"]) == (1.0, 5.0, 6.0, 8.5)
    assert (got["peak_memory_mb"], got["size_mb"]) == (63.0, 2.5)


def test_json_round_trip():
    results = [result(), result(file="b.tflite", config=BenchConfig(runs=3, launches=2, cpu_mask=2))]
    assert from_json(json.loads(json.dumps(to_json(results), allow_nan=False))) == results


def test_a_summary_that_its_runs_contradict_is_refused():
    data = to_json([result()])
    data["results"][0]["summary"]["mean_ms"] = 0.001
    with pytest.raises(UserError, match=r"results\[0\].summary.mean_ms what the runs give, 3.0"):
        from_json(data)


def test_a_file_of_an_earlier_version_is_read():
    """Recorded before the fields were derived from the dataclasses; its two results lack what came later."""
    recorded = Path(__file__).parents[1] / "recorded"
    plain, phone = from_json(json.loads((recorded / "bench_schema_1.json").read_text()))
    assert plain.launches[0].evidence.wait_ms == 0.0 and plain.signature == "serving_default"
    assert (phone.phone.before.battery_c, phone.phone.after.thermal_status) == (28.7, "none")
    assert phone.launches[0].evidence is None and (phone.input_types, phone.repeated) == ((), 0)


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"schema": 2, "results": []},
        {"schema": 1},
        {"schema": 1, "results": [{}]},
        {"schema": 1, "results": ["x"]},
        {"schema": 1, "emulated": "cortex-a76", "outputs": []},
    ],
)
def test_refuses_foreign_json(data):
    with pytest.raises(UserError, match=r"measure (again|on a host)"):
        from_json(data)


def test_missing_runs_are_noticed_when_read():
    data = json.loads(json.dumps(to_json([result()])))
    data["results"][0]["launches"][1]["run_ms"].pop()
    with pytest.raises(UserError, match="3 runs were asked for, 2 reported"):
        from_json(data)


@pytest.mark.parametrize(
    ("launches", "words"),
    [
        (LAUNCHES[:1], "2 launches were asked for, 1 reported"),
        ((), "2 launches were asked for, 0 reported"),
        (
            (LAUNCHES[0], dataclasses.replace(LAUNCHES[1], run_ms=(1.0, 2.0))),
            "3 runs were asked for, 2 reported",
        ),
        (
            (LAUNCHES[0], dataclasses.replace(LAUNCHES[1], run_ms=(1.0,) * 4)),
            "3 runs were asked for, 4 reported",
        ),
        ((LAUNCHES[0], dataclasses.replace(LAUNCHES[1], run_ms=(1.0, 2.0, 0.0))), "not a positive number"),
        ((LAUNCHES[0], dataclasses.replace(LAUNCHES[1], init_ms=float("nan"))), "not a positive number"),
    ],
)
def test_an_incomplete_measurement_is_no_result(launches, words):
    with pytest.raises(RunError, match=words):
        result(launches=launches)


@pytest.mark.parametrize(
    "fields",
    [
        {"runs": 0},
        {"threads": 0},
        {"launches": 0},
        {"warmup_runs": -1},
        {"cooldown_s": -0.1},
        {"cooldown_s": float("nan")},
        {"cpu_mask": -1},
        {"threads": 2, "cpu_mask": 0x4},
    ],
)
def test_refuses_impossible_configs(fields):
    with pytest.raises(UserError):
        BenchConfig(**fields)
