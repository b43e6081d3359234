"""What is trained and against what: plain functions from a model to a Task.

supervised   the model's score against the labels, with the recipe's losses
degradation  the same, and each distorted image's distortion and level as a class: from scratch, and on
             little data, knowing what was done to an image is learnt much sooner than how bad it looks
multi-task   LAR-IQA's branch with one head per dataset (their scales differ); the first one is exported
distill      MobileIQA's student against a teacher's opinion features
imitate      a LAR-IQA branch against a trained one of another backbone (stage_distillation.py)
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mobileiqa.errors import UserError
from mobileiqa.layers.kan import KANLinear
from mobileiqa.models.lar_iqa import SINGLE_WIDTH, LarIQASingle
from mobileiqa.models.mobile_iqa import MobileIQA
from mobileiqa.spec import ModelSpec
from mobileiqa.training import objective, stage_distillation
from mobileiqa.training.objective import Batch, Gather, Task
from mobileiqa.training.recipe import Recipe

DISTORTIONS, LEVELS = 25, 5
RANK_MARGIN = 0.05  # in label units (0..1): neighbouring levels differ by about 0.15


@dataclass(frozen=True)
class Setup:
    """What an objective is built from."""

    recipe: Recipe
    model: nn.Module
    spec: ModelSpec
    datasets: int = 1  # how many sets the training images come from
    teacher: nn.Module | None = None
    teacher_spec: ModelSpec | None = None


def build_task(setup: Setup) -> Task:
    """The task of the recipe's objective. UserError where the model or the teacher does not fit it."""
    return OBJECTIVES[setup.recipe.objective](setup)


def supervised(setup: Setup) -> Task:
    """Scores against labels."""

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        return _scored(setup.recipe, setup.model(*batch.inputs), batch, gather)

    spec = dataclasses.replace(setup.spec, reasons=())  # labels of scores teach no reasons
    return Task(setup.model, loss, setup.model, lambda: (setup.model, spec))


class Degradations(nn.Module):
    """A model and, on its features (N, width), a classifier of 25 distortions x 5 levels."""

    def __init__(self, model: LarIQASingle) -> None:
        super().__init__()
        self.model = model
        self.classify = nn.Linear(model.width, DISTORTIONS * LEVELS)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised images (N, 3, H, W) -> scores (N,), logits (N, 125)."""
        features = self.model.forward_features(image)
        # The KAN's splines cover about -2..2 and are sums of products: not for half precision.
        with torch.autocast(image.device.type, enabled=False):
            features = features.float()
            return self.model.forward_head(features), self.classify(features)


def degradation(setup: Setup) -> Task:
    """Scores against labels, plus `classes` times the cross-entropy of (distortion, level)."""
    if not isinstance(setup.model, LarIQASingle):
        raise UserError("lar-iqa-single for this recipe", setup.spec.name, "choose another recipe")
    module = Degradations(setup.model)
    weight = setup.recipe.option("classes", 1.0)

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        score, logits = module(*batch.inputs)
        parts = _scored(setup.recipe, score, batch, gather)
        known = (batch.distortion > 0) & (batch.level > 0)
        label = torch.where(known, (batch.distortion - 1) * LEVELS + batch.level - 1, -1)
        classes = _cross_entropy(gather(logits), gather(label))
        return {**parts, "classes": classes, "loss": parts["loss"] + weight * classes}

    return Task(module, loss, setup.model, lambda: (setup.model, setup.spec))


def _cross_entropy(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The mean over the rows whose label is not -1; 0 when there is none."""
    total = nn.functional.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
    return total / (label >= 0).sum().clamp(min=1)


