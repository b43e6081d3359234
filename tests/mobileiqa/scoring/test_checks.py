"""What no model's score can be: not finite, far outside the range, or the same for every picture."""

import math
from pathlib import Path

import pytest

from mobileiqa.scoring.checks import constant_warning, score_error
from mobileiqa.spec import InputSpec, ModelSpec


def spec(low: float = 0.0, high: float = 1.0, trained_on: str = "photos") -> ModelSpec:
    return ModelSpec("m", (InputSpec("image", 8, 8),), score_range=(low, high), trained_on=trained_on)


@pytest.mark.parametrize("score", [0.0, 1.0, -0.25, 1.25, 0.5])
def test_scores_within_the_margin_pass(score: float) -> None:
    assert score_error(score, spec()) == ""


@pytest.mark.parametrize("score", [-415.0, -0.2501, 1.2501, 1e30, math.nan, math.inf, -math.inf])
def test_scores_beyond_it_do_not(score: float) -> None:
    assert score_error(score, spec()).startswith("the model's score is")


def test_the_margin_is_a_share_of_the_models_own_range() -> None:
    assert score_error(124.0, spec(0, 100)) == "" and "outside 0..100 by more than 25" in score_error(
        126.0, spec(0, 100)
    )
    assert score_error(0.9, spec(1, 5)) == "" and "outside 1..5 by more than 1" in score_error(
        -0.1, spec(1, 5)
    )


def test_untrained_weights_know_no_range_but_must_be_finite() -> None:
    assert score_error(7.0, spec(trained_on="")) == ""
    assert score_error(math.nan, spec(trained_on="")) == "the model's score is nan"


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]))
    return paths


def test_one_score_for_different_pictures_is_warned_of(pictures: list[Path]) -> None:
    assert "all 4 images, 4 different files, score 0.453" in constant_warning([0.453] * 4, pictures, spec())
    assert constant_warning([0.453, 0.453 + 5e-7, 0.453, 0.453], pictures, spec())
    assert not constant_warning([0.453, 0.4531, 0.453, 0.453], pictures, spec())
    assert constant_warning([45.3, 45.30005, 45.3, 45.3], pictures, spec(0, 100))


def test_few_pictures_and_copies_of_one_say_nothing(pictures: list[Path]) -> None:
    assert not constant_warning([], [], spec())
    assert not constant_warning([0.5, 0.5], pictures[:2], spec())
    for path in pictures[2:]:
        path.write_bytes(pictures[0].read_bytes())
    assert not constant_warning([0.5] * 4, pictures, spec())
