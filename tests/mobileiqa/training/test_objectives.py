"""Objectives against their definitions, computed apart."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from mobileiqa.errors import UserError
from mobileiqa.models.lar_iqa import LarIQASingle
from mobileiqa.models.mobile_iqa import Features, MobileIQA
from mobileiqa.training.objective import Batch, alone
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.recipe import Recipe, recipe
from mobileiqa.training.stage_distillation import same_images
from mobileiqa.zoo import MODELS, build_seeded


def batch_of(n: int, side: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(3)
    levels = torch.arange(n) % 5 + 1
    return Batch(
        (torch.randn(n, 3, side, side, generator=generator),), torch.rand(n, generator=generator),
        torch.arange(n) // 5, torch.arange(n) % 2, torch.full((n,), 7), levels,
    )  # fmt: skip


def setup(selection: Recipe, name: str, **more: object) -> Setup:
    return Setup(selection, build_seeded(name), MODELS[name].spec, **more)


def test_supervised_weighs_the_recipes_losses() -> None:
    selection = dataclasses.replace(
        recipe("lar-iqa-branch"), objective="supervised", losses=(("mse", 3.0), ("plcc", 0.5))
    )
    inputs = setup(selection, "lar-iqa-single")
    batch = batch_of(10)
    with torch.no_grad():
        parts = build_task(inputs).loss(batch, alone)
        scores = inputs.model(*batch.inputs)
    r = torch.corrcoef(torch.stack([scores, batch.score]))[0, 1]
    mse = (scores - batch.score).square().mean()
    assert float(parts["mse"]) == pytest.approx(float(mse), rel=1e-5)
    assert float(parts["loss"]) == pytest.approx(float(3 * mse + 0.5 * (1 - r)), rel=1e-4)


def test_degradation_adds_the_cross_entropy_of_distortion_and_level() -> None:
    inputs = setup(recipe("reference"), "lar-iqa-single")
    task, batch = build_task(inputs), batch_of(10)
    with torch.no_grad():
        parts = task.loss(batch, alone)
        logits = task.module.classify(inputs.model.forward_features(*batch.inputs))
    picked = torch.log_softmax(logits, 1)[torch.arange(10), (7 - 1) * 5 + batch.level - 1]
    assert float(parts["classes"]) == pytest.approx(float(-picked.mean()), rel=1e-4)
    without = dataclasses.replace(batch, level=torch.where(batch.level == 2, -1, batch.level))
    with torch.no_grad():
        fewer = float(task.loss(without, alone)["classes"])
    assert fewer == pytest.approx(float(-picked[batch.level != 2].mean()), rel=1e-4)


def test_every_set_trains_its_own_head_and_the_shared_branch() -> None:
    inputs = setup(recipe("lar-iqa-branch"), "lar-iqa-single", datasets=2)
    task, batch = build_task(inputs), batch_of(6)
    batch = dataclasses.replace(batch, dataset=torch.zeros(6, dtype=torch.int64))
    task.loss(batch, alone)["loss"].backward()
    assert inputs.model.head.base_weight.grad is not None
    assert task.module.others[0].base_weight.grad.abs().max() == 0  # no image of its set was in the batch
    assert inputs.model.reduce.base_weight.grad.abs().max() > 0
    model, _ = task.export()
    assert isinstance(model, LarIQASingle)


class Student(MobileIQA):
    """MobileIQA with five levels and opinions of one value each: distillation's arithmetic is the subject."""

    def __init__(self, level: float, opinion: float) -> None:
        nn.Module.__init__(self)
        self.level, self.opinion = nn.Parameter(torch.tensor(level)), nn.Parameter(torch.tensor(opinion))

    def forward_features(self, image: torch.Tensor) -> Features:
        n = len(image)
        return Features(
            self.level.expand(5, n, 2, 2, 2),
            self.opinion * torch.arange(1.0, 4)[:, None, None].expand(3, n, 4),
        )

    def forward_head(self, features: Features) -> torch.Tensor:
        return features.opinions.mean((0, 2))


@pytest.mark.parametrize(
    ("name", "alpha", "levels"), [("mobileiqa-distill", 2.0, 0.0), ("mobileiqa-distill-code", 1.0, 1.0)]
)
def test_distillation_is_the_papers_or_the_codes_sum(name: str, alpha: float, levels: float) -> None:
    student, teacher = Student(0.5, 1.0), Student(0.2, 1.5)
    task = build_task(Setup(recipe(name), student, MODELS["mobilenet-iqa"].spec, teacher=teacher))
    batch = batch_of(5)
    parts = task.loss(batch, alone)
    opinions = sum((0.5 * i) ** 2 for i in (1, 2, 3)) / 3
    score = float((2.0 - batch.score).square().mean())
    assert parts["loss"].item() == pytest.approx(opinions + alpha * score + levels * 0.3**2, rel=1e-5)
    parts["loss"].backward()
    assert student.opinion.grad is not None and teacher.opinion.grad is None


def test_a_branch_that_is_its_teacher_has_nothing_left_to_learn() -> None:
    inputs = setup(recipe("reference-branch"), "lar-iqa-lite", teacher=build_seeded("lar-iqa-lite"))
    task, batch = build_task(inputs), batch_of(4)
    for adapter in task.module.adapters:  # the same channels: nothing to adapt
        nn.init.dirac_(adapter.weight)
        nn.init.zeros_(adapter.bias)
    nn.init.eye_(task.module.adapt.weight)
    nn.init.zeros_(task.module.adapt.bias)
    with torch.no_grad():
        task.module.eval()
        parts = task.loss(batch, alone)
    assert float(parts["stages"]) < 1e-10 and float(parts["features"]) < 1e-10
    assert float(parts["loss"]) == pytest.approx(float(5 * parts["mse"] + 0.5 * parts["plcc"]), rel=1e-5)


def test_a_branch_of_another_backbone_learns_its_teachers_maps() -> None:
    """The teacher reads the same photo, though the two normalise it differently."""
    teacher, spec = build_seeded("lar-iqa-lite"), MODELS["lar-iqa-lite"].spec
    inputs = setup(recipe("reference-branch"), "lar-iqa-single", teacher=teacher, teacher_spec=spec)
    before = copy.deepcopy(teacher.state_dict())
    task, batch = build_task(inputs), batch_of(4)
    optimizer = torch.optim.AdamW(task.module.parameters(), 3e-3)
    task.module.train()
    errors = []
    for _ in range(10):
        parts = task.loss(batch, alone)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        errors.append(float(parts["stages"]))
    assert errors[-1] < 0.8 * errors[0]
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert all(b.grad is not None for b in inputs.model.parameters())


def test_images_are_normalised_anew_for_the_teacher() -> None:
    own, other = (MODELS[name].spec.inputs[0] for name in ("lar-iqa-single", "lar-iqa-lite"))
    pixels = torch.rand(2, 3, 5, 4)
    mean, std = (torch.tensor(v)[:, None, None] for v in (own.mean, own.std))
    assert torch.allclose(same_images((pixels - mean) / std, own, other), (pixels - 0.5) / 0.5, atol=1e-6)


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="single LAR-IQA branches"):
        build_task(setup(recipe("reference-branch"), "lar-iqa-single", teacher=Student(0.0, 0.0)))
    with pytest.raises(UserError, match="lar-iqa-single"):
        build_task(Setup(recipe("reference"), nn.Identity(), MODELS["mobilenet-iqa"].spec))
    with pytest.raises(UserError, match="--teacher"):
        build_task(Setup(recipe("mobileiqa-distill"), Student(0.0, 0.0), MODELS["mobilenet-iqa"].spec))
