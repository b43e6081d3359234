"""Fits: golden images, scipy's search on generated votes, votes without a finite optimum, KonIQ-10k whole."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from mobileiqa.errors import UserError
from mobileiqa.ratings import mean_variance_laws as laws
from mobileiqa.ratings.comparison import criteria
from mobileiqa.ratings.descent import negative_log_likelihood
from mobileiqa.ratings.fitting import fit
from mobileiqa.ratings.models import MODELS, pmf
from mobileiqa.ratings.search_spaces import moments
from mobileiqa.ratings.votes import read

ODD = np.array([
    [0, 0, 100, 0, 0], [100, 0, 0, 0, 0], [0, 0, 0, 0, 1], [50, 0, 0, 0, 50], [90, 0, 0, 0, 10], [50, 0, 50, 0, 0],
    [0, 50, 0, 50, 0], [1, 0, 0, 0, 99], [1, 1, 1, 1, 1], [100, 1, 1, 1, 100], [100, 0, 0, 1, 0], [1, 100, 1, 0, 0],
    [0.5, 0.2, 0.1, 0.1, 0.1], [1e9, 2e9, 3e9, 1e9, 1e8], [0, 0, 1, 0, 99], [0, 0, 0, 1, 1], [33, 0, 33, 0, 33],
    [60, 30, 8, 1, 1], [80, 10, 5, 3, 2], [40, 62, 0, 0, 0], [0, 40, 62, 0, 0], [0, 0, 0, 94, 10],
])  # fmt: skip
# Totals of KonIQ-10k by independent fits: negative log-likelihood, mean G, share of images with G > 5.99.
KONIQ = {
    "logit-logistic": (917_767.7, 1.692, 0.032), "beta": (918_222.0, 1.782, 0.072),
    "maxentropy": (918_337.4, 1.805, 0.061), "normal": (918_730.2, 1.883, 0.072),
    "logistic": (919_159.0, 1.968, 0.051), "kumaraswamy": (921_650.5, 2.463, 0.127),
    "gsd": (931_484.8, 4.415, 0.275),
}  # fmt: skip


@pytest.fixture(scope="module")
def generated() -> np.ndarray:
    """40 images of about 100 votes: a logit-logistic law of many places and widths, and some gaps."""
    rng = np.random.default_rng(3)
    laws = pmf("logit-logistic", np.stack([rng.uniform(0.15, 0.85, 40), rng.uniform(0.2, 0.6, 40)], -1))
    return np.array(
        [rng.multinomial(n, p) for n, p in zip(rng.integers(80, 130, 40), laws, strict=True)], float
    )


def best_by_scipy(name: str, counts: np.ndarray) -> float:
    """The smallest negative log-likelihood of Nelder-Mead searches over a grid of starts."""
    low, high = np.array(MODELS[name].domain).T

    def loss(x: np.ndarray) -> float:
        inside = np.all((x > low) & (x < high))
        return float(negative_log_likelihood(counts, pmf(name, x))) if inside else 1e9

    first = {"normal": (1.5, 3, 4.5), "logistic": (1.5, 3, 4.5), "logit-logistic": (0.2, 0.5, 0.8)}.get(
        name, (1, 4, 15)
    )
    second = {"beta": (1, 10), "kumaraswamy": (1, 8, 60)}.get(name, (0.3,))
    starts = [(a, b) for a in first for b in second]
    options = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 2000, "maxfev": 2000}
    return min(minimize(loss, start, method="Nelder-Mead", options=options).fun for start in starts)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("maxentropy", "gsd")])
def test_likelihood_reaches_that_of_scipys_search(name: str, generated: np.ndarray) -> None:
    counts = generated[:2]
    nll = -fit(name, counts).log_likelihood
    assert np.all(nll <= np.array([best_by_scipy(name, n) for n in counts]) + 1e-6)


def test_maximum_entropy_is_the_likeliest_of_its_family(generated: np.ndarray) -> None:
    result = fit("maxentropy", generated)
    assert np.allclose(moments(result.probabilities), moments(generated), atol=1e-10)
    for change in ([1e-4, 0], [-1e-4, 0], [0, 1e-4], [0, -1e-4]):
        near = pmf("maxentropy", result.parameters + change)
        assert np.all(negative_log_likelihood(generated, near) > -result.log_likelihood)


def test_gsd_is_global_over_a_fine_grid_with_its_kinks(generated: np.ndarray) -> None:
    psi, rho = np.meshgrid(np.linspace(1, 5, 401), np.linspace(0, 1, 201))
    grid = np.stack([psi.ravel(), rho.ravel()], -1)
    nll = -(np.log(np.maximum(pmf("gsd", grid), 1e-300)) @ generated.T).max(0)
    assert np.all(-fit("gsd", generated).log_likelihood <= nll + 1e-9)


def test_a_stray_vote_far_from_all_others_is_reached() -> None:
    """Where a search starts at a law so narrow that the stray vote's probability is 0 around."""
    rows = np.array([[999, 1, 0, 0, 0], [1, 0, 999, 0, 0], [0, 0, 998, 2, 0], [0, 1, 0, 0, 9999]], float)
    for name in MODELS:
        likeliest = fit(name, rows).log_likelihood
        for other in (fit(name, rows, bounds="published"), fit(name, rows, "moments")):
            assert np.all(likeliest >= other.log_likelihood - 1e-6), name
        smoothed = fit(name, rows + 0.5)
        assert np.all(likeliest >= -negative_log_likelihood(rows, smoothed.probabilities) - 1e-6), name


