"""How well scores follow people's: SRCC, PLCC, KRCC, RMSE, MAE, the logistic fit, intervals, ranked pairs.

Scores and MOS are arrays (N,). RMSE and MAE are of the scores as they are: both sides must be in one unit.
Point values come from scipy. The bootstrap has its own formulas: a resample is the same rows with counts, so
nothing is sorted again, and a thousand resamples of ten thousand rows take seconds.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

MIN_ROWS = 3  # fewer have no meaningful rank correlation
CONFIDENCE = (2.5, 97.5)  # percentiles: a 95 % interval

_PARAMETERS = 4  # of the logistic curve
_MAX_STEPS = 5000  # most fits take 50; exactly exponential data never end
_STARTS, _FIRST_STEPS = 3, 300  # of the fit; the best of these steps goes on
_LEAST_WIDTH = 1e-9  # of the curve, in interquartile ranges of the scores
_RESAMPLES_AT_ONCE = 250  # bounds memory: 20 MB an array for 10,000 rows
_ROWS_AT_ONCE = 512

Rows = NDArray[np.float64]


class Correlations(NamedTuple):
    """Correlations in -1..1 (1 is best); errors in the scores' unit (0 is best)."""

    srcc: float
    plcc: float
    krcc: float
    rmse: float
    mae: float


def correlations(scores: ArrayLike, mos: ArrayLike) -> Correlations:
    """Spearman, Pearson and Kendall (tau-b) correlation, RMSE and MAE of (N,) and (N,).

    Ties count by mean rank. Raises UserError (a ValueError) for different lengths, fewer than three rows,
    values that are not finite, and a side that is constant: it has no correlation.
    """
    from scipy import stats

    x, y = _checked(scores, mos)
    return Correlations(
        float(stats.spearmanr(x, y).statistic),
        float(stats.pearsonr(x, y).statistic),
        float(stats.kendalltau(x, y).statistic),
        float(np.sqrt(np.mean((x - y) ** 2))),
        float(np.mean(np.abs(x - y))),
    )


def logistic_fit(scores: ArrayLike, mos: ArrayLike) -> Rows:
    """The scores (N,) mapped to MOS by the least-squares logistic curve; PLCC and RMSE after it are "fitted".

    f(s) = b2 + (b1 - b2) / (1 + exp(-(s - b3) / b4)), the curve of VQEG's FR-TV phase I report (2000). It may
    also fall: a fitted PLCC says nothing about the direction, SRCC does, and is never negative. The best of several
    starts is taken, each the best curve of its place and width, rising or falling. Raises UserError as
    `correlations` does, for fewer than four rows, and when the fit does not converge.
    """
    x, y = _checked(scores, mos, _PARAMETERS)
    s, (target, shift, scale) = _robust(x), _standardised(y)
    with np.errstate(over="ignore", invalid="ignore"):
        fits = [_least_squares(s, target, start, _FIRST_STEPS) for start in _starts(s, target)]
        best = min(fits, key=lambda fit: fit.cost)
        if not best.success:
            best = _least_squares(s, target, best.x, _MAX_STEPS)
    fitted = shift + scale * _curve(s, best.x)
    if not best.success or not np.isfinite(fitted).all():
        raise UserError(
            "scores that a logistic curve maps to MOS",
            f"no convergence in {best.nfev} steps",
            "use the figures without the fit",
        )
    return fitted


def _curve(s: Rows, b: Rows) -> Rows:
    """b: top, bottom, middle, width; a negative width falls."""
    return b[1] + (b[0] - b[1]) * _rise(s, b)[0]


def _rise(s: Rows, b: Rows) -> tuple[Rows, Rows, float]:
    """The curve between 0 and 1, its argument, and the width that keeps it finite."""
    from scipy.special import expit

    width = float(b[3]) if abs(b[3]) > _LEAST_WIDTH else _LEAST_WIDTH
    argument = (s - b[2]) / width
    return expit(argument), argument, width


def _slopes(s: Rows, b: Rows) -> Rows:
    """The curve's derivatives by b, (N, 4)."""
    rise, argument, width = _rise(s, b)
    steep = (b[0] - b[1]) * rise * (1 - rise) / width
    return np.stack([rise, 1 - rise, -steep, -steep * argument], axis=1)