class Heads(nn.Module):
    """LAR-IQA's branch with one KAN head per dataset; head 0 is the model's own."""

    def __init__(self, model: LarIQASingle, datasets: int) -> None:
        super().__init__()
        self.model = model
        self.others = nn.ModuleList(KANLinear(SINGLE_WIDTH, 1) for _ in range(datasets - 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised images (N, 3, H, W) -> (N, datasets)."""
        reduced = self.model.reduce(self.model.forward_features(image))
        return torch.cat([head(reduced) for head in (self.model.head, *self.others)], 1)


def multi_task(setup: Setup) -> Task:
    """Each image's own head against its label; the losses are averaged over the sets in the batch."""
    if not isinstance(setup.model, LarIQASingle):
        raise UserError("lar-iqa-single for this recipe", setup.spec.name, "choose another recipe")
    module = Heads(setup.model, setup.datasets)

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        scores, source = gather(module(*batch.inputs)), gather(batch.dataset)
        whole = {
            f.name: gather(getattr(batch, f.name)) for f in dataclasses.fields(Batch) if f.name != "inputs"
        }
        parts = []
        for head in range(setup.datasets):
            mine = source == head
            if mine.any():
                labels = {name: column[mine] for name, column in whole.items()}
                parts.append(_terms(setup.recipe, scores[mine, head], labels))
        return {name: torch.stack([p[name] for p in parts]).mean() for name in parts[0]}

    return Task(module, loss, setup.model, lambda: (setup.model, setup.spec))


def distill(setup: Setup) -> Task:
    """MobileIQA's student: mean over the opinion features of their MSE to the teacher's + alpha * MSE(score, label).

    `levels` adds the MSE of the stacked LDA outputs, as the public code does and the paper does not.
    """
    student, teacher = setup.model, setup.teacher
    if not isinstance(student, MobileIQA) or not isinstance(teacher, MobileIQA):
        raise UserError("MobileIQA models as student and teacher", setup.spec.name, "give --teacher CKPT")
    teacher.eval().requires_grad_(False)
    alpha, levels = setup.recipe.option("alpha", 2.0), setup.recipe.option("levels")

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        image = batch.inputs[0]
        with torch.no_grad():
            targets = teacher.to(image.device).forward_features(image)
        features = student.forward_features(image)
        mse = nn.functional.mse_loss
        opinions = _mean(mse(features.opinions, targets.opinions), gather)
        score = objective.mse(gather(student.forward_head(features)), gather(batch.score))
        parts = {"opinions": opinions, "mse": score, "loss": opinions + alpha * score}
        if levels:
            parts["levels"] = _mean(mse(features.levels, targets.levels), gather)
            parts["loss"] = parts["loss"] + levels * parts["levels"]
        return parts

    return Task(student, loss, student, lambda: (student, setup.spec))


def imitate(setup: Setup) -> Task:
    """The student's maps and features against the teacher's, and its scores against labels."""
    module = stage_distillation.prepare_pair(setup.model, setup.teacher, setup.spec)
    teacher, stages, features = setup.teacher, setup.recipe.option("stages"), setup.recipe.option("features")
    wanted_spec = (setup.teacher_spec or setup.spec).inputs[0]

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        image = batch.inputs[0]
        with torch.no_grad():
            seen = stage_distillation.same_images(image, setup.spec.inputs[0], wanted_spec)
            maps, features_wanted = stage_distillation.stages(teacher.to(image.device), seen)
        found_maps, opinions, score = module(image)
        parts = _scored(setup.recipe, score, batch, gather)
        errors = [stage_distillation.relative_error(a, b) for a, b in zip(found_maps, maps, strict=True)]
        parts["stages"] = _mean(torch.stack(errors).mean(), gather)
        parts["features"] = _mean(stage_distillation.relative_error(opinions, features_wanted), gather)
        parts["loss"] = parts["loss"] + stages * parts["stages"] + features * parts["features"]
        return parts

    return Task(module, loss, setup.model, lambda: (setup.model, setup.spec))


def _mean(value: torch.Tensor, gather: Gather) -> torch.Tensor:
    return gather(value.reshape(1)).mean()


def _scored(recipe: Recipe, score: torch.Tensor, batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
    labels = {f.name: gather(getattr(batch, f.name)) for f in dataclasses.fields(Batch) if f.name != "inputs"}
    return _terms(recipe, gather(score), labels)


def _terms(recipe: Recipe, score: torch.Tensor, labels: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each of the recipe's losses, and "loss", their weighted sum."""
    score = score.float()
    parts = {name: TERMS[name](score, labels) for name, _ in recipe.losses}
    return {
        **parts,
        "loss": sum((weight * parts[name] for name, weight in recipe.losses), score.new_zeros(())),
    }


def _ranked(score: torch.Tensor, labels: dict[str, torch.Tensor]) -> torch.Tensor:
    return objective.rank_pairs(score, labels["score"], labels["group"], RANK_MARGIN)


TERMS: dict[str, Callable[[torch.Tensor, dict[str, torch.Tensor]], torch.Tensor]] = {
    "mse": lambda score, labels: objective.mse(score, labels["score"]),
    "mae": lambda score, labels: objective.mae(score, labels["score"]),
    "plcc": lambda score, labels: objective.plcc_loss(score, labels["score"]),
    "norm-in-norm": lambda score, labels: objective.norm_in_norm(score, labels["score"]),
    "monotonicity": lambda score, labels: objective.monotonicity(score, labels["score"]),
    "rank": _ranked,
}
OBJECTIVES: dict[str, Callable[[Setup], Task]] = {
    "supervised": supervised,
    "degradation": degradation,
    "multi-task": multi_task,
    "distill": distill,
    "imitate": imitate,
}
