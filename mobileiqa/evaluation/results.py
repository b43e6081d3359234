"""What an evaluation says of one model's scores on labelled images, in the papers' terms; no files, no model."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import metrics
from mobileiqa.datasets.core import Sample
from mobileiqa.errors import UserError, one_line

RESAMPLES = 1000
LEVEL_GAP = 2  # levels one apart are often too close for people, too
MIN_REFERENCES = 5  # fewer say nothing about other references: images are resampled instead

FITTED = ("plcc", "rmse")  # what is also reported after the logistic fit


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    @property
    def bounded(self) -> list[float]:
        """The figure, then its interval: as JSON has it."""
        return [self.value, self.low, self.high]


@dataclass(frozen=True)
class Distortion:
    """SRCC among the images of one distortion; None where labels or scores do not allow one."""

    number: int
    name: str
    n: int
    srcc: float | None


@dataclass(frozen=True)
class Evaluation:
    """One model on n images.

    metrics: the fields of metrics.Correlations, then plcc_fitted and rmse_fitted unless `fit_failure` says
    why there are none. pair_accuracy: of `pairs` pairs of one reference and distortion, levels LEVEL_GAP or
    more apart, the share whose milder level scores higher; None without pairs. fitted: the scores after the
    logistic fit, (n,).
    """

    n: int
    metrics: dict[str, Estimate]
    fit_failure: str
    distortions: tuple[Distortion, ...]
    pairs: int
    pair_accuracy: float | None
    fitted: NDArray[np.float64] | None = field(repr=False, compare=False)

    @property
    def weakest(self) -> Distortion | None:
        """The distortion of the lowest SRCC."""
        known = [d for d in self.distortions if d.srcc is not None]
        return min(known, key=lambda d: d.srcc or 0.0, default=None)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, without the fitted scores."""
        fields = asdict(self)
        del fields["fitted"]
        weakest = self.weakest
        return {**fields, "weakest_distortion": asdict(weakest) if weakest else None}


def evaluate(
    scores: Sequence[float],
    samples: Sequence[Sample],
    monotone: Collection[int] = (),
    seed: int = 0,
) -> Evaluation:
    """The evaluation of `scores`, one per sample, higher being better, in the unit of Sample.score (0..1).

    monotone: numbers of the distortions whose quality falls with every level; only they are compared in
    pairs. Raises UserError when there is nothing to correlate (see metrics.correlations).
    """
    predicted, labels = np.asarray(scores, np.float64), np.array([s.score for s in samples])
    values = metrics.correlations(predicted, labels)._asdict()
    groups = reference_groups(samples)
    intervals = metrics.bootstrap(predicted, labels, n=RESAMPLES, seed=seed, groups=groups)
    fitted, failure = _fit(predicted, labels)
    if fitted is not None:
        after = metrics.correlations(fitted, labels)._asdict()
        bounds = metrics.bootstrap(fitted, labels, FITTED, RESAMPLES, seed, groups)  # the fit stays the same
        values |= {f"{name}_fitted": after[name] for name in FITTED}
        intervals |= {f"{name}_fitted": bounds[name] for name in FITTED}
    pairs = level_pairs(samples, monotone)
    return Evaluation(
        len(samples),
        {name: Estimate(value, *intervals[name]) for name, value in values.items()},
        failure,
        by_distortion(predicted, labels, samples),
        len(pairs),
        metrics.pair_accuracy(predicted, pairs) if len(pairs) else None,
        fitted,
    )


def _fit(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, str]:
    """The fitted scores, or None and why there are none."""
    try:
        fitted = metrics.logistic_fit(scores, labels)
    except UserError as error:
        return None, one_line(str(error))
    return (fitted, "") if np.ptp(fitted) > 0 else (None, "the fitted curve is flat")


def reference_groups(samples: Sequence[Sample]) -> NDArray[np.int64] | None:
    """Each sample's reference as a number, (N,); None where images must be resampled one by one."""
    names = [sample.reference for sample in samples]
    if not all(names) or len(set(names)) < MIN_REFERENCES:
        return None
    return np.unique(names, return_inverse=True)[1]


def level_pairs(samples: Sequence[Sample], monotone: Collection[int]) -> NDArray[np.int64]:
    """Row numbers (P, 2), milder first: one reference, one monotone distortion, LEVEL_GAP levels or more."""
    series: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for row, sample in enumerate(samples):
        if sample.reference and sample.level > 0 and sample.distortion in monotone:
            series[sample.reference, sample.distortion].append((sample.level, row))
    pairs = [
        (row, worse)
        for rows in series.values()
        for (level, row), (worse_level, worse) in itertools.combinations(sorted(rows), 2)
        if worse_level - level >= LEVEL_GAP
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def by_distortion(
    scores: NDArray[np.float64], labels: NDArray[np.float64], samples: Sequence[Sample]
) -> tuple[Distortion, ...]:
    """One row per known distortion, by number."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        if sample.distortion > 0:
            rows[sample.distortion].append(row)
    return tuple(
        Distortion(
            number, samples[indices[0]].distortion_name, len(indices), _srcc(scores[indices], labels[indices])
        )
        for number, indices in sorted(rows.items())
    )


def _srcc(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float | None:
    if len(scores) < metrics.MIN_ROWS or np.ptp(scores) == 0 or np.ptp(labels) == 0:
        return None
    return metrics.correlations(scores, labels).srcc