@pytest.mark.parametrize("bounds", ["none", "published"])
@pytest.mark.parametrize("method", ["mle", "moments"])
@pytest.mark.parametrize("name", MODELS)
def test_votes_without_a_finite_optimum_still_have_a_law(name: str, method: str, bounds: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = fit(name, ODD, method, bounds)
        assert np.allclose(pmf(name, result.parameters).sum(-1), 1, atol=1e-12)
    assert np.isfinite(result.log_likelihood).all()
    assert np.array_equal(result.identified, (ODD > 0).sum(1) >= 3)


@pytest.mark.parametrize("name", MODELS)
def test_two_neighbouring_categories_are_met_exactly(name: str) -> None:
    """No quantized model loses likelihood there: the limit s -> 0, or large shapes."""
    rows = ODD[[0, 1, 2, 15, 19, 20, 21]]
    saturated = -negative_log_likelihood(rows, rows / rows.sum(1, keepdims=True))
    assert np.allclose(fit(name, rows).log_likelihood, saturated, atol=1e-6)


@pytest.mark.parametrize("name", ["normal", "logistic", "beta", "maxentropy", "logit-logistic"])
def test_votes_at_both_ends_come_close_to_their_limit(name: str) -> None:
    rows = ODD[[3, 4]]
    saturated = -negative_log_likelihood(rows, rows / rows.sum(1, keepdims=True))
    assert np.all(fit(name, rows).log_likelihood > saturated - 0.1)


@pytest.mark.parametrize("name", MODELS)
def test_moments_are_the_votes_own(name: str, generated: np.ndarray) -> None:
    result = fit(name, generated, "moments")
    assert np.allclose(moments(result.probabilities), moments(generated), atol=1e-7)
    assert np.all(result.log_likelihood <= fit(name, generated).log_likelihood + 1e-9)


def test_published_bounds_hold_and_are_flagged(generated: np.ndarray) -> None:
    for name in ("beta", "kumaraswamy"):
        free, bound = fit(name, generated), fit(name, generated, bounds="published")
        assert bound.parameters.max() <= 20 * (1 + 1e-9) and not free.at_bound.any()
        outside = free.parameters.max(1) > 20.01
        assert outside.any() and np.array_equal(bound.at_bound, outside)
        assert np.all(bound.log_likelihood <= free.log_likelihood + 1e-9)
        assert np.allclose(bound.log_likelihood[~outside], free.log_likelihood[~outside], atol=1e-8)


def test_one_image_equals_the_same_in_a_batch_of_any_shape(generated: np.ndarray) -> None:
    for name in MODELS:
        whole = fit(name, generated.reshape(8, 5, 5))
        assert whole.parameters.shape == (8, 5, 2) and whole.log_likelihood.shape == (8, 5)
        one = fit(name, generated[7].astype(int).tolist())
        assert one.parameters.shape == (2,) and np.allclose(
            one.probabilities, whole.probabilities[1, 2], atol=1e-9
        )


@pytest.mark.parametrize(
    ("votes", "part"),
    [
        ([1, 2, 3, 4], r"votes of shape \(..., 5\); found shape \(4,\)"),
        ([], r"shape \(0,\)"),
        ([[1, 2, 3, 4, 5], [0, 0, 0, 0, 0]], "at least one, for image 1; found 0, 0, 0, 0, 0"),
        ([1, 2, -3, 4, 5], "votes of 0 or more, at least one, for image 0; found 1, 2, -3, 4, 5"),
        ([1, 2, np.nan, 4, 5], "found 1, 2, nan, 4, 5"),
        ([1, 2, np.inf, 4, 5], "found 1, 2, inf, 4, 5"),
        ([1, 2, 1e300, 4, 5], "found 1, 2, 1e"),
        (["a", "b", "c", "d", "e"], "as numbers"),
        ([[1, 2, 3, 4, 5], [1, 2]], "as numbers"),
    ],
)
def test_votes_that_cannot_be_fitted_are_named(votes: list, part: str) -> None:
    with pytest.raises(UserError, match=part):
        fit("normal", votes)


def test_unknown_names_are_errors() -> None:
    for arguments in (("gauss",), ("normal", "map"), ("normal", "mle", "tight")):
        name, *rest = arguments
        with pytest.raises(UserError, match="correct the name"):
            fit(name, [1, 2, 3, 2, 1], *rest)


def test_criteria_are_the_formulas(generated: np.ndarray) -> None:
    result = fit("normal", generated)
    figures = criteria(result, generated)
    share = generated / generated.sum(1, keepdims=True)
    terms = np.where(generated > 0, generated * np.log(np.maximum(share, 1e-9) / result.probabilities), 0)
    assert np.allclose(figures.g, 2 * terms.sum(1), atol=1e-9)
    assert figures.nll == pytest.approx(-result.log_likelihood.sum())
    assert figures.aic == pytest.approx(4 * 40 + 2 * figures.nll)
    assert figures.bic == pytest.approx(80 * np.log(40) + 2 * figures.nll)
    from scipy.stats import chi2

    assert np.allclose(figures.p_value, chi2.sf(figures.g, 2))
    assert figures.rejected == np.mean(figures.p_value < 0.05)
    with pytest.raises(ValueError, match="40 images"):
        criteria(result, generated[:3])


def test_golden_images(golden: dict) -> None:
    votes = np.array([image["votes"] for image in golden["images"]])
    for name in MODELS:
        entries = [image["models"][name] for image in golden["images"]]
        result = fit(name, votes)
        assert np.abs(result.log_likelihood - [e["log_likelihood"] for e in entries]).max() < 1e-6
        known = result.identified
        for values, key, limit in (
            (result.parameters, "parameters", 1e-3),
            (result.probabilities, "probabilities", 0),
        ):
            expected = np.array([e[key] for e in entries])[known]
            assert np.allclose(values[known], expected, rtol=limit, atol=0 if limit else 1e-4), (name, key)


def test_golden_moment_fits(golden: dict) -> None:
    for entry in golden["analytic"]["moment fit"]:
        mean = np.array(entry["mean"])
        votes = 100 * pmf("maxentropy", (mean, laws.rho_of(mean, np.array(entry["variance"]))))
        for name in ("normal", "logistic", "beta", "kumaraswamy", "logit-logistic"):
            result = fit(name, votes, "moments")
            assert np.allclose(result.parameters, entry[name]["parameters"], rtol=1e-5), (entry["mean"], name)
            assert np.allclose(result.probabilities, entry[name]["p"], atol=1e-7)


@pytest.mark.slow
def test_koniq_10k_whole(koniq: Path) -> None:
    counts = read(koniq).counts
    results = {name: criteria(fit(name, counts), counts) for name in KONIQ}
    assert sorted(results, key=lambda name: results[name].aic) == list(KONIQ)
    for name, (nll, mean_g, rejected) in KONIQ.items():
        assert results[name].nll == pytest.approx(nll, rel=1e-4) and results[name].nll < nll + 0.1, name
        assert results[name].aic == pytest.approx(4 * 10_073 + 2 * nll, rel=1e-4)
        assert results[name].mean_g == pytest.approx(mean_g, abs=2e-3)
        assert results[name].rejected == pytest.approx(rejected, abs=6e-4)
    for name, nll in (("beta", 918_859.4), ("kumaraswamy", 932_579.1)):
        bound = fit(name, counts, bounds="published")
        assert -bound.log_likelihood.sum() == pytest.approx(nll, abs=0.1)
    assert -fit("gsd", counts, "moments").log_likelihood.sum() == pytest.approx(938_168.5, abs=0.1)
