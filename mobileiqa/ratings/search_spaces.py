"""Where each model's parameters are searched: variables in which its likelihood is well shaped, a box, starts.

1/s and mu/s for the location-scale models, whose likelihood is concave there; logit of the mean and log(a + b) for
beta; log a and logit of the median for Kumaraswamy, with several starts since its valleys are flat. The boxes end
where a law is one whole vote, or two at the ends, but for 1e-9 of its mass or so: votes without a finite optimum
end there. PUBLISHED are the bounds of the paper's code.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobileiqa.ratings import mean_variance_laws as laws
from mobileiqa.ratings import models

Values = NDArray[np.float64]
_MIDDLES = (np.arange(5) + 0.5) / 5  # of the categories on 0..1
_LARGEST_LOGIT = 25.0  # of mu: above, 1 - mu has too few digits left
_LOGISTIC_SD = np.pi / np.sqrt(3)  # of a logistic law of scale 1


@dataclass(frozen=True)
class SearchSpace:
    """The variables of a search: what parameters they stand for, the box, and where it starts."""

    parameters: Callable[[Values], Values]  # (R, 2) -> (R, 2)
    low: tuple[float, float]
    high: tuple[float, float]
    starts: Callable[[Values], list[Values]]  # counts (B, 5) -> [(B, 2), ...]
    cells: Callable[[Values], Values] | None = None  # (R, 2) -> (R, 5), where parameters lose digits


def moments(counts: Values) -> tuple[Values, Values]:
    """Mean and population variance (...), (...) of votes (..., 5)."""
    share = counts / counts.sum(-1, keepdims=True)
    mean = (share * laws.VOTES).sum(-1)
    return mean, (share * (laws.VOTES - mean[..., None]) ** 2).sum(-1)


def _spread(variance: Values) -> Values:
    return np.sqrt(np.maximum(variance, 0.01))


def _line_starts(width: float) -> Callable[[Values], tuple[Values, Values]]:
    """mu (B,) and s (B,) from the votes' moments; a law of scale 1 has standard deviation `width`."""

    def starts(counts: Values) -> tuple[Values, Values]:
        mean, variance = moments(counts)
        return mean - 3, _spread(variance) / width

    return starts


def _logit_starts(counts: Values) -> tuple[Values, Values]:
    """Location and scale (B,) of logit x, from the votes placed at the middles of their categories."""
    place = np.log(_MIDDLES / (1 - _MIDDLES))
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ place
    variance = (share * (place - mean[:, None]) ** 2).sum(1)
    return mean, _spread(variance) * np.sqrt(3) / np.pi


def _slopes(
    cuts: Values, link: str, place: Callable[[Values], Values], starts: Callable, top: float
) -> SearchSpace:
    """Variables (mu/s, 1/s) of a location-scale law about the middle of its cuts; `place` makes mu a parameter."""

    def parameters(x: Values) -> Values:
        return np.stack([place(x[:, 0] / x[:, 1]), 1 / x[:, 1]], -1)

    def begin(counts: Values) -> list[Values]:
        mu, s = starts(counts)
        return [np.stack([mu / s, 1 / s], -1)]

    def cells(x: Values) -> Values:
        return models.location_cells(link, cuts * x[:, 1:] - x[:, :1])

    return SearchSpace(parameters, (-3 * top, 1e-5), (3 * top, top), begin, cells)


def _from_middle(x: Values) -> Values:
    return x + 3


def _sigmoid(x: Values) -> Values:
    """0..1 without its ends: above 25, 1 - mu has too few digits left."""
    return 1 / (1 + np.exp(-np.clip(x, -600, _LARGEST_LOGIT)))


def _beta_moments(counts: Values) -> tuple[Values, Values]:
    """Mean (B,) and precision a + b (B,) of a beta law with the moments of the categories' middles."""
    mean, variance = moments(counts)
    mean = np.clip((mean - 0.5) / 5, 0.02, 0.98)
    return mean, np.clip(mean * (1 - mean) / np.maximum(variance / 25, 1e-4) - 1, 0.5, 1e4)


def _beta_parameters(x: Values) -> Values:
    total = np.exp(x[:, 1])
    return np.stack([total * _sigmoid(x[:, 0]), total * _sigmoid(-x[:, 0])], -1)


def _beta_starts(counts: Values) -> list[Values]:
    """From the moments, and from a wide law: where the first is so narrow that a stray vote has no slope."""
    mean, total = _beta_moments(counts)
    place = np.log(mean / (1 - mean))
    return [np.stack([place, np.log(width)], -1) for width in (total, np.minimum(total, 6.0))]


def _kumaraswamy_parameters(x: Values) -> Values:
    a = np.exp(x[:, 0])
    return np.stack([a, models.kumaraswamy_b(a, _sigmoid(x[:, 1]))], -1)


