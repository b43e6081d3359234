"""Several rating models on the same votes: one row each, best AIC first, as text, JSON, CSV and a plot.

What ranks them: likelihood, AIC, BIC and the G-test, sums or shares over images with two parameters each. The
multinomial coefficient is left out, as in the paper's code: it is the same for every model.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileiqa import cli
from mobileiqa.ratings import descent, models
from mobileiqa.ratings.fitting import Fit, checked_votes, fit
from mobileiqa.ratings.votes import Votes
from mobileiqa.text import csv_text, table

Values = NDArray[np.float64]
QUANTILES = (0.1, 0.5, 0.9)
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


@dataclass(frozen=True)
class ModelRow:
    """A fit, its criteria, and the processor seconds that it took."""

    fit: Fit
    criteria: Criteria
    seconds: float


def compare(
    counts: NDArray, names: Sequence[str], method: str = "mle", bounds: str = "none"
) -> list[ModelRow]:
    """The named models fitted to counts (B, 5), the lowest AIC first. Raises UserError as `fit` does."""
    rows = []
    for name in cli.progress(names, "fitting"):
        start = time.process_time()
        result = fit(name, counts, method, bounds)
        rows.append(ModelRow(result, criteria(result, counts), time.process_time() - start))
    return sorted(rows, key=lambda row: row.criteria.aic)


def as_json(rows: Sequence[ModelRow]) -> list[dict[str, Any]]:
    """One object a model, the figures rounded as the table shows them or finer."""
    return [
        {
            "model": row.fit.model,
            "method": row.fit.method,
            "bounds": row.fit.bounds,
            "nll": round(row.criteria.nll, 4),
            "aic": round(row.criteria.aic, 4),
            "bic": round(row.criteria.bic, 4),
            "mean_g": round(row.criteria.mean_g, 6),
            "share_g_rejected": round(row.criteria.rejected, 6),
            "share_at_bound": round(float(row.fit.at_bound.mean()), 6),
            "seconds": round(row.seconds, 2),
        }
        for row in rows
    ]


def as_text(rows: Sequence[ModelRow]) -> list[str]:
    """The table for people, best first."""
    lines = [["model", "NLL", "AIC", "BIC", "mean G", "G > 5.99", "at bound", "s"]]
    for row in rows:
        c = row.criteria
        sums = (f"{value:,.1f}" for value in (c.nll, c.aic, c.bic))
        shares = (f"{c.rejected:.1%}", f"{row.fit.at_bound.mean():.1%}")
        lines.append([row.fit.model, *sums, f"{c.mean_g:.3f}", *shares, f"{row.seconds:.1f}"])
    return table(lines, left=(0,)).splitlines()


def write_csv(path: Path, votes: Votes, rows: Sequence[ModelRow]) -> None:
    """Every image and model: parameters, likelihood, G, shares and, where there is a scale, quantiles."""
    header = [
        "image_name", "model", "parameter_1", "parameter_2", "identified", "log_likelihood", "g", "p_value",
        "good_or_better", "poor_or_worse", *(f"q{100 * q:g}" for q in QUANTILES),
    ]  # fmt: skip
    lines = [line for row in rows for line in _image_lines(votes.names, row)]
    with cli.atomic(path) as temporary:
        temporary.write_text(csv_text([header, *lines]), encoding="utf-8", newline="")


def _image_lines(names: Sequence[str], row: ModelRow) -> list[list[Any]]:
    result, g = row.fit, row.criteria.g
    shares = [models.good_or_better(result.probabilities), models.poor_or_worse(result.probabilities)]
    levels = [[""] * len(QUANTILES)] * len(names)  # a law of votes has no scale between them
    if models.MODELS[result.model].quantile is not None:
        values = models.quantile(result.model, result.parameters, QUANTILES)
        levels = [[round(float(x), 6) for x in image] for image in values]
    return [
        [
            name, result.model, *map(float, result.parameters[i]), int(result.identified[i]),
            *(float(f"{x:.9g}") for x in (result.log_likelihood[i], g[i], row.criteria.p_value[i])),
            *(round(float(share[i]), 6) for share in shares), *levels[i],
        ]
        for i, name in enumerate(names)
    ]  # fmt: skip


def draw(path: Path, rows: Sequence[ModelRow]) -> None:
    """Writes a PNG, atomically: AIC above the best, and how G is spread over the images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [row.fit.model for row in rows]
    images = len(rows[0].criteria.g)
    excess = [(row.criteria.aic - rows[0].criteria.aic) / images for row in rows]
    bars = left.barh(names[::-1], excess[::-1])
    left.bar_label(bars, fmt="%.3f", padding=3)
    left.margins(x=0.15)
    left.set(xlabel="AIC above the best, per image", title=f"{images} images")
    for row in rows:
        g = np.sort(row.criteria.g)
        right.plot(
            g, np.arange(1, images + 1) / images, label=f"{row.fit.model} ({row.criteria.rejected:.1%} above)"
        )
    right.axvline(CRITICAL_G, color="0.4", linestyle=":")
    right.set(
        xlim=(0, 4 * CRITICAL_G),
        ylim=(0, 1),
        xlabel="G (dotted: 5.99, the 5 % point)",
        ylabel="share of images",
    )
    right.legend(fontsize=8, loc="lower right")
    with cli.atomic(path) as temporary:
        cli.save_plot(figure, temporary, dpi=120)
