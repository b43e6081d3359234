"""Every figure against an independent computation, and a published one; intervals against theory."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import curve_fit

from mobileiqa import metrics
from mobileiqa.metrics import Correlations, bootstrap, correlations, logistic_fit, pair_accuracy

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
FIXTURE = SHARED / "data" / "labels" / "uhd_iqa_validation_lar_iqa.csv"


def generated(n: int, seed: int = 0, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Scores that follow MOS loosely; with ties, both in coarse steps."""
    rng = np.random.default_rng(seed)
    mos = rng.normal(0.5, 0.2, n)
    scores = 0.7 * mos + rng.normal(0.1, 0.1, n)
    return (scores.round(1), mos.round(1)) if ties else (scores, mos)


def ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, by counting."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b, pair by pair."""
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)
    ]
    a, b = np.array(signs).T
    return (a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum())


def published() -> tuple[np.ndarray, np.ndarray]:
    if not FIXTURE.is_file():
        pytest.skip("no labels in ../shared/data beside the checkout; the generated rows stand in")
    with FIXTURE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(r[k]) for r in rows] for k in ("lar_iqa_score", "quality_mos")])


def test_published_predictions_give_the_known_figures():
    scores, mos = published()
    assert len(scores) == 904
    assert correlations(scores, mos) == pytest.approx((0.80326, 0.80932, 0.61105, 0.04040, 0.03124), abs=5e-6)


def test_four_rows_by_hand():
    result = correlations([1, 2, 3, 5], [2, 1, 3, 4])
    assert result._fields == ("srcc", "plcc", "krcc", "rmse", "mae")
    assert result.srcc == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert result.krcc == pytest.approx(4 / 6)  # one of six pairs the wrong way
    assert result.plcc == pytest.approx(5.5 / np.sqrt(8.75 * 5))
    assert result.rmse == pytest.approx(np.sqrt(3 / 4))
    assert result.mae == pytest.approx(3 / 4)


@pytest.mark.parametrize("ties", [False, True])
def test_figures_equal_their_definitions(ties: bool):
    x, y = generated(80, ties=ties)
    expected = (pearson(ranks(x), ranks(y)), pearson(x, y), tau_b(x, y))
    assert correlations(x, y)[:3] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "mos", "message"),
    [
        ([1, 2, 3], [1, 2], r"found \(3,\) and \(2,\)"),
        ([[1, 2, 3]], [[1, 2, 3]], r"found \(1, 3\)"),
        ([1, 2], [1, 2], "at least 3 scores; found 2"),
        ([], [], "found 0"),
        ([1, np.nan, 3], [1, 2, 3], "finite scores; found nan in row 1"),
        ([1, 2, 3], [1, 2, -np.inf], "finite MOS; found -inf in row 2"),
        ([0.5, 0.5, 0.5], [1, 2, 3], "scores that differ; found 0.5 3 times"),
        ([1, 2, 3], [4, 4, 4], "MOS that differ"),
    ],
)
@pytest.mark.parametrize("function", [correlations, bootstrap])
def test_what_has_no_correlation_is_refused(function, scores, mos, message: str):
    with pytest.raises(ValueError, match=message):
        function(scores, mos)


