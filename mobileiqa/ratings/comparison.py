"""Several rating models on the same votes: one row each, best AIC first, as text, JSON, CSV and a picture."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli
from mobileiqa.ratings import models
from mobileiqa.ratings.criteria import CRITICAL_G, Criteria, criteria
from mobileiqa.ratings.fitting import Fit, fit
from mobileiqa.ratings.votes import Votes
from mobileiqa.text import csv_text

QUANTILES = (0.1, 0.5, 0.9)


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
    lines = [
        f"{'model':<15} {'NLL':>13} {'AIC':>13} {'BIC':>13} {'mean G':>7} {'G > 5.99':>8} {'at bound':>8} {'s':>6}"
    ]
    for row in rows:
        c = row.criteria
        lines.append(
            f"{row.fit.model:<15} {c.nll:13,.1f} {c.aic:13,.1f} {c.bic:13,.1f} {c.mean_g:7.3f} "
            f"{c.rejected:8.1%} {row.fit.at_bound.mean():8.1%} {row.seconds:6.1f}"
        )
    return lines


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