def _least_squares(s: Rows, target: Rows, start: Rows, steps: int) -> "OptimizeResult":
    from scipy.optimize import least_squares

    return least_squares(
        lambda b: _curve(s, b) - target,
        start,
        lambda b: _slopes(s, b),
        method="lm",
        x_scale="jac",
        max_nfev=steps,
    )


def _starts(s: Rows, target: Rows) -> list[Rows]:
    """The _STARTS best curves of a grid of middles and widths: top and bottom are linear, so solved for exactly.

    Widths reach from a step to a straight line, so that the fit is never worse than a line's. Only curves of
    different middles are kept: their neighbours end in the same minimum.
    """
    from scipy.special import expit

    spread = np.ptp(np.quantile(s, (0.1, 0.9))) or np.ptp(s)
    middles = np.unique(np.quantile(s, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)))
    widths = (spread / 64, spread / 16, spread / 4, spread, 100 * np.ptp(s))
    curves: list[tuple[float, Rows]] = []
    for middle in middles:
        candidates = []
        for width in widths:
            rising = expit((s - middle) / width)
            slope, bottom = np.polyfit(rising, target, 1) if np.ptp(rising) > _LEAST_WIDTH else (0.0, 0.0)
            error = float(np.sum((bottom + slope * rising - target) ** 2))
            candidates.append((error, np.array([bottom + slope, bottom, middle, width])))
        curves.append(min(candidates, key=lambda curve: curve[0]))
    return [start for _, start in sorted(curves, key=lambda curve: curve[0])[:_STARTS]]


def pair_accuracy(scores: ArrayLike, pairs: ArrayLike) -> float:
    """The share (0..1) of pairs (P, 2) of row numbers whose first row scores higher; a tie counts as wrong.

    Raises UserError when there is no pair.
    """
    values, rows = np.asarray(scores, np.float64), np.asarray(pairs, np.int64)
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
        raise UserError("pairs of shape (P, 2), P at least 1", f"shape {rows.shape}", "give pairs to compare")
    return float(np.mean(values[rows[:, 0]] > values[rows[:, 1]]))


