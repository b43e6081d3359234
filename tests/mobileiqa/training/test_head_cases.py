"""What the head is tuned on: labels and orders do not contradict each other, and every kind of damage is there."""

import numpy as np
import pytest

from mobileiqa.reasons import NONE
from mobileiqa.training import head_cases
from mobileiqa.training.head_cases import FULL_SIZE, FULL_SIZE_ORDERS, PART_ORDERS, SAME_ORDERS, Case

SEVERITY = {(d, level): 0.95 - 0.17 * level for d in range(1, 26) for level in range(1, 6)}


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (600, 640, 3)).astype(np.uint8)


def test_the_better_one_of_a_pair_has_the_higher_label_where_both_have_one() -> None:
    for better, worse in (*FULL_SIZE_ORDERS, *PART_ORDERS):
        if FULL_SIZE[better].weight and FULL_SIZE[worse].weight:
            assert FULL_SIZE[better].score > FULL_SIZE[worse].score


def test_every_damage_at_full_size_is_made_once_and_orders_are_between_them(photo: np.ndarray) -> None:
    pictures, orders = head_cases.full_size(photo, np.random.default_rng(2))
    assert sorted(map(id, (case for _, case in pictures))) == sorted(map(id, FULL_SIZE.values()))
    assert len(orders) == len(FULL_SIZE_ORDERS) + len(PART_ORDERS) + len(SAME_ORDERS)
    shapes = {pixels.shape for pixels, _ in pictures}
    assert (300, 320, 3) in shapes and all(pixels.dtype == np.uint8 for pixels, _ in pictures)
    cases = [case for _, case in pictures]
    better, worse, _ = orders[-3]  # all but the centre blurred, over all blurred
    assert cases[better] is FULL_SIZE["centre sharp"] and cases[worse] is FULL_SIZE["blurred"]
    (a, b, margin), back = orders[-2:]  # the half-size copy scores the same
    assert cases[b] is FULL_SIZE["half size"] and back == (b, a, margin) and margin < 0
    sharp = pictures[better][0][200:400, 250:400]
    assert np.array_equal(sharp, pictures[cases.index(FULL_SIZE["original"])][0][200:400, 250:400])


def test_cells_follow_the_human_means(monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    monkeypatch.setattr(head_cases, "distort", lambda pixels, *cell: np.full((2, 2, 3), cell[0] * cell[1]))
    pictures, orders = head_cases.cells(photo, SEVERITY, np.random.default_rng(3))
    assert 50 < len(pictures) < 100 and pictures[0][1].reasons == (NONE,)
    cases = [case for _, case in pictures]
    assert orders and all(cases[a].score - cases[b].score >= margin > 0 for a, b, margin in orders)
    assert {case.cell for case in cases[1:]} <= set(range(125))


def test_a_level_that_is_no_worse_has_no_order(monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    monkeypatch.setattr(head_cases, "distort", lambda pixels, *_: pixels)
    even = dict.fromkeys(SEVERITY, 0.85)
    assert head_cases.cells(photo, even, np.random.default_rng(3))[1] == []


def test_nothing_is_wrong_with_pristine_versions_of_any_size(photo: np.ndarray) -> None:
    pictures, orders = head_cases.pristine(photo, np.random.default_rng(4))
    cases: list[Case] = [case for _, case in pictures]
    assert len(cases) == 5 and not orders and all(case.reasons == (NONE,) for case in cases)
    assert pictures[3][0].shape[0] < 600 < pictures[4][0].shape[0]
