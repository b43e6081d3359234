"""Is one set of times slower than another, and by how much: Mann-Whitney's U and a bootstrap interval.

Times are skewed and have outliers, so both work on ranks and medians, not on means. Runs of one launch resemble
each other more than runs of two launches do: the interval resamples launches first and runs within them, and is
honest about that; U takes all runs as independent, which is why a gate must not rest on its p alone.
"""

import math
from collections.abc import Sequence

import numpy as np

EXACT_PAIRS = 2500  # up to 50 x 50 runs are counted exactly; beyond, the normal approximation is good to 1e-4
RESAMPLES = 2000
_CHUNK_VALUES = 1 << 20  # keeps the resampled runs under some 20 MB at a time


def mann_whitney(candidate: Sequence[float], reference: Sequence[float]) -> float:
    """One-sided p in 0..1: how probable times as high as the candidate's are when both are distributed alike.

    Exact where no two values tie and there are at most 2500 pairs; else the normal approximation with the tie
    and continuity corrections (Mann and Whitney 1947; Lehmann, Nonparametrics, 1975). Raises ValueError for an
    empty side or a value that is not finite.
    """
    first, second = (np.asarray(side, dtype=np.float64) for side in (candidate, reference))
    if not first.size or not second.size or not np.isfinite(np.concatenate([first, second])).all():
        raise ValueError("Mann-Whitney needs values on both sides, all of them finite")
    higher = int((first[:, None] > second[None, :]).sum())
    equal = int((first[:, None] == second[None, :]).sum())
    _, ties = np.unique(np.concatenate([first, second]), return_counts=True)
    if ties.max() == 1 and first.size * second.size <= EXACT_PAIRS:
        return _exact(higher, first.size, second.size)
    return _normal(higher + equal / 2, first.size, second.size, ties)


def smallest_p(candidate_runs: int, reference_runs: int) -> float:
    """The least p that `mann_whitney` can reach: every run of one side above every run of the other."""
    return 1 / math.comb(candidate_runs + reference_runs, reference_runs)


def _exact(u: int, n: int, m: int) -> float:
    """P(U >= u): counts of the orders by U are the Gaussian binomial coefficient, prod (1-q^(m+i)) / (1-q^i)."""
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for power in range(n * m, m + i - 1, -1):  # times 1 - q^(m+i)
            counts[power] -= counts[power - m - i]
        for power in range(i, n * m + 1):  # divided by 1 - q^i
            counts[power] += counts[power - i]
    return sum(counts[u:]) / math.comb(n + m, n)


def _normal(u: float, n: int, m: int, ties: np.ndarray) -> float:
    total = n + m
    tied = float((ties.astype(np.float64) ** 3 - ties).sum())
    variance = n * m / 12 * (total + 1 - tied / (total * (total - 1)))
    if variance <= 0:  # all values are equal
        return 1.0
    z = (u - n * m / 2 - 0.5) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


def speed(
    candidate: Sequence[Sequence[float]],
    reference: Sequence[Sequence[float]],
    paired: bool = False,
    seed: int = 0,
) -> tuple[float, float, float]:
    """(speed, low, high): the reference's median over the candidate's, above 1 when the candidate is faster.

    Both are times by launch, (launches, runs), positive, in one unit. low..high is the 95 % percentile interval
    of a two-stage bootstrap (Davison and Hinkley 1997, section 3.8): launches, then runs within each. `paired`:
    launch k of both ran in the same turn, so the same launches are drawn for both and a drift cancels.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (candidate, reference)]
    if any(side.ndim != 2 or not side.size or not (side > 0).all() for side in sides):
        raise ValueError("speed needs positive times by launch, as many in each launch")
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // max(side.size for side in sides))
    ratios = []
    for start in range(0, RESAMPLES, chunk):
        count = min(chunk, RESAMPLES - start)
        launches = [generator.integers(len(side), size=(count, len(side))) for side in sides]
        if paired and len(sides[0]) == len(sides[1]):
            launches[1] = launches[0]
        slow, fast = (_medians(side, picked, generator) for side, picked in zip(sides, launches, strict=True))
        ratios.append(fast / slow)
    low, high = np.percentile(np.concatenate(ratios), (2.5, 97.5))
    return float(np.median(sides[1]) / np.median(sides[0])), float(low), float(high)


def _medians(times: np.ndarray, launches: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Medians (count,) of runs drawn from the launches (count, L) that were drawn."""
    runs = generator.integers(times.shape[1], size=(*launches.shape, times.shape[1]))
    drawn = times[launches[..., None], runs]
    return np.median(drawn.reshape(len(launches), -1), axis=1)
