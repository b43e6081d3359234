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
    found = agreement(fp32, candidate, names(4))
    assert found.correlations["srcc"].value == pytest.approx(1 - 6 * 2 / (4 * 15))  # two ranks off by one
    assert found.correlations["krcc"].value == pytest.approx((5 - 1) / 6)
    assert found.mean_shift == pytest.approx(0.3 / 4) and found.max_shift == pytest.approx(0.1)
    assert found.bias == pytest.approx(0.1 / 4) and found.spread == pytest.approx(0.3)
    assert (found.pairs, found.pair_reversed, found.pair_tied) == (6, pytest.approx(1 / 6), 0)
    assert found.pair_flips == pytest.approx(1 / 6)
    assert (found.distinct, found.distinct_fp32) == (4, 4) and found.smallest_gap == pytest.approx(0.1)
    assert {w.image for w in found.worst[:3]} == {"1.png", "2.png", "3.png"} and found.failure == ""


def test_a_pair_that_becomes_a_tie_counts_half_and_one_that_was_a_tie_not_at_all() -> None:
    fp32, candidate = np.array([0.0, 0.0, 1.0, 2.0, 3.0]), np.array([0.0, 5.0, 1.0, 1.0, 1.0])
    # Of 10 pairs FP32 ties one. (2,3), (2,4), (3,4) become ties; image 1 is reversed against 2, 3 and 4.
    assert tied_pairs(fp32, candidate) == (3, 9)
    found = agreement(fp32, candidate, names(5))
    assert (found.pairs, found.pair_reversed, found.pair_tied) == (
        9,
        pytest.approx(3 / 9),
        pytest.approx(3 / 9),
    )
    assert found.pair_flips == pytest.approx(4.5 / 9)
    assert (found.distinct, found.distinct_fp32, found.smallest_gap) == (3, 4, 1)


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
    found = threshold_flips(fp32, candidate)
    assert found.mean == pytest.approx(3 * 0.1 / 9) and found.worst == pytest.approx(0.1)
    assert found.worst_threshold == pytest.approx(0.45)
    nudged = threshold_flips(fp32, fp32 - 1e-9)
    assert (nudged.mean, nudged.worst) == (0, 0)  # a shift of nothing crosses nothing
    assert threshold_flips(fp32[:1], fp32[:1]) is None


def test_constant_scores_have_shifts_but_no_ranking() -> None:
    found = agreement(np.array([0.1, 0.2, 0.6]), np.full(3, 0.2), names(3))
    assert "differ" in found.failure and found.correlations == {}
    assert found.mean_shift == pytest.approx(0.5 / 3)
    assert (found.pair_reversed, found.pair_tied, found.pair_flips) == (
        0,
        1,
        0.5,
    )  # nothing but chance is left
    assert (found.distinct, found.smallest_gap) == (1, None)
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
    found = agreement(np.array(fp32), np.array(candidate), names(n))
    assert found.failure == words and found.correlations == {}
    assert (found.mean_shift, found.pair_flips, found.thresholds, found.worst) == (None, None, None, ())


def test_two_images_are_no_ranking() -> None:
    assert "at least 3" in agreement(np.array([0.1, 0.2]), np.array([0.1, 0.2]), names(2)).failure


def test_the_drop_is_paired() -> None:
    """Labels that both files miss alike: each SRCC is uncertain, their difference is not."""
    rng = np.random.default_rng(1)
    labels = rng.uniform(size=60)
    fp32 = labels + rng.normal(0, 0.3, 60)
    candidate = fp32 + rng.normal(0, 0.01, 60)
    found = labelled(fp32, candidate, samples(labels))
    before, after, drop = found.fp32["srcc"], found.candidate["srcc"], found.drop
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
    found = labelled(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]), samples([0.5] * 3))
    assert found.drop is None and "MOS that differ" in found.failure and found.fp32 == {}
    worse = labelled(np.array([0.1, 0.2, 0.3]), np.full(3, 0.1), samples([0.1, 0.5, 0.6]))
    assert worse.drop is None and "scores that differ" in worse.failure and "srcc" in worse.fp32
