"""Reasons: every distortion and level shows one, and what changes nothing shows none."""

import pytest

from mobileiqa.reasons import NONE, REASONS, reason_of


def test_every_cell_has_a_reason_and_every_reason_a_cell():
    cells = {(n, level): reason_of(n, level) for n in range(1, 26) for level in range(1, 6)}
    assert set(cells.values()) == set(range(len(REASONS)))
    assert {cell for cell, reason in cells.items() if reason == NONE} == {(18, 3), (25, 3)}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [((1, 5), "blur"), ((3, 4), "motion blur"), ((10, 1), "compression"), ((11, 3), "noise"), ((16, 5), "too bright"),
     ((17, 5), "too dark"), ((18, 1), "too bright"), ((18, 5), "too dark"), ((25, 5), "low contrast"),
     ((24, 2), "over-sharpened"), ((21, 3), "pixelated"), ((7, 1), "colour")],
)  # fmt: skip
def test_distortions_show_the_defect_that_they_are(cell, reason):
    assert REASONS[reason_of(*cell)] == reason
