"""The statistics, on scores whose figures can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from convert.accuracy_report import agreement as accuracy
from convert.accuracy_report.agreement import agreement, labelled, srcc_drop, threshold_flips, tied_pairs
from mobileiqa import metrics
from mobileiqa.datasets.core import Sample


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "RESAMPLES", 200)


def names(n: int) -> list[str]:
    return [f"{i}.png" for i in range(n)]


def samples(labels, references=None) -> tuple[Sample, ...]:
    references = references or [""] * len(labels)
    return tuple(
        Sample(Path("x.png"), float(v), float(v), "test", r) for v, r in zip(labels, references, strict=True)
    )


def test_four_images_by_hand() -> None:
    fp32, candidate = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1, 0.3, 0.2, 0.5])
    shift = agreement(fp32, candidate, names(4))
    assert shift.correlations["srcc"].value == pytest.approx(1 - 6 * 2 / (4 * 15))  # two ranks off by one
    assert shift.correlations["krcc"].value == pytest.approx((5 - 1) / 6)
    assert shift.mean_shift == pytest.approx(0.3 / 4) and shift.max_shift == pytest.approx(0.1)
    assert shift.bias == pytest.approx(0.1 / 4) and shift.spread == pytest.approx(0.3)
    assert (shift.pairs, shift.pair_reversed, shift.pair_tied) == (6, pytest.approx(1 / 6), 0)
    assert shift.pair_flips == pytest.approx(1 / 6)
    assert (shift.distinct, shift.distinct_fp32) == (4, 4) and shift.smallest_gap == pytest.approx(0.1)
    assert {w.image for w in shift.worst[:3]} == {"1.png", "2.png", "3.png"} and shift.failure == ""


def test_a_pair_that_becomes_a_tie_counts_half_and_one_that_was_a_tie_not_at_all() -> None:
    fp32, candidate = np.array([0.0, 0.0, 1.0, 2.0, 3.0]), np.array([0.0, 5.0, 1.0, 1.0, 1.0])
    # Of 10 pairs FP32 ties one. (2,3), (2,4), (3,4) become ties; image 1 is reversed against 2, 3 and 4.
    assert tied_pairs(fp32, candidate) == (3, 9)
    shift = agreement(fp32, candidate, names(5))
    assert (shift.pairs, shift.pair_reversed, shift.pair_tied) == (
        9,
        pytest.approx(3 / 9),
        pytest.approx(3 / 9),
    )
    assert shift.pair_flips == pytest.approx(4.5 / 9)
    assert (shift.distinct, shift.distinct_fp32, shift.smallest_gap) == (3, 4, 1)


def test_tied_pairs_are_those_of_a_count() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40) / 10, rng.integers(0, 4, 40) / 10
    pairs = [(i, j) for i in range(40) for j in range(i)]
    assert tied_pairs(a, b) == (
        sum(a[i] != a[j] and b[i] == b[j] for i, j in pairs),
        sum(a[i] != a[j] for i, j in pairs),
    )


def test_thresholds_lie_between_scores() -> None:
    """Ten scores: nine thresholds, 0.05 .. 0.85. Image 4 (0.4) rises to 0.7: it crosses 0.45, 0.55, 0.65."""
    fp32 = np.arange(10) / 10
    candidate = fp32.copy()
    candidate[4] = 0.7
    flips = threshold_flips(fp32, candidate)
    assert flips.mean == pytest.approx(3 * 0.1 / 9) and flips.worst == pytest.approx(0.1)
    assert flips.worst_threshold == pytest.approx(0.45)
    nudged = threshold_flips(fp32, fp32 - 1e-9)
    assert (nudged.mean, nudged.worst) == (0, 0)  # a shift of nothing crosses nothing
    assert threshold_flips(fp32[:1], fp32[:1]) is None


def test_constant_scores_have_shifts_but_no_ranking() -> None:
    shift = agreement(np.array([0.1, 0.2, 0.6]), np.full(3, 0.2), names(3))
    assert "differ" in shift.failure and shift.correlations == {}
    assert shift.mean_shift == pytest.approx(0.5 / 3)
    assert (shift.pair_reversed, shift.pair_tied, shift.pair_flips) == (
        0,
        1,
        0.5,
    )  # nothing but chance is left
    assert (shift.distinct, shift.smallest_gap) == (1, None)
    flat = agreement(np.full(3, 0.2), np.array([0.1, 0.2, 0.6]), names(3))
    assert flat.failure and (flat.pairs, flat.pair_reversed, flat.pair_flips) == (0, None, None)


@pytest.mark.parametrize(
    ("fp32", "candidate", "n", "words"),
    [
        ([0.1, 0.2, 0.3], [0.1, np.nan, 0.3], 3, "the score of 1.png is nan (1 not finite)"),
        ([0.1, np.inf, np.nan], [0.1, 0.2, 0.3], 3, "FP32's score of 1.png is inf (2 not finite)"),
        ([0.1, 0.2, 0.3], [0.1, 0.2], 3, "2 scores and 3 of FP32 for 3 images"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 2, "3 scores and 3 of FP32 for 2 images"),
        ([], [], 0, "zero images"),
    ],
)
def test_what_cannot_be_compared_has_no_figures(fp32, candidate, n, words) -> None:
    shift = agreement(np.array(fp32), np.array(candidate), names(n))
    assert shift.failure == words and shift.correlations == {}
    assert (shift.mean_shift, shift.pair_flips, shift.thresholds, shift.worst) == (None, None, None, ())


def test_two_images_are_no_ranking() -> None:
    assert "at least 3" in agreement(np.array([0.1, 0.2]), np.array([0.1, 0.2]), names(2)).failure


def test_the_drop_is_paired() -> None:
    """Labels that both files miss alike: each SRCC is uncertain, their difference is not."""
    rng = np.random.default_rng(1)
    labels = rng.uniform(size=60)
    fp32 = labels + rng.normal(0, 0.3, 60)
    candidate = fp32 + rng.normal(0, 0.01, 60)
    accuracy = labelled(fp32, candidate, samples(labels))
    before, after, drop = accuracy.fp32["srcc"], accuracy.candidate["srcc"], accuracy.drop
    assert drop.value == pytest.approx(before.value - after.value) and drop.low <= drop.value <= drop.high
    assert drop.high - drop.low < 0.15 * (before.high - before.low)
    assert before.value == pytest.approx(metrics.correlations(fp32, labels).srcc)
    assert srcc_drop(fp32, fp32, labels) == type(drop)(0, 0, 0)


def test_references_are_drawn_whole() -> None:
    """Six photos, of which one alone loses its order: images one by one would look far surer than they are."""
    rng = np.random.default_rng(3)
    labels = np.tile(np.linspace(0, 1, 20), 6)
    fp32 = labels + rng.normal(0, 0.02, 120)
    candidate = fp32.copy()
    candidate[:20] = candidate[:20][::-1]
    references = [f"r{i}" for i in range(6) for _ in range(20)]
    grouped, single = (labelled(fp32, candidate, samples(labels, r)).drop for r in (references, None))
    assert grouped.value == single.value
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)


def test_labels_that_are_constant_have_no_drop() -> None:
    accuracy = labelled(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]), samples([0.5] * 3))
    assert accuracy.drop is None and "MOS that differ" in accuracy.failure and accuracy.fp32 == {}
    worse = labelled(np.array([0.1, 0.2, 0.3]), np.full(3, 0.1), samples([0.1, 0.5, 0.6]))
    assert worse.drop is None and "scores that differ" in worse.failure and "srcc" in worse.fp32
