"""Fits a rating model to the votes of every image at once, by maximum likelihood or by moments.

Five models are searched in the boxes of search_spaces.py. Maximum entropy needs no search: its likeliest member has the
votes' mean and variance. GSD's likelihood has kinks, so each of its smooth pieces (see mean_variance_laws.py) is
searched from the best point of a grid, and the best piece wins.

With votes in fewer than three categories many parameters give the same likelihood: `identified` is False, and only
likelihoods compare.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileiqa.errors import UserError
from mobileiqa.ratings import descent, models
from mobileiqa.ratings import mean_variance_laws as laws
from mobileiqa.ratings.search_spaces import PUBLISHED, SPACES, SearchSpace, moments

Values = NDArray[np.float64]
METHODS = ("mle", "moments")
BOUNDS = ("none", "published")
_CHUNK = 1000  # images at once against GSD's grid: 130 MB
_SLACK = 4.0  # a piece of GSD whose best grid point is that much less likely cannot win


@dataclass(frozen=True)
class Fit:
    """A model fitted to images of shape (...): parameters (..., 2), probabilities (..., 5), likelihoods (...)."""

    model: str
    method: str
    bounds: str
    parameters: Values
    probabilities: Values
    log_likelihood: Values  # sum of n_k log p_k, no multinomial coefficient
    identified: NDArray[np.bool_]  # votes in three categories or more
    at_bound: NDArray[np.bool_]  # a parameter at a bound of bounds="published"


def fit(model: str, votes: ArrayLike, method: str = "mle", bounds: str = "none") -> Fit:
    """The model fitted to votes (..., 5), how many gave 1 to 5; see Fit.

    method: mle, or moments (the law with the votes' mean and population variance). bounds: "published" are those
    of the paper's code, which keep a and b below 20 and so change Kumaraswamy's rank. Raises UserError for unknown
    names, and for votes that are negative, not finite, of another shape or none.
    """
    for value, names, what in ((model, models.MODELS, "rating model"), (method, METHODS, "method"),
                               (bounds, BOUNDS, "choice of bounds")):  # fmt: skip
        if value not in names:
            raise UserError(f"a {what} of {', '.join(names)}", repr(value), "correct the name")
    counts = checked_votes(votes)
    rows = counts.reshape(-1, 5)
    parameters = _parameters(model, rows, method, bounds)
    entry = models.MODELS[model]
    probabilities = entry.cells(parameters[:, 0], parameters[:, 1])
    shape = counts.shape[:-1]
    return Fit(
        model, method, bounds,
        parameters.reshape(*shape, 2), probabilities.reshape(counts.shape),
        -descent.negative_log_likelihood(rows, probabilities).reshape(shape),
        ((rows > 0).sum(1) >= 3).reshape(shape),
        _at_bound(model, bounds, parameters).reshape(shape),
    )  # fmt: skip


def checked_votes(votes: ArrayLike) -> Values:
    """`votes` as float64 (..., 5). Raises UserError naming the first image that cannot be fitted."""
    try:
        counts = np.asarray(votes, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError("votes (..., 5) as numbers", str(error), "give five counts for each image") from error
    if counts.shape[-1:] != (5,) or not counts.size:
        raise UserError("votes of shape (..., 5)", f"shape {counts.shape}", "give five counts for each image")
    rows = counts.reshape(-1, 5)
    wrong = ~(np.isfinite(rows).all(1) & (rows >= 0).all(1) & (rows.sum(1) > 0) & (rows.max(1) < 1e12))
    if wrong.any():
        image = int(np.argmax(wrong))
        shown = ", ".join(f"{n:g}" for n in rows[image])
        raise UserError(
            f"votes of 0 or more, at least one, for image {image}", shown, "correct or leave it out"
        )
    return counts


def _parameters(model: str, counts: Values, method: str, bounds: str) -> Values:
    mean, variance = moments(counts)
    if model == "maxentropy" or (model == "gsd" and method == "moments"):
        return np.stack([mean, laws.rho_of(mean, variance)], -1)
    if model == "gsd":
        return _fit_gsd(counts)
    spaces = SPACES[model] if bounds == "none" else PUBLISHED[model]
    results = [_search(model, space, counts, method) for space in spaces]
    return _best([result for several in results for result in several])


def _search(model: str, space: SearchSpace, counts: Values, method: str) -> list[tuple[Values, Values]]:
    """From each start of a space: parameters (B, 2), and how far (B,) from likely, or from the moments."""
    low, high, (mean, variance) = np.array(space.low), np.array(space.high), moments(counts)
    entry = models.MODELS[model]

    def cells(x: Values) -> Values:
        parameters = space.parameters(x)
        return entry.cells(parameters[:, 0], parameters[:, 1])

    results = []
    for start in space.starts(counts):
        if method == "moments":
            x = descent.moment_fit(mean, variance, space.cells or cells, start, low, high)
            miss = np.stack(moments(cells(x))) - np.stack([mean, variance])
            results.append((space.parameters(x), np.abs(miss).max(0)))
        else:
            x = descent.likelihood_fit(counts, space.cells or cells, start, low, high)
            results.append((space.parameters(x), descent.negative_log_likelihood(counts, cells(x))))
    return results


def _best(results: list[tuple[Values, Values]]) -> Values:
    """For every image the point (B, 2) with the lowest value of the results, each ((B, 2), (B,))."""
    points, values = np.stack([x for x, _ in results]), np.stack([v for _, v in results])
    return points[values.argmin(0), np.arange(points.shape[1])]


def _fit_gsd(counts: Values) -> Values:
    """The best of the moments' law and of every piece, ends included, that its grid does not rule out."""
    mean, variance = moments(counts)
    result = np.stack(
        [mean, laws.rho_of(mean, variance)], -1
    )  # exact where votes are in two neighbouring categories
    best = descent.negative_log_likelihood(counts, laws.gsd_cells(result[:, 0], result[:, 1]))
    grids = [_grid_best(counts, low, upper) for low, upper in laws.PIECES]
    lowest = np.min([value for _, value in grids], axis=0)
    for (low, upper), (start, value) in zip(laws.PIECES, grids, strict=True):
        rows = np.flatnonzero(value <= lowest + _SLACK)
        if not len(rows):
            continue

        def cells(x: Values, low: int = low, upper: bool = upper) -> Values:
            return laws.piece_cells(low, upper, x[:, 0], x[:, 1])

        box = np.array([low, 0.0]), np.array([low + 1, 1.0])
        x = descent.likelihood_fit(counts[rows], cells, start[rows], *box)
        level = descent.negative_log_likelihood(counts[rows], cells(x))
        better = level < best[rows]
        best[rows[better]] = level[better]
        rho = laws.piece_rho(low, upper, x[:, 0], x[:, 1])
        result[rows[better]] = np.stack([x[:, 0], rho], -1)[better]
    return result


def _grid_best(counts: Values, low: int, upper: bool) -> tuple[Values, Values]:
    """The best of a piece's grid for every image: (psi, t) (B, 2), and its negative log-likelihood (B,)."""
    psi, t = np.meshgrid(np.linspace(low, low + 1, 41), np.linspace(0, 1, 41), indexing="ij")
    grid = np.stack([psi.ravel(), t.ravel()], -1)
    table = np.log(np.maximum(laws.piece_cells(low, upper, grid[:, 0], grid[:, 1]), descent.TINY)).T
    points, values = [], []
    for start in range(0, len(counts), _CHUNK):
        level = counts[start : start + _CHUNK] @ table
        points.append(grid[level.argmax(1)])
        values.append(-level.max(1))
    return np.concatenate(points), np.concatenate(values)


def _at_bound(model: str, bounds: str, parameters: Values) -> NDArray[np.bool_]:
    if bounds == "none" or model not in PUBLISHED:
        return np.zeros(len(parameters), bool)
    (space,) = PUBLISHED[model]
    low, high = (space.parameters(np.array([end]))[0] for end in (space.low, space.high))
    return (np.isclose(parameters, low, 1e-6, 0) | np.isclose(parameters, high, 1e-6, 0)).any(1)
