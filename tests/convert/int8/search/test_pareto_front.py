"""The budget, the choice, and how both are shown."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.int8.recipe import Recipe
from convert.int8.search.pareto_front import Budget, Measured, choose, draw, rows, table
from convert.runtimes.latency import Timing
from mobileiqa.errors import UserError

BUDGET = Budget(0.005)


def measured(
    name: str, srcc: float | None, shift: float | None, size: int = 100, failure: str = ""
) -> Measured:
    """A candidate whose SHA-256 is `name`."""
    recipe = Recipe("static", "mse", (f"^{name}$",))
    return Measured(recipe, name, size, srcc, shift, shift, 0.0, 0.01, failure)


def timings(**ms: float) -> dict[str, Timing]:
    return {name: Timing((value + 1, value, value + 2), False) for name, value in ms.items()}


def test_the_limits_themselves_are_inside() -> None:
    assert BUDGET.broken(measured("a", 0.995, 0.01)) == ""
    assert BUDGET.broken(measured("a", 0.9949, 0.01)) == "1 - SRCC 0.0051"
    assert BUDGET.broken(measured("a", 0.99, 0.02)) == "1 - SRCC 0.0100, shift 0.0200"
    assert Budget(0).broken(measured("a", 1 - 1e-12, 0.0)) == ""  # a correlation of exactly one, rounded
    assert BUDGET.broken(measured("a", None, 0.0)) == "its scores do not vary"
    assert BUDGET.broken(measured("a", None, None, failure="output is not finite")) == "output is not finite"


@pytest.mark.parametrize("drop", [-0.001, 0.02, math.nan])
def test_a_budget_that_parity_would_not_let_pass_is_refused(drop: float) -> None:
    with pytest.raises(UserError, match=r"--max-srcc-drop of 0 to 0\.01"):
        Budget(drop)


def test_the_fastest_inside_is_chosen() -> None:
    results = [measured("slow", 1.0, 0.001), measured("fast", 0.996, 0.009), measured("fastest", 0.99, 0.001)]
    assert choose(results, timings(slow=9.0, fast=5.0, fastest=1.0), BUDGET) == results[1]
    assert choose(results[2:], timings(fastest=1.0), BUDGET) is None


def test_within_noise_the_more_accurate_is_chosen_in_any_order() -> None:
    results = [measured("a", 0.996, 0.004), measured("b", 0.999, 0.004), measured("c", 1.0, 0.0)]
    known = timings(a=10.0, b=10.29, c=10.31)
    assert {choose(order, known, BUDGET).sha256 for order in (results, results[::-1])} == {"b"}
    # accuracy alike: the smaller file
    twins = [measured("a", 0.999, 0.004, size=90), measured("b", 0.999, 0.004, size=80)]
    assert choose(twins, timings(a=1.0, b=1.0), BUDGET).sha256 == "b"


def test_a_launch_that_was_disturbed_does_not_decide() -> None:
    assert Timing((30.0, 10.0, 11.0), True).ms == 10.0


def test_the_excess_is_the_worse_of_both_losses() -> None:
    assert BUDGET.loss_ratio(measured("a", 0.99, 0.001)) == pytest.approx(2)
    assert BUDGET.loss_ratio(measured("a", 0.999, 0.03)) == pytest.approx(3)
    assert BUDGET.loss_ratio(measured("a", None, None, failure="x")) == math.inf


def test_rows_survive_json_and_a_table_names_what_is_broken() -> None:
    results = [measured("bad", 0.9, 0.05), measured("slow", 1.0, 0.0), measured("good", 0.999, 0.002),
             measured("nan", None, None, failure="output is not finite")]  # fmt: skip
    output = rows(results, timings(good=2.0, slow=3.0), BUDGET, results[2])
    assert [row["sha256"] for row in output] == ["good", "slow", "bad", "nan"]
    for row, one in zip(
        json.loads(json.dumps(output, allow_nan=False)), [results[i] for i in (2, 1, 0, 3)], strict=True
    ):
        rest = {f.name: row[f.name] for f in dataclasses.fields(Measured)}
        assert Measured.from_json(rest) == one
    lines = table(output)
    assert lines[1].startswith("* static") and lines[1].endswith("inside")
    assert lines[3].endswith("1 - SRCC 0.1000, shift 0.0500") and lines[4].endswith("output is not finite")


def test_the_picture_shows_every_timed_candidate(tmp_path: Path) -> None:
    def reds(path: Path) -> int:
        """Pixels of the budget's line."""
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        return int(((pixels[..., 0] > 180) & (pixels[..., 1] < 80) & (pixels[..., 2] < 80)).sum())

    results = [measured("a", 0.999, 0.004), measured("b", 0.9, 0.04), measured("c", 1.0, 0.0)]
    output = rows(results, timings(a=1.0, b=2.0, c=3.0), BUDGET, results[0])
    draw(output, 4.0, BUDGET, "title", tmp_path / "front.png")
    draw(output[:1], 4.0, BUDGET, "title", tmp_path / "one.png")
    assert Image.open(tmp_path / "front.png").size == (1320, 576) and reds(tmp_path / "front.png") > 300
    assert (tmp_path / "front.png").read_bytes() != (tmp_path / "one.png").read_bytes()


def test_a_title_is_no_formula(tmp_path: Path) -> None:
    candidates = rows([measured("m$x^$y_{", 0.999, 0.004)], timings(**{"m$x^$y_{": 1.0}), BUDGET, None)
    draw(candidates, 4.0, BUDGET, r"m$x^$y_{\frac", tmp_path / "front.png")
    assert Image.open(tmp_path / "front.png").size == (1320, 576)
