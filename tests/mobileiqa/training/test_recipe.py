"""Recipes: the papers' settings, and what a user may change."""

import dataclasses
import itertools

import pytest
import torch

from mobileiqa.errors import UserError
from mobileiqa.training.loss_terms import TERMS
from mobileiqa.training.objectives import OBJECTIVES
from mobileiqa.training.recipe import RECIPES, learning_rate, recipe, with_overrides
from mobileiqa.zoo import MODELS


def test_every_recipe_names_what_exists() -> None:
    for result in RECIPES.values():
        assert result.model in MODELS
        assert result.objective in OBJECTIVES
        assert {name for name, _ in result.losses} <= set(TERMS)


def test_the_papers_settings() -> None:
    distill = recipe("mobileiqa-distill")
    assert (distill.optimizer, distill.lr, distill.weight_decay) == ("adam", 1e-5, 1e-5)
    assert (distill.epochs, distill.batch, distill.cosine_epochs, distill.seed) == (300, 8, 50, 3407)
    assert distill.option("alpha") == 2.0 and distill.option("levels") == 0.0
    code = recipe("mobileiqa-distill-code")
    assert (code.option("alpha"), code.option("levels")) == (1.0, 1.0)
    assert (recipe("mobileiqa-teacher").epochs, recipe("mobileiqa-teacher").batch) == (100, 4)
    lar = recipe("lar-iqa-kan")
    assert (lar.optimizer, lar.lr, lar.weight_decay, lar.warmup_epochs) == ("adamw", 5e-5, 1e-4, 5)
    assert lar.losses == (("mse", 1.0), ("plcc", 1.0))
    assert not (lar.flip_h or lar.flip_v or lar.random_crops), "the public code does neither"
    noisy = recipe("lar-iqa-branch-jnd")
    assert 0 < noisy.jnd < 1
    assert dataclasses.replace(noisy, name="lar-iqa-branch", jnd=0.0) == recipe("lar-iqa-branch")


def test_overrides_are_typed_and_checked() -> None:
    changed = with_overrides(recipe("reference"), ["lr=0.01", "epochs=3", "flip_h=false", "batch=40"])
    assert (changed.lr, changed.epochs, changed.flip_h, changed.batch) == (0.01, 3, False, 40)
    for wrong in (
        "lr",
        "lr=fast",
        "lr=nan",
        "lr=-1",
        "flip_h=1",
        "colour=3",
        "batch=0",
        "group=3",
        "group=0",
        "model=x",
        "epochs=1.5",
        "jnd=1.5",
    ):
        with pytest.raises(UserError):
            with_overrides(recipe("reference"), [wrong])


def test_an_unknown_recipe_lists_the_names() -> None:
    with pytest.raises(UserError, match="mobileiqa-teacher"):
        recipe("best")


def test_cosine_is_torchs_also_after_its_length() -> None:
    student = recipe("mobileiqa-student")
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], student.lr)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for epoch in range(120):
        assert learning_rate(student, 7 * epoch, 7) == pytest.approx(
            theirs.get_last_lr()[0], rel=1e-9, abs=1e-15
        )
        optimizer.step()
        theirs.step()


def test_warm_up_rises_linearly_to_lr_and_the_end_is_final_lr() -> None:
    branch = dataclasses.replace(recipe("lar-iqa-branch"), epochs=10, warmup_epochs=2.0, final_lr=0.1)
    rates = [learning_rate(branch, step, 5) for step in range(51)]
    steps = [b - a for a, b in itertools.pairwise(rates[:11])]
    assert steps == pytest.approx([branch.lr / 11] * 10)
    assert rates[10] == pytest.approx(branch.lr)
    assert rates[50] == pytest.approx(0.1 * branch.lr)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
