"""The learning rate against torch's own schedulers."""

import dataclasses
import itertools

import pytest
import torch

from mobileiqa.training.recipe import recipe
from mobileiqa.training.schedule import learning_rate


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