def test_a_curve_of_four_parameters_needs_four_rows_that_differ():
    with pytest.raises(ValueError, match="at least 4 scores; found 3"):
        logistic_fit([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="scores that differ"):
        logistic_fit([1, 1, 1, 1], [1, 2, 3, 4])


@pytest.mark.parametrize("ties", [False, True])
def test_a_resample_has_the_figures_of_its_rows_written_out(ties: bool):
    x, y = generated(600, ties=ties)  # more than one block of Kendall's pairs
    counts = np.random.default_rng(1).integers(0, 4, (3, 600)).astype(np.float32)
    result = metrics._resampled(x, y, counts, Correlations._fields)
    for i, row in enumerate(counts):
        a, b = np.repeat(x, row.astype(int)), np.repeat(y, row.astype(int))
        assert [result[name][i] for name in Correlations._fields] == pytest.approx(
            correlations(a, b), abs=1e-9
        )


def test_intervals_agree_with_theory():
    x, y = generated(1000, ties=False)
    intervals = bootstrap(x, y, seed=3)
    point = correlations(x, y)
    fisher = np.tanh(np.arctanh(point.plcc) + np.array([-1.96, 1.96]) / np.sqrt(1000 - 3))
    normal = point.mae + np.array([-1.96, 1.96]) * np.abs(x - y).std() / np.sqrt(1000)
    for name, expected in (("plcc", fisher), ("mae", normal)):
        assert np.mean(intervals[name]) == pytest.approx(expected.mean(), rel=0.01)
        assert np.ptp(intervals[name]) == pytest.approx(np.ptp(expected), rel=0.1), (
            "a 90 % interval is 16 % shorter"
        )
    assert all(low < value < high for value, (low, high) in zip(point, intervals.values(), strict=True))


def test_intervals_depend_on_the_seed_alone():
    x, y = generated(50)
    assert bootstrap(x, y, n=300, seed=5) == bootstrap(x, y, n=300, seed=5)
    assert bootstrap(x, y, n=300, seed=5) != bootstrap(x, y, n=300, seed=6)
    assert list(bootstrap(x, y, ("krcc",), n=10)) == ["krcc"]


def test_copies_of_a_row_add_nothing_when_their_group_is_drawn():
    x, y = generated(40, ties=False)
    copies = [np.repeat(side, 20) for side in (x, y)]
    alone, grouped = bootstrap(x, y), bootstrap(*copies, groups=np.repeat(np.arange(40), 20))
    for name, interval in alone.items():
        assert grouped[name] == pytest.approx(interval, abs=1e-9)
    low, high = bootstrap(*copies)["srcc"]
    assert high - low < 0.4 * (alone["srcc"][1] - alone["srcc"][0]), "drawn one by one they seem certain"


def test_resamples_without_a_correlation_are_left_out():
    intervals = bootstrap([1, 2, 3], [1, 2, 3])
    assert intervals["srcc"] == intervals["krcc"] == pytest.approx((1, 1))


@pytest.mark.parametrize(("wrong", "message"), [({"statistics": ("tau",)}, "tau"), ({"n": 0}, "n=0")])
def test_unknown_statistics_and_no_resamples_are_refused(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        bootstrap(*generated(10), **wrong)


def test_groups_must_match_the_rows():
    with pytest.raises(ValueError, match="one group a row"):
        bootstrap(*generated(10), groups=[0, 1])


@pytest.mark.parametrize("direction", [1, -1])
def test_a_logistic_relation_is_found_exactly(direction: int):
    x = np.linspace(-3, 8, 60)
    mos = 1 + 4 / (1 + np.exp(-direction * (x - 2) / 0.7))
    assert logistic_fit(x, mos) == pytest.approx(mos, abs=1e-7)


def test_the_fit_is_the_least_squares_one():
    x, _ = generated(300, ties=False)
    mos = 1 / (1 + np.exp(-(x - 0.5) / 0.05)) + np.random.default_rng(0).normal(0, 0.1, 300)

    def curve(s, top, bottom, middle, width):
        return bottom + (top - bottom) / (1 + np.exp(-(s - middle) / width))

    actual, _ = curve_fit(curve, x, mos, (mos.max(), mos.min(), x.mean(), x.std()))
    fitted = logistic_fit(x, mos)
    assert fitted == pytest.approx(curve(x, *actual), abs=1e-5)
    before, after = correlations(x, mos), correlations(fitted, mos)
    assert after.plcc > before.plcc + 0.03
    assert after.srcc == pytest.approx(before.srcc), "a rising curve keeps the order"


def test_the_fit_does_not_depend_on_units():
    x, y = generated(200, ties=False)
    fitted = logistic_fit(x, y)
    assert logistic_fit(1e6 * x - 5e5, y) == pytest.approx(fitted, abs=1e-6)
    assert logistic_fit(x, 1e-6 * y + 3) == pytest.approx(1e-6 * fitted + 3, abs=1e-12)


def test_a_straight_line_is_the_limit_of_curves():
    x = np.linspace(0, 1, 50)
    assert logistic_fit(x, 2 * x + 1) == pytest.approx(2 * x + 1, abs=1e-4)


def test_a_fit_that_does_not_converge_says_so():
    x = np.linspace(0, 10, 50)  # the exponential, too, is a limit, but one that no step reaches
    with pytest.raises(ValueError, match="no convergence in 5000 steps"):
        logistic_fit(x, np.exp(x))


def test_the_published_scores_gain_from_the_fit():
    scores, mos = published()
    after = correlations(logistic_fit(scores, mos), mos)
    assert after.plcc >= correlations(scores, mos).plcc
    assert after.rmse <= correlations(scores, mos).rmse


def test_pairs_count_when_strictly_in_order():
    scores = [0.9, 0.5, 0.5, 0.1]
    assert pair_accuracy(scores, [(0, 1), (1, 3), (1, 2), (3, 0)]) == 0.5  # a tie and one the wrong way
    with pytest.raises(ValueError, match="P at least 1"):
        pair_accuracy(scores, np.empty((0, 2), int))


def noisy(relation, n: int = 200, noise: float = 0.02, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 1, n))
    return x, relation(x) + rng.normal(0, noise, n)


def step(middle: float, width: float = 0.02):
    return lambda x: 1 / (1 + np.exp(-(x - middle) / width))


CURVES = {
    "falling": lambda x: 1 - step(0.5, 0.1)(x),
    "a late step": step(0.95),
    "an early falling step": lambda x: 1 - step(0.04)(x),
    "a line that falls": lambda x: 3 - 2 * x,
    "saturating": lambda x: 1 - np.exp(-6 * x),
    "falling, saturating": lambda x: np.exp(-6 * x),
}


@pytest.mark.parametrize("name", list(CURVES))
@pytest.mark.parametrize("units", [(1.0, 0.0), (1e-9, 0.0), (1e9, 0.0), (1e-3, 1e6), (-5.0, 2.0)])
def test_the_fit_finds_the_curve_from_any_start(name: str, units: tuple[float, float]):
    x, mos = noisy(CURVES[name])
    fitted = logistic_fit(units[0] * x + units[1], mos)
    reachable = pearson(CURVES[name](x), mos)
    assert pearson(fitted, mos) > reachable - 0.01
    assert pearson(fitted, mos) >= abs(pearson(x, mos)) - 1e-6, "a line is a curve, too"


@pytest.mark.parametrize("outliers", [[1e6], [-1e4], [50.0, -50.0]])
@pytest.mark.parametrize("sign", [1, -1])
def test_outliers_do_not_hide_the_curve(outliers: list[float], sign: int):
    x, mos = noisy(lambda x: 1 / (1 + np.exp(-sign * (x - 0.5) / 0.1)))
    fitted = logistic_fit(np.append(x, outliers), np.append(mos, [0.5] * len(outliers)))
    assert pearson(fitted[: len(x)], mos) > 0.97


@pytest.mark.parametrize("seed", range(30))
def test_a_fitted_plcc_is_never_negative(seed: int):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 40))
    x = rng.normal(0, 1, n) ** rng.choice([1, 3]) * 10.0 ** rng.integers(-12, 12) + rng.choice([0, 1e3])
    mos = rng.normal(0, 1, n).round(int(rng.integers(0, 3)))
    if np.ptp(x) == 0 or np.ptp(mos) == 0:
        pytest.skip("a constant side has no fit")
    try:
        fitted = logistic_fit(x, mos)
    except ValueError as error:
        assert "no convergence" in str(error)
        return
    assert np.ptp(fitted) == 0 or pearson(fitted, mos) >= abs(pearson(x, mos)) - 1e-3


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_units_of_mos_are_fitted(scale: float):
    x, mos = noisy(CURVES["falling"])
    assert pearson(logistic_fit(x * scale, mos * scale) / scale, mos) > 0.97


def test_two_levels_and_many_ties_are_fitted():
    x = np.repeat([0.0, 1.0], 20)
    mos = np.repeat([5.0, 1.0], 20) + np.tile([-0.1, 0.1], 20)
    assert pearson(logistic_fit(x, mos), mos) > 0.99
    mostly = np.append(np.zeros(60), np.linspace(0, 1, 20))
    assert pearson(logistic_fit(mostly, 1 - mostly), 1 - mostly) > 0.99
