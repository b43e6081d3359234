"""What an evaluation reports, on scores whose figures are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from mobileiqa.datasets.core import Sample
from mobileiqa.evaluation.results import evaluate, level_pairs, reference_groups
from mobileiqa.metrics import bootstrap, correlations


def sample(score: float, reference: str = "", distortion: int = 0, level: int = 0) -> Sample:
    name = f"distortion {distortion}" if distortion else ""
    return Sample(Path("x.png"), score, score, "test", reference, distortion, level, name)


def distorted(references: int = 6, distortions: int = 2) -> list[Sample]:
    """Every reference with every distortion at five levels, 0.9 down to 0.1."""
    return [
        sample(1.1 - 0.2 * level, f"r{r}", d, level)
        for r in range(references)
        for d in range(1, distortions + 1)
        for level in range(1, 6)
    ]


def test_figures_are_those_of_the_metrics():
    samples = [sample(v) for v in np.linspace(0.05, 0.9, 40)]
    labels = np.array([s.score for s in samples])
    scores = labels**2 + np.random.default_rng(0).normal(0, 0.05, 40)
    figures = evaluate(scores, samples, seed=4)
    intervals = bootstrap(scores, labels, seed=4)
    for name, value in correlations(scores, labels)._asdict().items():
        estimate = figures.metrics[name]
        assert (estimate.value, estimate.low, estimate.high) == (value, *intervals[name])
    assert figures.metrics["plcc_fitted"].value > figures.metrics["plcc"].value, (
        "a curve fits a square better"
    )
    assert figures.metrics["rmse_fitted"].value < figures.metrics["rmse"].value
    assert figures.metrics["rmse_fitted"].low < figures.metrics["rmse_fitted"].value
    assert (figures.n, figures.distortions, figures.pairs, figures.pair_accuracy) == (40, (), 0, None)


def test_distortions_and_pairs_of_levels():
    samples = distorted()
    # Distortion 1 is ranked well; in distortion 2 the levels 1 and 5 change places.
    swapped = {1: 5, 5: 1}
    scores = [
        s.score if s.distortion == 1 else 1.1 - 0.2 * swapped.get(s.level, s.level) + 0.001 for s in samples
    ]
    figures = evaluate(scores, samples, monotone={1, 2})
    first, second = figures.distortions
    assert (first.number, first.name, first.n, first.srcc) == (1, "distortion 1", 30, pytest.approx(1))
    assert second.srcc == pytest.approx(1 - 6 * (16 + 16) / (5 * 24))  # of five ranks, two are off by 4
    assert figures.weakest == second
    assert figures.pairs == 6 * 2 * 6
    assert figures.pair_accuracy == pytest.approx((6 + 1) / 12)  # of six pairs only (2, 4) keeps its order
    assert evaluate(scores, samples, monotone={1}).pair_accuracy == 1


def test_pairs_are_of_one_reference_one_monotone_distortion_and_two_levels():
    samples = [
        sample(0.9, "a", 1, 1), sample(0.2, "a", 1, 3), sample(0.5, "a", 1, 2), sample(0.5, "b", 1, 4),
        sample(0.5, "a", 2, 5), sample(0.5, "a", 18, 1), sample(0.5, "a", 18, 5), sample(0.5, "", 1, 5),
        sample(0.5, "a", 1, 0),
    ]  # fmt: skip
    assert level_pairs(samples, {1, 2}).tolist() == [[0, 1]]
    assert level_pairs(samples, ()).shape == (0, 2)


def test_references_are_resampled_whole_where_there_are_enough():
    assert reference_groups(distorted(4)) is None
    assert reference_groups([*distorted(6), sample(0.5)]) is None, "one image has no reference"
    samples = distorted(6)
    scores = np.array([s.score for s in samples]) + np.random.default_rng(1).normal(0, 0.1, len(samples))
    groups = [int(s.reference[1:]) for s in samples]
    labels = [s.score for s in samples]
    result = evaluate(scores, samples).metrics["srcc"]
    assert (result.low, result.high) == bootstrap(scores, labels, groups=groups)["srcc"]
    assert (result.low, result.high) != bootstrap(scores, labels)["srcc"]


def test_a_distortion_without_enough_images_has_no_figure():
    samples = [*distorted(distortions=1), sample(0.5, "r0", 7, 1), sample(0.6, "r1", 7, 2)]
    figures = evaluate([s.score for s in samples], samples)
    assert figures.distortions[1].srcc is None
    assert figures.weakest == figures.distortions[0]


def test_three_images_have_figures_but_no_fit():
    figures = evaluate([0.1, 0.2, 0.4], [sample(0.3), sample(0.2), sample(0.6)])
    assert "plcc_fitted" not in figures.metrics
    assert "at least 4 scores" in figures.fit_failure
    written = json.loads(json.dumps(figures.to_json(), allow_nan=False))
    assert written["metrics"]["srcc"]["value"] == pytest.approx(0.5)
    assert "fitted" not in written


def test_nothing_to_correlate_is_refused():
    with pytest.raises(ValueError, match="scores that differ"):
        evaluate([0.5] * 4, [sample(v) for v in (0.1, 0.2, 0.3, 0.4)])
