import statistics

import numpy as np
import pytest

from android_bench.results.summary import middle_half, summarize


def test_agrees_with_the_standard_library_and_numpy():
    values = np.random.default_rng(0).lognormal(3, 0.5, 101).tolist()
    got = summarize(values)
    twentieths = statistics.quantiles(values, n=20, method="inclusive")
    assert got.count == 101
    assert got.mean == pytest.approx(statistics.fmean(values), rel=1e-12)
    assert got.median == pytest.approx(statistics.median(values), rel=1e-12)
    assert got.std == pytest.approx(statistics.stdev(values), rel=1e-12)
    assert (got.p5, got.p95) == pytest.approx((twentieths[0], twentieths[-1]), rel=1e-12)
    assert (got.p5, got.p95) == pytest.approx(np.percentile(values, [5, 95]), rel=1e-12)
    assert (got.min, got.max) == (min(values), max(values))


def test_one_value_has_no_spread():
    got = summarize([7.0])
    assert (got.mean, got.median, got.p5, got.p95, got.min, got.max) == (7.0,) * 6
    assert got.std == 0.0


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]]])
def test_refuses_what_has_no_statistics(values):
    with pytest.raises(ValueError, match="at least one value and only finite ones"):
        summarize(values)


def test_the_middle_half_ignores_outliers():
    values = [1.0, 2.0, 3.0, 4.0, 1000.0]
    assert middle_half(values) == 2.0
    assert middle_half([7.0]) == 0.0
