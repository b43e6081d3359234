"""Damaged copies: what they are labelled, and which of two is worse by construction."""

import numpy as np
import pytest

from mobileiqa.distortions.kadid10k import DISTORTIONS
from mobileiqa.reasons import NONE, REASONS
from mobileiqa.training import damage
from mobileiqa.training.damage import (
    CARD_SCORE,
    GROUP,
    NO_CELL,
    PRISTINE,
    PRISTINE_CELL,
    Labels,
    make_cards,
    make_group,
)

# Human means that fall with the level, as KADID-10k's do, but for the two distortions with their best in the middle.
SEVERITY = {
    (n, level): (0.9 - 0.17 * (level - 1) if DISTORTIONS[n].monotone else 0.9 - 0.1 * abs(level - 3))
    - n / 1000
    for n in DISTORTIONS
    for level in range(1, 6)
}


def photo(height: int = 330, width: int = 350) -> np.ndarray:
    """A smooth picture with edges: noise would look the same under every distortion."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width]
    picture = 120 + 80 * np.sin(x / 17)[..., None] * np.cos(
        y / rng.uniform(9, 31, (3,))[:, None, None]
    ).transpose(1, 2, 0)
    picture[height // 3 : height // 2, width // 4 : width // 2] = (200, 40, 60)
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_labels_keep_every_order_whatever_the_full_reference_score_says(seed: int):
    rng = np.random.default_rng(seed)
    group = make_group(photo(), Labels(SEVERITY, lambda _a, _b: float(rng.random())), rng)
    assert len(group.copies) == GROUP and all(
        c.pixels.shape == group.copies[0].pixels.shape for c in group.copies
    )
    assert all(0 < c.score < 1 and c.pixels.dtype == np.uint8 for c in group.copies)
    assert {(0, i) for i in range(1, GROUP)} | {(8, 9)} <= set(group.orders)
    for better, worse in group.orders:
        assert group.copies[better].score >= group.copies[worse].score - 1e-9, (better, worse)


def test_single_distortions_have_their_human_mean_and_mixtures_no_cell():
    group = make_group(photo(), Labels(SEVERITY, lambda _a, _b: 0.5), np.random.default_rng(1))
    cells = list(SEVERITY)
    for copy in group.copies[1:6]:
        if copy.cell != PRISTINE_CELL:
            assert copy.score == SEVERITY[cells[copy.cell]]
    assert [c.cell for c in group.copies[6:]] == [NO_CELL] * 4
    assert group.copies[0].score == PRISTINE and group.copies[0].reasons == (NONE,)


def test_what_nobody_sees_has_no_reason_and_what_changes_nothing_is_no_cell():
    labels = Labels(SEVERITY, lambda _a, _b: 0.5)
    assert labels.single(photo(), (3, 1), 0).reasons == (NONE,)
    assert labels.single(photo(), (3, 4), 0).reasons == (REASONS.index("motion blur"),)
    assert labels.single(photo(), (18, 3), 0).cell == PRISTINE_CELL


def test_the_full_reference_score_labels_what_nobody_rated_within_its_bounds():
    low, high = (
        make_group(photo(), Labels(SEVERITY, lambda _a, _b, v=v: v), np.random.default_rng(2))
        for v in (0.0, 1.0)
    )
    assert all(a.score < b.score for a, b in zip(low.copies[6:], high.copies[6:], strict=True))
    assert all(a.score == b.score for a, b in zip(low.copies[:6], high.copies[:6], strict=True))


def test_groups_depend_on_the_generator_alone():
    first, again, other = (
        make_group(photo(), Labels(SEVERITY, lambda _a, _b: 0.5), np.random.default_rng(seed))
        for seed in (4, 4, 5)
    )
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first.copies, again.copies, strict=True))
    assert any(
        not np.array_equal(a.pixels, b.pixels) for a, b in zip(first.copies, other.copies, strict=True)
    )


def test_masks_of_local_damage_are_neither_all_nor_nothing():
    rng = np.random.default_rng(0)
    shares = [damage._mask((60, 90), rng).mean() for _ in range(60)]
    assert min(shares) > 0.05 and max(shares) < 1


def test_exposure_is_in_linear_light():
    grey = np.full((2, 2, 3), 188, np.uint8)  # sRGB 188 is half of the light of 255
    assert np.abs(damage.exposed(grey, 1).astype(int) - 255).max() <= 1
    assert np.array_equal(damage.exposed(grey, 0), grey)
    assert (damage.exposed(grey, -1) < grey).all()


def test_cards_have_nothing_to_judge():
    group = make_cards(np.random.default_rng(0))
    assert len(group.copies) == GROUP and not group.orders
    for card in group.copies:
        assert card.score == CARD_SCORE and card.pixels.reshape(-1, 3).std(0).max() < 12
        assert REASONS[card.reasons[0]] in ("too dark", "too bright", "low contrast")
