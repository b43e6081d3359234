"""Every way in which two sets of scores can differ, and the figures where they can be compared."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from convert.comparison.compare import TOLERANCES, ParityStage, compare, pair_flips, sqnr_db, srcc

IMAGES = ["a", "b", "c", "d"]
SCORES = [np.float32([0.1]), np.float32([0.7]), np.float32([0.4]), np.float32([0.9])]


def stage(kind: str = "fp32") -> ParityStage:
    return ParityStage(kind, "published module", "file.tflite", "litert")


def moved(*by: float) -> list[np.ndarray]:
    return [np.float64(score) + shift for score, shift in zip(SCORES, by, strict=True)]


def test_equal_outputs_pass_with_figures():
    report = compare(stage(), SCORES, SCORES, IMAGES)
    assert report.passed and not report.reason
    assert (report.n, report.max_abs, report.mean_abs, report.bias) == (4, 0, 0, 0)
    assert report.srcc == pytest.approx(1)
    assert report.pair_flips == 0
    assert report.sqnr_db is None  # no error at all: JSON knows no infinity


def test_figures_of_a_known_shift():
    report = compare(stage("fp16"), SCORES, moved(1e-3, -1e-3, 1e-3, 1.5e-3), IMAGES)
    assert report.max_abs == pytest.approx(1.5e-3)
    assert report.mean_abs == pytest.approx(4.5e-3 / 4)
    assert report.bias == pytest.approx(2.5e-3 / 4)
    assert report.worst_image == "d"
    power = np.sum(np.concatenate(SCORES).astype(np.float64) ** 2)
    assert report.sqnr_db == pytest.approx(10 * np.log10(power / (3e-6 + 1.5e-3**2)))
    assert report.passed


def test_one_bad_image_is_not_averaged_away():
    report = compare(stage(), SCORES, moved(0, 0, 2e-4, 0), IMAGES)
    assert not report.passed
    assert report.worst_image == "c"
    assert "max_abs" in report.reason


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ([*SCORES[:3], np.float32([np.nan])], "output for d is not finite: nan"),
        ([*SCORES[:3], np.float32([-np.inf])], "output for d is not finite: -inf"),
        ([*SCORES[:3], None], "no output for d"),
        (SCORES[:3], "3 outputs for 4 images"),
        ([*SCORES, SCORES[0]], "5 outputs for 4 images"),
        ([*SCORES[:3], np.float32([[0.9]])], "output of shape (1, 1), expected (1,), for d"),
        ([*SCORES[:3], np.float32([0.9, 0.9])], "output of shape (2,), expected (1,), for d"),
    ],
)
def test_what_cannot_be_compared_fails_and_says_why(candidate: list[np.ndarray | None], reason: str):
    report = compare(stage("int8"), SCORES, candidate, IMAGES)
    assert not report.passed
    assert reason in report.reason
    assert report.max_abs is None


def test_zero_images_fail():
    report = compare(stage(), [], [], [])
    assert (report.passed, report.reason) == (False, "zero images")


def test_empty_outputs_fail():
    empty = [np.zeros(0, np.float32)] * 4
    assert "shape (0,)" in compare(stage(), empty, empty, IMAGES).reason


def test_a_reference_that_is_not_finite_fails():
    broken = [np.float32([np.nan]), *SCORES[1:]]
    assert "reference for a is not finite" in compare(stage(), broken, SCORES, IMAGES).reason


def test_a_reference_that_hardly_varies_proves_nothing():
    flat = [np.float32([0.5 + 1e-5 * i]) for i in range(4)]
    report = compare(stage(), flat, flat, IMAGES)
    assert not report.passed
    assert "any candidate would pass" in report.reason


def test_errors_are_in_units_of_the_score_range():
    report = compare(stage(), [100 * s for s in SCORES], [100 * s + 0.005 for s in SCORES], IMAGES, scale=100)
    assert report.max_abs == pytest.approx(5e-5, rel=1e-2)
    assert report.passed


def test_an_images_score_is_the_mean_of_its_crops():
    reference = [np.float32([s - 0.1, s + 0.1]) for s in (0.2, 0.4, 0.6, 0.8)]
    swapped = [crops[::-1].copy() for crops in reference]
    assert compare(stage(), reference, swapped, IMAGES).passed


def test_features_are_compared_element_by_element():
    rng = np.random.default_rng(0)
    reference = [rng.standard_normal((1, 3, 4)) for _ in IMAGES]
    report = compare(stage("features"), reference, [f[:, ::-1] for f in reference], IMAGES)
    assert not report.passed
    assert report.srcc is None


def test_int8_is_judged_by_ranking_and_mean():
    scores = [np.array([v]) for v in np.linspace(0, 1, 20)]
    names = [str(i) for i in range(20)]
    assert compare(stage("int8"), scores, [s + 5e-3 for s in scores], names).passed
    assert "mean_abs" in compare(stage("int8"), scores, [s + 2e-2 for s in scores], names).reason
    swapped = [*scores[10:], *scores[:10]]
    assert "SRCC" in compare(stage("int8"), scores, swapped, names).reason


def test_int8_needs_enough_images_to_rank():
    report = compare(stage("int8"), SCORES[:2], SCORES[:2], IMAGES[:2])
    assert not report.passed
    assert "SRCC needs 3 images" in report.reason


def test_srcc_matches_scipy_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    assert srcc(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert srcc(a, np.ones(40)) is None
    assert srcc(a[:2], b[:2]) is None


def test_pair_flips_counts_opposite_orders():
    assert pair_flips(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(1 / 3)
    assert pair_flips(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == 1
    assert pair_flips(np.array([1.0, 1]), np.array([3.0, 2])) is None


def test_sqnr_of_a_hundredth_is_40_db():
    signal = np.random.default_rng(0).standard_normal(100)
    assert sqnr_db(signal, signal / 100) == pytest.approx(40)
    assert sqnr_db(signal, 0 * signal) is None


def test_reports_are_json_without_nan():
    for candidate in (SCORES, [None] * 4):
        text = json.dumps(compare(stage(), SCORES, candidate, IMAGES).to_json(), allow_nan=False)
        assert json.loads(text)["tolerance"]["reason"]


def test_the_table_of_tolerances_is_the_documented_one():
    limits = {kind: t.max_abs for kind, t in TOLERANCES.items() if t.max_abs}
    assert limits == {
        "features": 1e-3, "rewrite": 1e-4, "onnx": 1e-4, "fp32": 1e-4, "fp16": 2e-3, "fp16-arithmetic": 5e-3,
    }  # fmt: skip
    assert (TOLERANCES["int8"].min_srcc, TOLERANCES["int8"].mean_abs) == (0.99, 1e-2)
    assert all(t.reason for t in TOLERANCES.values())


def test_reports_are_frozen():
    report = compare(stage(), SCORES, SCORES, IMAGES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.passed = False
