"""What an SRCC is worth in votes: the table, draws without replacement, and curves of generated votes."""

from pathlib import Path

import numpy as np
import pytest

from mobileiqa.errors import UserError
from mobileiqa.ratings.equivalence import (
    KONIQ_MOS,
    KONIQ_REST,
    SIZES,
    draw,
    equivalent_votes,
    sizes_for,
    vote_curve,
)
from mobileiqa.ratings.models import pmf
from mobileiqa.ratings.votes import read


@pytest.fixture(scope="module")
def votes() -> np.ndarray:
    """300 images of 110 votes each, with means spread as KonIQ-10k's."""
    rng = np.random.default_rng(5)
    mean = np.clip(rng.normal(3.1, 0.55, 300), 1.2, 4.8)
    return rng.multinomial(110, pmf("normal", np.stack([mean, np.full(300, 0.65)], -1)))


def test_the_table_and_between_its_entries() -> None:
    for curve in (KONIQ_REST, KONIQ_MOS):
        for n, srcc in zip(curve.votes, curve.srcc, strict=True):
            assert equivalent_votes(srcc, curve) == pytest.approx(n)
    assert 9 < equivalent_votes(0.921) < 10 and 8 < equivalent_votes(0.921, KONIQ_MOS) < 9
    assert equivalent_votes((0.9187 + 0.9245) / 2) == pytest.approx(9.5)


@pytest.mark.parametrize("srcc", [0.6, 0.97, 1.0, -0.9, float("nan"), float("inf")])
def test_outside_the_curve_is_an_error(srcc: float) -> None:
    with pytest.raises(UserError, match="not extrapolated"):
        equivalent_votes(srcc)


def test_draws_are_without_replacement_and_unbiased() -> None:
    counts = np.tile([3, 0, 40, 7, 1], (20_000, 1))
    drawn = draw(counts, 12, np.random.default_rng(0))
    assert np.all(drawn.sum(1) == 12) and drawn.min() >= 0 and np.all(drawn <= counts)
    assert np.allclose(drawn.mean(0), 12 * counts[0] / 51, atol=0.03)
    share = counts[0] / 51
    hypergeometric = 12 * share * (1 - share) * (51 - 12) / 50
    assert np.allclose(drawn.var(0), hypergeometric, rtol=0.05, atol=1e-9)
    assert np.array_equal(draw(counts, 51, np.random.default_rng(1)), counts)


def test_a_curve_rises_and_repeats_with_its_seed(votes: np.ndarray) -> None:
    curve = vote_curve(votes, seed=1)
    assert (
        curve.votes == SIZES
        and np.all(np.diff(curve.srcc) > -0.01)
        and curve.srcc[0] < 0.75 < 0.95 < curve.srcc[-1]
    )
    assert vote_curve(votes, seed=1) == curve and vote_curve(votes, seed=2) != curve


def test_a_mos_column_takes_the_place_of_the_rest(votes: np.ndarray) -> None:
    mean = votes @ np.arange(1, 6) / votes.sum(1)
    against = vote_curve(votes, np.exp(mean), sizes=(110,), draws=1)
    assert against.srcc == pytest.approx([1.0]) and 0.9 < against.plcc[0] < 1
    assert vote_curve(votes, mean, (9,)).srcc[0] > vote_curve(votes, None, (9,)).srcc[0]


def test_a_curve_that_falls_by_chance_counts_as_flat() -> None:
    from mobileiqa.ratings.equivalence import VoteCurve

    assert equivalent_votes(0.75, VoteCurve((1, 2, 3, 4), (0.6, 0.8, 0.79, 0.9))) == pytest.approx(1.75)


def test_wrong_votes_are_errors(votes: np.ndarray) -> None:
    few = votes.copy()
    few[4] = [0, 0, 5, 0, 0]
    for arguments, part in [
        ((few,), "at least 31 votes for every image; found 5 for image 4"),
        ((votes + 0.5,), "whole votes"),
        ((votes[:2],), "at least 3 images"),
        ((votes, np.ones(300)), "the same for all"),
        ((votes, np.ones(5)), "one finite MOS for each of 300"),
        ((votes, np.full(300, np.nan)), "one finite MOS"),
    ]:
        with pytest.raises(UserError, match=part):
            vote_curve(*arguments)
    assert sizes_for(few) == (1, 2, 3) and sizes_for(few, True) == (1, 2, 3, 5)
    with pytest.raises(UserError, match="at least 3 votes"):
        sizes_for([[1, 0, 0, 0, 0], [1, 1, 0, 1, 0], [2, 2, 1, 1, 1]])


@pytest.mark.slow
def test_koniq_10ks_votes_give_the_table(koniq: Path) -> None:
    """All 10,073 images; the table is of 2015 of them, which moves it by a few thousandths."""
    curve = vote_curve(read(koniq).counts)
    assert np.abs(np.subtract(curve.srcc, KONIQ_REST.srcc)).max() < 0.004
    assert equivalent_votes(0.921, curve) == pytest.approx(equivalent_votes(0.921), abs=0.5)
