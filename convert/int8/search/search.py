"""`--int8 auto`: the fastest recipe whose scores stay inside a budget, found by trying recipes for real.

    1. static with every method of ranges      the better ranges serve from here on
    2. sensitivity                             which layers to give back to float first (sensitivity.py)
    3. each base recipe, which keeps no layer in float by name: static with 0, 1, 2... first convolutions in
       float, the default recipe, dynamic, weights. Inside the budget it stays as it is; outside, 1, 2, 4... of its
       most sensitive layers go back to float until it is inside
    4. latency of every candidate inside, and of the base recipes; the fastest inside is chosen (pareto_front.py)

Accuracy comes first because it is cheap and repeats exactly; a clock does neither. A recipe with more layers in float
than one that is inside already is not tried: it can only be slower. Everything measured lies in NAME.search until the
file is published, so a search that was killed goes on (candidates.py).
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.flatbuffer import model as fb
from convert.int8.recipe import Plan, Recipe, plan
from convert.int8.search import pareto_front, sensitivity
from convert.int8.search.candidates import Candidates, open_folder
from convert.int8.search.pareto_front import Budget, Measured, OverBudgetError
from convert.int8.search.sensitivity import Layer
from convert.int8.search.session import RESULTS
from convert.int8.search.validation_split import ValidationSplit
from convert.int8.statistics.activation_ranges import METHODS
from mobileiqa import cli
from mobileiqa.spec import ModelSpec

FIRST = (0, 1, 2, 3, 5)  # convolutions from the image on in float; 3 is the recipe's own default
KEPT = (0, 1, 2, 4, 8, 16, 32)  # most sensitive layers in float


@dataclass(frozen=True)
class Search:
    """What is searched for, the images it is searched with, and the folder that remembers (NAME.search)."""

    budget: Budget
    split: ValidationSplit
    folder: Path


def search(fp32: bytes, spec: ModelSpec, task: Search) -> Recipe:
    """The recipe for an FP32 file of ours; RESULTS are written into the folder.

    Raises OverBudgetError, with the closest candidates, when none keeps to the budget, and UserError for a folder
    that is not a search's and a benchmark that fails.
    """
    candidates, budget = open_folder(fp32, spec, task.split, task.folder), task.budget
    by_sha256: dict[str, Measured] = {}
    for one in cli.progress(_measured(candidates, budget), "INT8 recipes"):
        known = by_sha256.setdefault(
            one.sha256, one
        )  # two recipes that do the same are one file: the shorter stays
        if len(one.recipe.keep_float) < len(known.recipe.keep_float):
            by_sha256[one.sha256] = one
    inside = [one for one in by_sha256.values() if not budget.broken(one)]
    if not inside:
        closest = sorted(by_sha256.values(), key=lambda one: (budget.loss_ratio(one), one.name))
        raise OverBudgetError(budget, pareto_front.rows(closest[: pareto_front.CLOSEST], {}, budget))
    base_recipes = [one for one in by_sha256.values() if not one.recipe.keep_float]
    timings, session = candidates.timings({one.sha256: one for one in [*inside, *base_recipes]}.values())
    winner = pareto_front.choose(inside, timings, budget)
    assert winner is not None, "every candidate inside the budget was timed"
    fp32_ms = timings[candidates.identity["fp32"]].ms
    rows = pareto_front.rows(list(by_sha256.values()), timings, budget, winner)
    _note_disturbed([row["name"] for row in rows if (t := timings.get(row["sha256"])) and t.disturbed])
    content = {
        "schema": 1, "budget": dataclasses.asdict(budget), "judged_on": task.split.source,
        **candidates.identity, "fp32_latency_ms": fp32_ms, "session": session, "candidates": rows,
        "launches_ms": {digest: timing.launch_ms for digest, timing in timings.items()},
    }  # fmt: skip
    recipe, data, picture = (task.folder / name for name in RESULTS)
    cli.write_json(recipe, winner.recipe.to_json())
    cli.write_json(data, content)
    validation = len(task.split.validation)
    title = (
        f"{spec.name}: {len(by_sha256)} INT8 files, validated on {validation} images; chosen: {winner.name}"
    )
    with cli.atomic(picture) as temporary:
        pareto_front.draw(rows, fp32_ms, budget, title, temporary)
    return winner.recipe


def _measured(candidates: Candidates, budget: Budget) -> Iterator[Measured]:
    """Every candidate, as it is measured; some come twice."""
    model = fb.read(candidates.fp32)
    everything = [candidates.measure(Recipe("static", ranges, float_first=0)) for ranges in METHODS]
    yield from everything
    base = min(everything, key=budget.loss_ratio)
    layers = sensitivity.layers(model, _quantized(plan(model, base.recipe)))
    grouped = sensitivity.blocks(layers)
    by_block = (
        [candidates.measure(_keeping(base.recipe, block)) for block in grouped]
        if len(grouped) > 1
        else [base]
    )
    yield from by_block
    for candidate in by_block:
        if budget.broken(candidate) and candidate is not base:
            candidates.discard(candidate)
    order = _order(candidates, base, grouped, by_block)
    for base_recipe, quantized in _base_recipes(model, base.recipe.ranges):
        names = set(quantized)
        yield from _ablation(
            candidates, base_recipe, [x for x in order if names.intersection(x.names)], budget
        )


def _order(
    candidates: Candidates, base: Measured, grouped: Sequence[tuple[Layer, ...]], by_block: Sequence[Measured]
) -> list[Layer]:
    """The layers, most sensitive first; images that calibrate show the noise."""

    def measure() -> dict[str, float]:
        images = itertools.islice(candidates.calibrating(), sensitivity.IMAGES)
        flat = [layer for block in grouped for layer in block]
        return sensitivity.noise(candidates.fp32, candidates.file(base), flat, images)

    ratios = candidates.remembered(f"noise of {base.sha256}", measure)
    gains = [(base.mean_abs or 0.0) - (candidate.mean_abs or 0.0) for candidate in by_block]
    return [layer for layer, _ in sensitivity.order(grouped, ratios, gains)]


def _base_recipes(model: Any, ranges: str) -> list[tuple[Recipe, tuple[str, ...]]]:
    """Recipes that keep no layer in float by name, without those that mean the same, and what each quantizes."""
    recipes = [Recipe("static", ranges, float_first=count) for count in FIRST]
    recipes += [Recipe(), *(Recipe(mode, ranges) for mode in ("dynamic", "weights"))]
    different: dict[tuple[Plan, str], Recipe] = {}
    for recipe in recipes:
        different.setdefault((plan(model, recipe), recipe.ranges), recipe)
    return [(recipe, _quantized(planned)) for (planned, _), recipe in different.items()]


def _ablation(
    candidates: Candidates, base_recipe: Recipe, order: Sequence[Layer], budget: Budget
) -> Iterator[Measured]:
    """The base recipe, then with more and more of its layers in float, up to the first one inside the budget."""
    for count in KEPT:
        if count >= len(order):  # with all of them in float nothing would be left to quantize
            return
        candidate = candidates.measure(_keeping(base_recipe, order[:count]))
        yield candidate
        if not budget.broken(candidate):
            return
        if count:
            candidates.discard(candidate)


def _keeping(recipe: Recipe, layers: Sequence[Layer]) -> Recipe:
    return dataclasses.replace(recipe, keep_float=tuple(layer.expression for layer in layers))


def _quantized(planned: Plan) -> tuple[str, ...]:
    return (*planned.static, *planned.dynamic, *planned.weights)


def _note_disturbed(names: Sequence[str]) -> None:
    if names:
        cli.note(
            f"while {', '.join(names)} ran, something else used the machine: latencies may be high, and the "
            "choice another than on a calm one"
        )
