"""What a converted file does to the scores: agreement with FP32, order of pairs, thresholds, steps, labels.

Scores are arrays (N,), float64, one per image, in units of the score range with higher being better. Nothing
is skipped: scores of different counts, or one that is not finite, leave every figure at None and say why.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convert.comparison import compare
from mobileiqa import metrics
from mobileiqa.datasets.core import Sample
from mobileiqa.errors import UserError, one_line
from mobileiqa.evaluation.results import RESAMPLES, Estimate, reference_groups

Scores = NDArray[np.float64]

RANKED = ("srcc", "plcc", "krcc")
QUANTILES = tuple(k / 10 for k in range(1, 10))  # of the FP32 scores: where an app could put a threshold
WORST = 5  # images listed


@dataclass(frozen=True)
class Thresholds:
    """Shares (0..1) of images on the other side of a threshold: mean and worst over thresholds, and the worst one."""

    mean: float
    worst: float
    worst_threshold: float


@dataclass(frozen=True)
class Shifted:
    """One image, and its score in both files."""

    image: str
    fp32: float
    candidate: float


@dataclass(frozen=True)
class Agreement:
    """A file's scores against FP32's, on n images; None: could not be computed.

    correlations: srcc, plcc, krcc, empty where `failure` says why. mean_shift and max_shift are of |d|, bias of
    d = converted - FP32. Of the `pairs` of images that FP32 tells apart, pair_reversed is the share that
    changes order and pair_tied the share that becomes a tie. spread: the largest FP32 score less the smallest.
    smallest_gap: between two scores of the file that differ. reasons_agree: the share (0..1) of images whose likeliest
    reason is FP32's; None for a model without reasons.
    """

    n: int
    failure: str
    correlations: dict[str, Estimate]
    mean_shift: float | None = None
    max_shift: float | None = None
    bias: float | None = None
    spread: float | None = None
    pairs: int = 0
    pair_reversed: float | None = None
    pair_tied: float | None = None
    thresholds: Thresholds | None = None
    distinct: int = 0
    distinct_fp32: int = 0
    smallest_gap: float | None = None
    worst: tuple[Shifted, ...] = ()
    reasons_agree: float | None = None

    @property
    def pair_flips(self) -> float | None:
        """The share of pairs whose order changes; a new tie counts half: whatever breaks it is right half the time."""
        if self.pair_reversed is None or self.pair_tied is None:
            return None
        return self.pair_reversed + self.pair_tied / 2


@dataclass(frozen=True)
class Labelled:
    """Both files against the labels; `drop` is FP32's SRCC less the converted file's, on the same resamples."""

    failure: str
    fp32: dict[str, Estimate]
    candidate: dict[str, Estimate]
    drop: Estimate | None = None


def agreement(
    fp32: Scores, converted: Scores, images: Sequence[str], groups: NDArray[np.int64] | None = None
) -> Agreement:
    """How well `converted` follows `fp32` over `images`; `groups` as in metrics.bootstrap."""
    n = len(images)
    if failure := _incomparable(fp32, converted, images):
        return Agreement(n, failure, {})
    correlations, failure = _correlated(converted, fp32, groups)
    shift = converted - fp32
    levels = np.unique(converted)
    ties, pairs = tied_pairs(fp32, converted)
    return Agreement(
        n,
        failure,
        correlations,
        mean_shift=float(np.abs(shift).mean()),
        max_shift=float(np.abs(shift).max()),
        bias=float(shift.mean()),
        spread=float(np.ptp(fp32)),
        pairs=pairs,
        pair_reversed=compare.pair_flips(fp32, converted),
        pair_tied=ties / pairs if pairs else None,
        thresholds=threshold_flips(fp32, converted),
        distinct=len(levels),
        distinct_fp32=len(np.unique(fp32)),
        smallest_gap=float(np.diff(levels).min()) if len(levels) > 1 else None,
        worst=tuple(
            Shifted(images[i], float(fp32[i]), float(converted[i]))
            for i in np.argsort(-np.abs(shift), kind="stable")[:WORST]
        ),
    )


def _incomparable(fp32: Scores, converted: Scores, images: Sequence[str]) -> str:
    """Why there is nothing to compare, or an empty string."""
    if not images:
        return "zero images"
    if not len(fp32) == len(converted) == len(images):
        return f"{len(converted)} scores and {len(fp32)} of FP32 for {len(images)} images"
    for whose, scores in (("FP32's", fp32), ("the", converted)):
        if odd := np.flatnonzero(~np.isfinite(scores)).tolist():
            return f"{whose} score of {images[odd[0]]} is {scores[odd[0]]} ({len(odd)} not finite)"
    return ""


def _correlated(
    scores: Scores, truth: Scores, groups: NDArray[np.int64] | None
) -> tuple[dict[str, Estimate], str]:
    """RANKED with their intervals, or nothing and why."""
    try:
        values = metrics.correlations(scores, truth)._asdict()
        bounds = metrics.bootstrap(scores, truth, RANKED, RESAMPLES, groups=groups)
    except UserError as error:
        return {}, one_line(str(error))
    return {name: Estimate(values[name], *bounds[name]) for name in RANKED}, ""


def tied_pairs(before: Scores, after: Scores) -> tuple[int, int]:
    """How many pairs that differ in `before` are tied in `after`, and how many differ in `before`."""

    def ties(rows: NDArray[np.float64]) -> int:
        counts = np.unique(rows, axis=0, return_counts=True)[1]
        return int((counts * (counts - 1) // 2).sum())

    n = len(before)
    return ties(after) - ties(np.stack([before, after], axis=1)), n * (n - 1) // 2 - ties(before)


def threshold_flips(fp32: Scores, converted: Scores) -> Thresholds | None:
    """Thresholds lie halfway between the two FP32 scores on either side of each quantile; None below two images.

    On a score itself a threshold would turn every shift of that image, however small, into a flip.
    """
    n = len(fp32)
    if n < 2:
        return None
    ranked = np.sort(fp32)
    splits = [min(max(round(q * n), 1), n - 1) for q in QUANTILES]
    thresholds = np.array([(ranked[k - 1] + ranked[k]) / 2 for k in splits])
    shares = np.mean((fp32[:, None] >= thresholds) != (converted[:, None] >= thresholds), axis=0)
    worst = int(shares.argmax())
    return Thresholds(float(shares.mean()), float(shares[worst]), float(thresholds[worst]))


def labelled(fp32: Scores, converted: Scores, samples: Sequence[Sample]) -> Labelled:
    """Both files against the samples' labels; resampled by reference where the set has references."""
    labels = np.array([sample.score for sample in samples])
    groups = reference_groups(samples)
    before, failure = _correlated(fp32, labels, groups)
    after, other = _correlated(converted, labels, groups)
    if failure or other:
        return Labelled(f"FP32: {failure}" if failure else other, before, after)
    return Labelled("", before, after, srcc_drop(fp32, converted, labels, groups))


def srcc_drop(
    fp32: Scores, converted: Scores, labels: Scores, groups: NDArray[np.int64] | None = None
) -> Estimate:
    """FP32's SRCC against the labels less the converted file's, and its paired 95 % interval.

    metrics.bootstrap draws the same rows for the same seed whatever the scores are, so one resample a seed
    gives both files' SRCC on the same images: what these images have in common cancels. Resamples without a
    correlation are left out. Raises UserError as metrics.correlations does.
    """
    value = metrics.correlations(fp32, labels).srcc - metrics.correlations(converted, labels).srcc
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, at such a resample
        drops = [
            _resampled_srcc(fp32, labels, seed, groups) - _resampled_srcc(converted, labels, seed, groups)
            for seed in range(RESAMPLES)
        ]
    low, high = np.nanpercentile(drops, metrics.CONFIDENCE)
    return Estimate(value, float(low), float(high))


def _resampled_srcc(scores: Scores, labels: Scores, seed: int, groups: NDArray[np.int64] | None) -> float:
    return metrics.bootstrap(scores, labels, ("srcc",), n=1, seed=seed, groups=groups)["srcc"][0]
