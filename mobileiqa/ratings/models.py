"""Seven two-parameter models of the votes 1..5 on one image: probabilities, quantiles, shares.

| model | latent variable, cut into five cells | parameters |
|---|---|---|
| normal, logistic | a real line cut at 1.5, 2.5, 3.5, 4.5 | location mu, scale s |
| beta, kumaraswamy | 0..1 cut at .2, .4, .6, .8 | shapes a, b |
| logit-logistic | the same; F(x) = sigmoid((logit x - logit mu) / s) | median mu, scale s |
| maxentropy | none: the law of largest entropy for a mean and a variance | psi = mean, rho |
| gsd | none: the generalised score distribution (mean_variance_laws.py) | psi = mean, rho |

rho says where the variance lies between its largest (0) and smallest (1) value for that mean. A cell is a
difference of distribution functions below the median and of survival functions above it: the other way round
the far cells cancel to 0 or less. Source: Saupe et al., IEEE SPL 31 (2024) 2970-2974; scales as SPL's authors'
public code has them. The models on 0..1 are shown on the votes' scale, as 0.5 + 5x, so that cuts agree.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileiqa.errors import UserError
from mobileiqa.ratings import mean_variance_laws as laws

Values = NDArray[np.float64]
LINE_CUTS = np.array([1.5, 2.5, 3.5, 4.5])
UNIT_CUTS = np.array([0.2, 0.4, 0.6, 0.8])


@dataclass(frozen=True)
class RatingModel:
    """One model: what its two parameters are, where they may lie, its cells and its latent quantiles."""

    parameters: tuple[str, str]
    domain: tuple[tuple[float, float], tuple[float, float]]
    cells: Callable[[Values, Values], Values]  # (...), (...) -> (..., 5)
    quantile: Callable[[Values, Values, Values], Values] | None = None  # on the scale 0.5..5.5
    closed: bool = False  # whether the ends of the domain belong to it


def pmf(model: str, parameters: ArrayLike) -> Values:
    """Probabilities (..., 5) of the votes 1..5 for parameters (..., 2), float64; they add up to 1.

    Raises UserError for an unknown model, another shape, and parameters outside the model's domain.
    """
    entry, values = _checked(model, parameters)
    return entry.cells(values[..., 0], values[..., 1])


def quantile(model: str, parameters: ArrayLike, q: ArrayLike) -> Values:
    """x_q with P(quality <= x_q) = q, on the scale 0.5..5.5: parameters (..., 2), q (Q) or () -> (..., Q) or (...).

    A share 1 - q of the viewers sees at least x_q. Normal and logistic may leave 0.5..5.5. Raises UserError as
    `pmf` does, for q outside 0..1 (ends excluded), and for gsd and maxentropy, which have no latent variable.
    """
    entry, values = _checked(model, parameters)
    if entry.quantile is None:
        names = ", ".join(name for name, other in MODELS.items() if other.quantile)
        raise UserError(
            f"a model with a continuous scale ({names})", model, "choose one of them for quantiles"
        )
    levels = np.asarray(q, np.float64)
    if not np.all((levels > 0) & (levels < 1)):
        raise UserError("quantile levels between 0 and 1, ends excluded", f"{q}", "correct them")
    shape = values.shape[:-1] + (1,) * levels.ndim
    return entry.quantile(values[..., 0].reshape(shape), values[..., 1].reshape(shape), levels)


def good_or_better(probabilities: ArrayLike) -> Values:
    """The share of votes 4 and 5, 1 - F(3.5): (..., 5) -> (...), 0..1."""
    return np.asarray(probabilities, np.float64)[..., 3:].sum(-1)


def poor_or_worse(probabilities: ArrayLike) -> Values:
    """The share of votes 1 and 2, F(2.5): (..., 5) -> (...), 0..1."""
    return np.asarray(probabilities, np.float64)[..., :2].sum(-1)


def _checked(model: str, parameters: ArrayLike) -> tuple[RatingModel, Values]:
    if model not in MODELS:
        raise UserError(f"a rating model of {', '.join(MODELS)}", repr(model), "correct the name")
    entry, values = MODELS[model], np.asarray(parameters, np.float64)
    if values.shape[-1:] != (2,):
        raise UserError(f"parameters (..., 2) of {model}", f"shape {values.shape}", "give two for each image")
    for name, (low, high), value in zip(
        entry.parameters, entry.domain, np.moveaxis(values, -1, 0), strict=True
    ):
        inside = (value >= low) & (value <= high) if entry.closed else (value > low) & (value < high)
        if not np.all(inside & np.isfinite(value)):
            odd = value[~(inside & np.isfinite(value))].flat[0]
            raise UserError(f"{name} of {model} between {low:g} and {high:g}", f"{odd:g}", "correct it")
    return entry, values


def _between(below: Values, above: Values) -> Values:
    """Cells (..., 5) from F and 1 - F at the four cuts, each taken from the side where it is small."""
    zero, one = np.zeros_like(below[..., :1]), np.ones_like(below[..., :1])
    f = np.concatenate([zero, below, one], -1)
    s = np.concatenate([one, above, zero], -1)
    return np.maximum(np.where(f[..., 1:] <= 0.5, np.diff(f), -np.diff(s)), 0.0)


def _log_complement(x: Values) -> Values:
    """log(1 - exp(x)) for x < 0 without cancellation."""
    near = x > -np.log(2)
    with np.errstate(divide="ignore"):
        return np.where(
            near, np.log(-np.expm1(np.where(near, x, -1))), np.log1p(-np.exp(np.where(near, -1, x)))
        )


def location_cells(link: str, z: Values) -> Values:
    """Cells (..., 5) of a normal or logistic law whose four standardised cuts are z (..., 4)."""
    from scipy.special import expit, ndtr

    distribution = {"normal": ndtr, "logistic": expit}[link]
    return _between(distribution(z), distribution(-z))


def normal_cells(mu: Values, s: Values) -> Values:
    """Cells of the quantized normal distribution."""
    return location_cells("normal", (LINE_CUTS - mu[..., None]) / s[..., None])


def logistic_cells(mu: Values, s: Values) -> Values:
    """Cells of the quantized logistic distribution."""
    return location_cells("logistic", (LINE_CUTS - mu[..., None]) / s[..., None])


def logit_logistic_cells(mu: Values, s: Values) -> Values:
    """Cells of the logit-logistic distribution on 0..1."""
    from scipy.special import logit

    return location_cells("logistic", (logit(UNIT_CUTS) - logit(mu)[..., None]) / s[..., None])


def beta_cells(a: Values, b: Values) -> Values:
    """Cells of the beta distribution on 0..1."""
    from scipy.special import betainc

    a, b = a[..., None], b[..., None]
    return _between(betainc(a, b, UNIT_CUTS), betainc(b, a, 1 - UNIT_CUTS))


def kumaraswamy_cells(a: Values, b: Values) -> Values:
    """Cells of the Kumaraswamy distribution: 1 - F(x) = (1 - x^a)^b, in logarithms since b reaches 1e12."""
    survival = b[..., None] * _log_complement(a[..., None] * np.log(UNIT_CUTS))
    return _between(-np.expm1(survival), np.exp(survival))


def kumaraswamy_b(a: Values, median: Values) -> Values:
    """The b with which F(median) = 1/2, for a and a median in 0..1."""
    return -np.log(2) / _log_complement(a * np.log(median))


def _normal_quantile(mu: Values, s: Values, q: Values) -> Values:
    from scipy.special import ndtri

    return mu + s * ndtri(q)


def _logistic_quantile(mu: Values, s: Values, q: Values) -> Values:
    from scipy.special import logit

    return mu + s * logit(q)


def _beta_quantile(a: Values, b: Values, q: Values) -> Values:
    from scipy.special import betaincinv

    return 0.5 + 5 * betaincinv(a, b, q)


def _kumaraswamy_quantile(a: Values, b: Values, q: Values) -> Values:
    return 0.5 + 5 * np.exp(_log_complement(np.log1p(-q) / b) / a)


def _logit_logistic_quantile(mu: Values, s: Values, q: Values) -> Values:
    from scipy.special import expit, logit

    return 0.5 + 5 * expit(logit(mu) + s * logit(q))


_REAL, _POSITIVE, _UNIT, _VOTES = (-np.inf, np.inf), (0.0, np.inf), (0.0, 1.0), (1.0, 5.0)

# Add your model here: its cells and quantiles above, its search in search_spaces.py.
MODELS: dict[str, RatingModel] = {
    "logit-logistic": RatingModel(
        ("mu", "s"), (_UNIT, _POSITIVE), logit_logistic_cells, _logit_logistic_quantile
    ),
    "beta": RatingModel(("a", "b"), (_POSITIVE, _POSITIVE), beta_cells, _beta_quantile),
    "maxentropy": RatingModel(("psi", "rho"), (_VOTES, _UNIT), laws.maxentropy_cells, closed=True),
    "normal": RatingModel(("mu", "s"), (_REAL, _POSITIVE), normal_cells, _normal_quantile),
    "logistic": RatingModel(("mu", "s"), (_REAL, _POSITIVE), logistic_cells, _logistic_quantile),
    "kumaraswamy": RatingModel(("a", "b"), (_POSITIVE, _POSITIVE), kumaraswamy_cells, _kumaraswamy_quantile),
    "gsd": RatingModel(("psi", "rho"), (_VOTES, _UNIT), laws.gsd_cells, closed=True),
}