def _kumaraswamy_starts(*shapes: float) -> Callable[[Values], list[Values]]:
    """(log a, logit median) for every a of `shapes`, with the votes' interpolated median."""

    def begin(counts: Values) -> list[Values]:
        cumulative = np.cumsum(counts, 1) / counts.sum(1, keepdims=True)
        cell = (cumulative < 0.5).sum(1)
        rows = np.arange(len(counts))
        before = np.where(cell > 0, cumulative[rows, np.maximum(cell - 1, 0)], 0.0)
        median = (cell + (0.5 - before) / np.maximum(cumulative[rows, cell] - before, 1e-12)) / 5
        place = np.log(median / (1 - median))
        return [np.stack([np.full_like(place, np.log(a)), place], -1) for a in shapes]

    return begin


def _kumaraswamy_logs(*shapes: float) -> Callable[[Values], list[Values]]:
    """(a, b) of the same starts."""
    begin = _kumaraswamy_starts(*shapes)
    return lambda counts: [_kumaraswamy_parameters(x) for x in begin(counts)]


def _logged(starts: Callable, low: tuple[float, float], high: tuple[float, float]) -> SearchSpace:
    """(log a, log b) in a box, from starts (a, b)."""

    def begin(counts: Values) -> list[Values]:
        return [np.log(parameters) for parameters in starts(counts)]

    return SearchSpace(np.exp, low, high, begin)


def _line_bounds(starts: Callable) -> SearchSpace:
    """mu and log s with the published bounds of the normal and logistic law."""

    def parameters(x: Values) -> Values:
        return np.stack([x[:, 0], np.exp(x[:, 1])], -1)

    def begin(counts: Values) -> list[Values]:
        mu, s = starts(counts)
        return [np.stack([mu + 3, np.log(s)], -1)]

    return SearchSpace(parameters, (-19.0, np.log(0.02)), (25.0, np.log(100.0)), begin)


def _logit_box(low: float, high: float, narrow: float, wide: float) -> SearchSpace:
    """logit mu in low..high and log s in narrow..wide: where the median itself has to be a number below 1."""

    def parameters(x: Values) -> Values:
        return np.stack([_sigmoid(x[:, 0]), np.exp(x[:, 1])], -1)

    def begin(counts: Values) -> list[Values]:
        mu, s = _logit_starts(counts)
        return [np.stack([mu, np.log(s)], -1)]

    return SearchSpace(parameters, (low, float(np.log(narrow))), (high, float(np.log(wide))), begin)


_LOGITS = np.log(models.UNIT_CUTS / (1 - models.UNIT_CUTS))
_TWENTY = (float(np.log(1e-3)),) * 2, (float(np.log(20)),) * 2

# Where each free search takes place, and where the published one does (GSD's and maximum entropy's are the same).
# Two spaces: votes at both ends (Kumaraswamy's a below 1) have a median that says little, or lies at an end.
SPACES: dict[str, tuple[SearchSpace, ...]] = {
    "normal": (_slopes(models.LINE_CUTS - 3, "normal", _from_middle, _line_starts(1.0), 50.0),),
    "logistic": (_slopes(models.LINE_CUTS - 3, "logistic", _from_middle, _line_starts(_LOGISTIC_SD), 100.0),),
    "logit-logistic": (
        _slopes(_LOGITS, "logistic", _sigmoid, _logit_starts, 100.0),
        _logit_box(-600.0, _LARGEST_LOGIT, 0.01, 1e3),
    ),
    "beta": (SearchSpace(_beta_parameters, (-12.0, np.log(1e-6)), (12.0, np.log(1e5)), _beta_starts),),
    "kumaraswamy": (
        SearchSpace(_kumaraswamy_parameters, (np.log(0.01), -7.0), (np.log(100), 7.0),
              _kumaraswamy_starts(1.5, 3.0, 5.0, 8.0, 25.0)),
        _logged(_kumaraswamy_logs(0.1, 0.5), (-60.0, -7.0), (5.0, 60.0)),
    ),
}  # fmt: skip
PUBLISHED: dict[str, tuple[SearchSpace]] = {
    "normal": (_line_bounds(_line_starts(1.0)),),
    "logistic": (_line_bounds(_line_starts(_LOGISTIC_SD)),),
    "logit-logistic": (_logit_box(-12.0, 12.0, 0.01, 20.0),),
    "beta": (_logged(lambda counts: [_beta_parameters(x) for x in _beta_starts(counts)], *_TWENTY),),
    "kumaraswamy": (_logged(_kumaraswamy_logs(0.1, 0.5, 1.5, 3.0, 5.0, 8.0, 25.0), *_TWENTY),),
}  # fmt: skip
