from pathlib import Path

import pytest

from android_bench.results.measurements import Launch
from benchmarks.conversion_paths import OURS, OURS_FP16, Built, Case
from benchmarks.results import Row, verdicts

MOBILE = Case("mobilenet-iqa", "1271x820")
LAR = Case("lar-iqa-kan")


def row(route, case=MOBILE, ms=(10.0, 10.0), memory_mb=100.0, size_mb=10.0, partitions=1, **fields):
    launches = tuple(Launch((0,), 5.0, one, (one, one), 40.0, 40.0 + memory_mb, partitions) for one in ms)
    built = Built(route, case, Path("model.tflite"), {}, int(size_mb * 1e6))
    return Row(built, launches, **fields)


def found(rows):
    return {(v.case, v.target.metric, v.target.against): v for v in verdicts(rows)}


def test_ratio_is_ours_over_the_baseline():
    rows = [row(OURS, ms=(20.0,)), row("executorch", ms=(100.0,))]
    verdict = found(rows)[MOBILE, "median_ms", "executorch"]
    assert verdict.value == pytest.approx(0.2)
    assert verdict.passed


def test_target_is_missed_just_above_its_bound():
    rows = [row(OURS, ms=(40.1,), memory_mb=30.0), row("executorch", ms=(100.0,), memory_mb=100.0)]
    verdict = found(rows)
    assert not verdict[MOBILE, "median_ms", "executorch"].passed
    assert verdict[MOBILE, "memory_mb", "executorch"].passed


def test_a_baseline_that_failed_does_not_meet_a_target():
    broken = Row(Built("executorch", MOBILE, Path("model.pte"), {}), error="does not convert: out of memory")
    verdict = found([row(OURS), broken])[MOBILE, "median_ms", "executorch"]
    assert verdict.value is None
    assert not verdict.passed


def test_what_was_left_out_is_not_judged():
    assert found([row(OURS)]) == {}
    assert found([row(OURS, Case("mobilenet-iqa", "224x224")), row("executorch")]) == {}


@pytest.mark.parametrize(("partitions", "passed"), [(0, False), (1, True), (2, False)])
def test_one_partition_means_exactly_one(partitions, passed):
    assert found([row(OURS, LAR, partitions=partitions)])[LAR, "partitions", ""].passed is passed


@pytest.mark.parametrize(("size_mb", "passed"), [(83.0, True), (83.1, False)])
def test_fp16_file_size_is_absolute(size_mb, passed):
    assert found([row(OURS_FP16, size_mb=size_mb)])[MOBILE, "size_mb", ""].passed is passed


def test_spread_compares_the_launches_medians():
    assert row(OURS, ms=(10.0, 11.0)).spread == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("route", "score", "faithful"),
    [
        (OURS, 0.50005, True),
        (OURS, 0.5005, False),
        (OURS_FP16, 0.5005, True),
        (OURS_FP16, 0.503, False),
        ("executorch", None, False),
    ],
)
def test_a_file_is_faithful_within_its_precisions_tolerance(route, score, faithful):
    assert row(route, score=score, expected=0.5).faithful is faithful