def bootstrap(
    scores: ArrayLike,
    mos: ArrayLike,
    statistics: Sequence[str] = Correlations._fields,
    n: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals (low, high) of `statistics`, fields of Correlations, from n resamples.

    Rows are drawn with replacement; with `groups`, integers (N,), whole groups are: images of one reference
    are not independent, and drawing them one by one would give intervals that are too narrow. A resample in
    which a side is constant has no correlation and is left out. The same n, seed and groups give the same
    resamples for any scores, so that models can be compared. Raises UserError as `correlations` does.
    """
    x, y = _checked(scores, mos)
    unknown = [name for name in statistics if name not in Correlations._fields]
    if unknown or n < 1:
        raise ValueError(f"expected statistics of {Correlations._fields} and n >= 1; found {unknown}, n={n}")
    units = np.arange(len(x)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if units.shape != x.shape:
        raise UserError(f"groups of shape {x.shape}", f"{units.shape}", "give one group a row")
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, n, _RESAMPLES_AT_ONCE):
        drawn = _draws(rng, min(_RESAMPLES_AT_ONCE, n - start), int(units.max()) + 1)
        parts.append(_resampled(x, y, drawn[:, units], statistics))
    return {
        name: tuple(float(v) for v in np.nanpercentile(np.concatenate([p[name] for p in parts]), CONFIDENCE))
        for name in statistics
    }


def _checked(scores: ArrayLike, mos: ArrayLike, at_least: int = MIN_ROWS) -> tuple[Rows, Rows]:
    x, y = np.asarray(scores, np.float64), np.asarray(mos, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise UserError("scores (N,) and MOS (N,)", f"{x.shape} and {y.shape}", "give one score per MOS")
    if len(x) < at_least:
        raise UserError(f"at least {at_least} scores", f"{len(x)}", "evaluate more images")
    for name, values in (("scores", x), ("MOS", y)):
        if not np.isfinite(values).all():
            odd = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UserError(f"finite {name}", f"{values[odd]} in row {odd}", "check where they come from")
        if np.ptp(values) == 0:
            raise UserError(
                f"{name} that differ", f"{values[0]:g} {len(x)} times", "check the model and data"
            )
    return x, y


def _draws(rng: np.random.Generator, n: int, units: int) -> NDArray[np.float32]:
    """(n, units): how often each unit is drawn when `units` of them are, with replacement."""
    drawn = rng.integers(0, units, (n, units)) + units * np.arange(n)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * units).reshape(n, units).astype(np.float32)


def _resampled(
    x: Rows, y: Rows, counts: NDArray[np.float32], statistics: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Each statistic of every resample: counts (B, N) -> (B,)."""
    table = {
        "srcc": lambda: _pearson(_ranks(x, counts), _ranks(y, counts), counts),
        "plcc": lambda: _pearson(_standardised(x)[0], _standardised(y)[0], counts),
        "krcc": lambda: _kendall(x, y, counts),
        "rmse": lambda: np.sqrt(counts @ (x - y) ** 2 / counts.sum(1)),
        "mae": lambda: counts @ np.abs(x - y) / counts.sum(1),
    }
    return {name: table[name]() for name in statistics}


def _standardised(x: Rows) -> tuple[Rows, float, float]:
    """z of mean 0 and deviation 1, shift and scale: x = shift + scale * z, whatever x's offset and range."""
    low, width = float(x.min()), float(np.ptp(x))
    unit = (x - low) / width
    mean, deviation = float(unit.mean()), float(unit.std())
    return (unit - mean) / deviation, low + width * mean, width * deviation


def _robust(x: Rows) -> Rows:
    """x about its median in interquartile ranges: an outlier does not squeeze the rest together."""
    unit = (x - x.min()) / np.ptp(x)
    spread = np.ptp(np.quantile(unit, (0.25, 0.75))) or unit.std()
    return (unit - np.median(unit)) / spread


def _per_value(x: Rows, counts: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How often each distinct value occurs in every resample, (B, K), and which value each row has, (N,)."""
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.diff(x[order], prepend=-np.inf))
    value = np.empty(len(x), np.int64)
    value[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(x)))
    return np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.float64), value


def _ranks(x: Rows, counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean rank of every row in every resample, (B, N)."""
    occurs, value = _per_value(x, counts)
    return (np.cumsum(occurs, axis=1) - (occurs - 1) / 2)[:, value]


def _pearson(x: Rows, y: Rows, counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """x and y (N,) or (B, N), spread about 1 or more -> (B,); NaN where a side is constant, but for rounding."""
    total = counts.sum(1, keepdims=True, dtype=np.float64)
    x = x - np.sum(counts * x, 1, keepdims=True) / total
    y = y - np.sum(counts * y, 1, keepdims=True) / total
    spread = np.sqrt(np.sum(counts * x * x, 1) * np.sum(counts * y * y, 1))
    return np.divide(
        np.sum(counts * x * y, 1), spread, out=np.full(len(spread), np.nan), where=spread > 1e-12
    )


def _kendall(x: Rows, y: Rows, counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """tau-b = w'Sw / sqrt((n^2 - sum tx^2) (n^2 - sum ty^2)), S the pairs' signs, t the sizes of ties.

    float32 is exact here: the sums are integers far below 2^24.
    """
    order = np.argsort(x, kind="stable")
    (tx, rank_x), (ty, rank_y) = _per_value(x, counts), _per_value(y, counts)
    a, b = (rank[order].astype(np.float32) for rank in (rank_x, rank_y))
    w = counts[:, order]
    agreement = np.zeros(len(counts))
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        # S is symmetric: columns left of the block are counted with the block they belong to.
        signs = np.sign(a[start:, None] - a[rows]) * np.sign(b[start:, None] - b[rows])
        right = w[:, start:].copy()
        right[:, _ROWS_AT_ONCE:] *= 2
        agreement += np.sum(w[:, rows] * (right @ signs), axis=1, dtype=np.float64)
    square = counts.sum(1, dtype=np.float64) ** 2
    spread = np.sqrt((square - np.sum(tx**2, 1)) * (square - np.sum(ty**2, 1)))
    return np.divide(agreement, spread, out=np.full(len(spread), np.nan), where=spread > 0)
