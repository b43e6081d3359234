import numpy as np
import pytest
from scipy import stats

from android_bench.comparison.significance import mann_whitney, smallest_p, speed


def times(seed, count, factor=1.0):
    return factor * np.random.default_rng(seed).lognormal(3, 0.1, count)


@pytest.mark.parametrize(
    ("n", "m", "factor"), [(5, 5, 1), (6, 11, 1.05), (10, 10, 1.2), (10, 30, 0.9), (1, 3, 1)]
)
def test_exact_p_is_scipys(n, m, factor):
    slow, fast = times(n, n, factor), times(100 + m, m)
    expected = stats.mannwhitneyu(slow, fast, alternative="greater", method="exact").pvalue
    assert mann_whitney(slow, fast) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("digits", [0, 1, 6])
@pytest.mark.parametrize("factor", [0.95, 1, 1.03])
def test_approximate_p_is_scipys_with_and_without_ties(digits, factor):
    slow, fast = np.round(times(1, 60, factor), digits), np.round(times(2, 90), digits)
    assert (len(np.unique(np.concatenate([slow, fast]))) < 150) == (digits < 6)
    expected = stats.mannwhitneyu(slow, fast, alternative="greater", method="asymptotic").pvalue
    assert mann_whitney(slow, fast) == pytest.approx(expected, rel=1e-9)


def test_few_runs_with_a_tie_use_the_approximation():
    slow, fast = [3.0, 4.0, 5.0], [1.0, 2.0, 3.0]
    expected = stats.mannwhitneyu(slow, fast, alternative="greater", method="asymptotic").pvalue
    assert mann_whitney(slow, fast) == pytest.approx(expected, rel=1e-9)


def test_equal_values_are_no_evidence():
    assert mann_whitney([2.0] * 10, [2.0] * 10) == 1.0


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (4, 9)])
def test_smallest_p_is_reached_by_complete_separation(n, m):
    assert mann_whitney(np.arange(n) + 100.0, np.arange(m) + 1.0) == pytest.approx(
        smallest_p(n, m), rel=1e-12
    )


def test_false_alarms_are_as_rare_as_p_says():
    alarms = [mann_whitney(times(seed, 10), times(1000 + seed, 10)) < 0.05 for seed in range(400)]
    assert 0.02 < np.mean(alarms) < 0.08


@pytest.mark.parametrize("side", [[], [1.0, float("nan")], [float("inf")]])
def test_refuses_values_that_have_no_rank(side):
    with pytest.raises(ValueError, match="all of them finite"):
        mann_whitney(side, [1.0])


def test_interval_of_one_launch_is_scipys_bootstrap():
    slow, fast = times(5, 40, 1.25), times(6, 40)
    ratio, low, high = speed([slow], [fast])
    assert ratio == pytest.approx(np.median(fast) / np.median(slow), rel=1e-12)
    other = stats.bootstrap(
        (fast, slow),
        lambda a, b, axis: np.median(a, axis=axis) / np.median(b, axis=axis),
        n_resamples=4000,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.006)


def test_interval_holds_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(100):
        _, low, high = speed([times(seed, 20, 1.2)], [times(500 + seed, 20)])
        hits += low <= 1 / 1.2 <= high
    assert hits >= 88


def test_launches_that_differ_widen_the_interval():
    quiet = np.stack([times(seed, 10) for seed in range(6)])
    jumpy = quiet * np.array([1, 1.5, 1, 1.4, 0.8, 1])[:, None]
    (_, low, high), (_, wide_low, wide_high) = speed(quiet, quiet[::-1]), speed(jumpy, quiet[::-1])
    assert wide_high - wide_low > 2 * (high - low)


def test_a_drift_that_both_shared_cancels_when_paired():
    drift = np.linspace(1, 2, 8)[:, None]
    slow, fast = drift * times(7, (8, 10), 1.1), drift * times(8, (8, 10))
    (_, low, high), (_, wide_low, wide_high) = speed(slow, fast, paired=True), speed(slow, fast)
    assert low < 1 / 1.1 < high
    assert wide_high - wide_low > 2 * (high - low)


def test_interval_is_the_same_every_time():
    assert speed([times(1, 9)], [times(2, 9)]) == speed([times(1, 9)], [times(2, 9)])


@pytest.mark.parametrize("side", [[], [[]], [[1.0, 0.0]], [1.0]])
def test_refuses_what_is_no_time_by_launch(side):
    with pytest.raises(ValueError, match="positive times by launch"):
        speed(side, [[1.0]])
