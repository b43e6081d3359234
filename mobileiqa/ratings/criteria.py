"""How well a fitted rating model explains votes: likelihood, AIC, BIC and the G-test.

All are sums or shares over images with two parameters each. The multinomial coefficient is left out, as in the
paper's code: it is the same for every model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileiqa.ratings import descent
from mobileiqa.ratings.fitting import Fit, checked_votes

Values = NDArray[np.float64]
PARAMETERS = 2  # of every model, for every image
CRITICAL_G = 5.991464547107979  # the 95 % point of chi-square with 2 degrees of freedom, -2 ln .05


@dataclass(frozen=True)
class Criteria:
    """Sums over the images; the smaller, the better. g and p_value are per image (B,)."""

    nll: float  # -sum n_k ln p_k
    aic: float  # 2 * parameters + 2 NLL, parameters = 2 per image
    bic: float  # parameters * ln(images) + 2 NLL, as published: the "sample" is the images, not the votes
    mean_g: float
    rejected: float  # the share of images with G above CRITICAL_G, 0..1
    g: Values
    p_value: Values


def criteria(fit: Fit, votes: ArrayLike) -> Criteria:
    """The criteria of a fit to the votes (..., 5) that it was made from. Raises UserError as `fit` does."""
    counts = checked_votes(votes).reshape(-1, 5)
    probabilities = fit.probabilities.reshape(-1, 5)
    if probabilities.shape != counts.shape:
        raise ValueError(f"expected votes of {len(probabilities)} images; found {len(counts)}")
    nll = descent.negative_log_likelihood(counts, probabilities)
    saturated = descent.negative_log_likelihood(counts, counts / counts.sum(1, keepdims=True))
    g = np.maximum(2 * (nll - saturated), 0.0)  # rounding may leave -1e-14 where a model meets the votes
    parameters, total = PARAMETERS * len(counts), float(nll.sum())
    return Criteria(
        total,
        2 * parameters + 2 * total,
        parameters * float(np.log(len(counts))) + 2 * total,
        float(g.mean()),
        float(np.mean(g > CRITICAL_G)),
        g,
        np.exp(-g / 2),  # 1 - F(G) of chi-square with 5 cells - 1 - 2 parameters = 2 degrees of freedom
    )
