"""What is trained and against what: plain functions from a model to a Task.

supervised   the model's score against the labels, with the recipe's losses
degradation  the same, and each distorted image's distortion and level as a class: from scratch, and on
             little data, knowing what was done to an image is learnt much sooner than how bad it looks
multi-task   LAR-IQA's branch with one head per dataset (their scales differ); the first one is exported
distill      MobileIQA's student against a teacher's opinion features
imitate      a LAR-IQA branch against a trained one of another backbone (stage_distillation.py)
the rest     single published systems' (system_objectives.py)
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from mobileiqa.errors import UserError
from mobileiqa.layers.kan import KANLinear
from mobileiqa.models.lar_iqa import SINGLE_WIDTH, LarIQASingle
from mobileiqa.models.mobile_iqa import Features, MobileIQA
from mobileiqa.models.votes import VoteModel, mean_vote
from mobileiqa.training import stage_distillation
from mobileiqa.training.loss_terms import Setup, labels_of_batch, mean_of, scored, unit_scale, weighted_terms
from mobileiqa.training.objective import Batch, Gather, Task
from mobileiqa.training.recipe import Recipe
from mobileiqa.training.system_objectives import SYSTEM_OBJECTIVES

DISTORTIONS, LEVELS = 25, 5


def build_task(setup: Setup) -> Task:
    """The task of the recipe's objective. UserError where the model or the teacher does not fit it."""
    return OBJECTIVES[setup.recipe.objective](setup)


def supervised(setup: Setup) -> Task:
    """Scores against labels; a model of votes against the votes, and against labels where an image has none."""
    model, unit = setup.model, unit_scale(setup.spec)

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        if isinstance(model, VoteModel):
            return _voted(setup.recipe, gather(model(*batch.inputs)), batch, gather)
        return scored(setup.recipe, unit(model(*batch.inputs)), batch, gather)

    def score(*inputs: torch.Tensor) -> torch.Tensor:
        return unit(model(*inputs))

    spec = dataclasses.replace(setup.spec, reasons=())  # labels of scores teach no reasons
    return Task(model, loss, score, lambda: (model, spec))


def _voted(recipe: Recipe, logits: torch.Tensor, batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
    """The cross-entropy of the images' votes, and the recipe's losses on the mean vote of the rest, by their shares."""
    labels = labels_of_batch(batch, gather)
    votes = labels.pop("votes", None)
    if votes is None:
        votes = torch.zeros_like(logits)
    known = votes.sum(1) > 0
    logs = torch.log_softmax(logits.float(), 1)
    parts = {"votes": -(votes * logs).sum(1)[known].mean() if known.any() else logs.new_zeros(())}
    total = parts["votes"] * known.float().mean()
    if not known.all():
        rest = {name: column[~known] for name, column in labels.items()}
        terms = weighted_terms(recipe, mean_vote(logits[~known]), rest)
        total = total + terms.pop("loss") * (~known).float().mean()
        parts |= terms
    return {**parts, "loss": total}


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
        parts = scored(setup.recipe, score, batch, gather)
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
        whole = labels_of_batch(batch, gather)
        parts = []
        for head in range(setup.datasets):
            mine = source == head
            if mine.any():
                labels = {name: column[mine] for name, column in whole.items()}
                parts.append(weighted_terms(setup.recipe, scores[mine, head], labels))
        return {name: torch.stack([p[name] for p in parts]).mean() for name in parts[0]}

    return Task(module, loss, setup.model, lambda: (setup.model, setup.spec))


def distill(setup: Setup) -> Task:
    """MobileIQA's student: mean over the opinion features of their MSE to the teacher's + alpha * losses of the score.

    The paper's loss of the score is its MSE; the recipe may have others. `levels` adds the MSE of the stacked LDA
    outputs, as the public code does and the paper does not.
    """
    student, teacher = setup.model, setup.teacher
    if not isinstance(student, MobileIQA) or not isinstance(teacher, MobileIQA):
        raise UserError("MobileIQA models as student and teacher", setup.spec.name, "give --teacher CKPT")
    _check_same_opinions(student, teacher)
    teacher.eval().requires_grad_(False)
    alpha, levels = setup.recipe.option("alpha", 2.0), setup.recipe.option("levels")
    learns, taught = FeaturesAndScore(student), FeaturesAndScore(teacher)

    def loss(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
        image = batch.inputs[0]
        with torch.no_grad():
            targets, _ = taught(image)
        features, score = learns(image)
        mse = nn.functional.mse_loss
        opinions = mean_of(mse(features.opinions, targets.opinions), gather)
        parts = scored(setup.recipe, score, batch, gather)
        parts |= {"opinions": opinions, "loss": opinions + alpha * parts["loss"]}
        if levels:
            parts["levels"] = mean_of(mse(features.levels, targets.levels), gather)
            parts["loss"] = parts["loss"] + levels * parts["levels"]
        return parts

    return Task(student, loss, student, lambda: (student, setup.spec), (learns, taught), teacher)


class FeaturesAndScore(nn.Module):
    """A MobileIQA model's features and score in one call, which is what torch.compile takes; no weights of its own."""

    def __init__(self, model: MobileIQA) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[Features, torch.Tensor]:
        """Normalised images (N, 3, H, W) -> Features, scores (N,)."""
        features = self.model.forward_features(image)
        return features, self.model.forward_head(features)


def _check_same_opinions(student: MobileIQA, teacher: MobileIQA) -> None:
    """What is matched one by one must be as many on both sides, of one grid."""
    if not hasattr(student, "variant") or not hasattr(teacher, "variant"):
        return  # a test's stand-in
    ours, theirs = (v.variant for v in (student, teacher))
    if (ours.opinions, ours.grid) != (theirs.opinions, theirs.grid) or not ours.opinions:
        raise UserError(
            "student and teacher with the same MALs (1 to 3) on the same grid",
            f"{ours.opinions} on {ours.grid}x{ours.grid} and {theirs.opinions} on {theirs.grid}x{theirs.grid}",
            "train a teacher with the same --mals",
        )


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
        parts = scored(setup.recipe, score, batch, gather)
        errors = [stage_distillation.relative_error(a, b) for a, b in zip(found_maps, maps, strict=True)]
        parts["stages"] = mean_of(torch.stack(errors).mean(), gather)
        parts["features"] = mean_of(stage_distillation.relative_error(opinions, features_wanted), gather)
        parts["loss"] = parts["loss"] + stages * parts["stages"] + features * parts["features"]
        return parts

    return Task(module, loss, setup.model, lambda: (setup.model, setup.spec))


OBJECTIVES: dict[str, Callable[[Setup], Task]] = {
    "supervised": supervised,
    "degradation": degradation,
    "multi-task": multi_task,
    "distill": distill,
    "imitate": imitate,
    **SYSTEM_OBJECTIVES,
}
