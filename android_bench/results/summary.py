"""Summary of repeated measurements: the mean that published tables print, beside what a mean hides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Statistics of `count` values, in their own unit. `std` is the sample one, 0 for a single value."""

    count: int
    mean: float
    median: float
    p5: float
    p95: float
    std: float
    min: float
    max: float


def summarize(values: Sequence[float]) -> Summary:
    """Statistics of values; percentiles interpolate linearly. Raises ValueError when empty or not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"statistics need at least one value and only finite ones, got {list(values)}")
    p5, median, p95 = np.percentile(array, (5, 50, 95))
    return Summary(
        count=array.size,
        mean=float(array.mean()),
        median=float(median),
        p5=float(p5),
        p95=float(p95),
        std=float(array.std(ddof=1)) if array.size > 1 else 0.0,
        min=float(array.min()),
        max=float(array.max()),
    )


def middle_half(values: Sequence[float]) -> float:
    """Distance from the first to the third quartile, in the values' unit: scatter that outliers do not move."""
    low, high = np.percentile(np.asarray(values, dtype=np.float64), (25, 75))
    return float(high - low)
