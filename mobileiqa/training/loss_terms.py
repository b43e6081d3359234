"""What objectives are built from and share: the recipe's losses by name, on the batch of all processes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mobileiqa.spec import ModelSpec
from mobileiqa.training import objective
from mobileiqa.training.objective import Batch, Gather
from mobileiqa.training.recipe import Recipe

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


def unit_scale(spec: ModelSpec) -> Callable[[torch.Tensor], torch.Tensor]:
    """Scores of a model to those of the labels, 0..1: KonCept512 and MUSIQ score 0..100."""
    low, high = spec.score_range
    return (lambda score: score) if (low, high) == (0, 1) else lambda score: (score - low) / (high - low)


def mean_of(value: torch.Tensor, gather: Gather) -> torch.Tensor:
    """A mean over the batch of this process -> of all processes."""
    return gather(value.reshape(1)).mean()


def scored(recipe: Recipe, score: torch.Tensor, batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
    """The recipe's losses of scores, 0..1, against the batch's labels."""
    return weighted_terms(recipe, gather(score), labels_of_batch(batch, gather))


def labels_of_batch(batch: Batch, gather: Gather) -> dict[str, torch.Tensor]:
    """Every label of the batch that is known, of all processes."""
    names = (f.name for f in dataclasses.fields(Batch) if f.name != "inputs")
    return {name: gather(column) for name in names if (column := getattr(batch, name)) is not None}


def weighted_terms(
    recipe: Recipe, score: torch.Tensor, labels: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
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
