"""Tuning of the head of `whole-photo` on features that its trunk, which stays as it is, gives once.

A step is a small linear layer, so that every picture can be read many times, and in several poses: turning must
change little, and the worse of two copies must score less by a margin. Noise of one step of an 8-bit feature keeps
weights off features that INT8 cannot resolve. Then "none" gets a bonus, by photos that neither the trunk nor the head
has seen: the trunk knows its own too well to say by them how surely it recognises that nothing is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mobileiqa import cli
from mobileiqa.models.whole_photo import HIDDEN, WholePhoto
from mobileiqa.reasons import NONE, REASONS
from mobileiqa.training.damage import PRISTINE_CELL
from mobileiqa.training.damage_batches import Pack
from mobileiqa.training.damage_pack import Photos
from mobileiqa.training.damage_training import Average
from mobileiqa.training.full_reference import Cell
from mobileiqa.training.head_features import POSES, Counts, Features, read_features, unseen_features
from mobileiqa.training.objective import plcc_loss, with_sum
from mobileiqa.training.recipe import cosine


@dataclass(frozen=True)
class HeadPlan:
    """Everything that decides the head, given the trunk and the photos."""

    counts: Counts = field(default_factory=Counts)
    steps: int = 1000
    lr: float = 3e-4
    copies: int = 256  # of a step
    pairs: int = 96
    full_size_pairs: int = 64
    mse: float = 20.0
    plcc: float = 2.0
    reasons: float = 3.0
    cells: float = 0.3
    order: float = 40.0
    full_size_order: float = 30.0
    poses: float = 150.0
    reason_poses: float = 0.02
    weight_decay: float = 2e-2
    noise: float = 1.0  # deviation, in 255ths of the largest feature
    none_share: float = 0.95  # of the undamaged versions of unseen photos: "none" comes first
    none_bonus_at_most: float = 4.0  # on the logit: 2 cost 0.01 of the right reasons
    ema: float = 0.998
    seed: int = 0


class Head(nn.Module):
    """The model's layers after its features, and the cells' classifier, which is dropped after training."""

    def __init__(self, model: WholePhoto) -> None:
        super().__init__()
        self.hidden, self.score, self.reasons = model.hidden, model.score, model.reasons
        self.cells = nn.Linear(HIDDEN, PRISTINE_CELL + 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (n, 768) -> scores (n,), logits of reasons (n, 11) and of cells (n, 126)."""
        hidden = torch.relu(self.hidden(features))
        return torch.sigmoid(self.score(hidden)).squeeze(1), self.reasons(hidden), self.cells(hidden)


def tune(
    model: WholePhoto, photos: Photos, severity: Mapping[Cell, float], packed: Path, plan: HeadPlan
) -> dict[str, float]:
    """Tunes `model`'s head in place, on photos and on the pack, and leaves it on the CPU.

    Returns the losses of the last 100 steps, and the bonus of "none".
    """
    torch.manual_seed(plan.seed)
    features = read_features(model, photos, severity, Pack(packed), plan.counts, plan.seed)
    unseen = unseen_features(model, photos.unseen, plan.seed + 1)
    figures = _train(Head(model.cpu()), features, plan)  # small steps: no device is faster
    bonus = none_bonus(model, unseen, plan)
    model.reasons.bias.data[NONE] += bonus
    return {**figures, "none_bonus": bonus}


@torch.inference_mode()
def none_bonus(model: WholePhoto, features: torch.Tensor, plan: HeadPlan) -> float:
    """What "none" lacks on its logit to come first in `none_share` of undamaged pictures; 0 or more."""
    logits = model.reasons(model.forward_hidden(features))
    others = logits[:, [i for i in range(len(REASONS)) if i != NONE]].max(1).values
    lacking = torch.quantile(others - logits[:, NONE], plan.none_share)
    return float(lacking.clamp(0, plan.none_bonus_at_most))


def _train(head: Head, features: Features, plan: HeadPlan) -> dict[str, float]:
    """Leaves the averaged weights in `head`."""
    optimizer = torch.optim.AdamW(head.parameters(), plan.lr, weight_decay=plan.weight_decay)
    average, terms = Average(), []
    for step in cli.progress(range(plan.steps), "tuning the head", plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * min(1, (step + 1) / 100) * cosine(step / plan.steps, 0.02)
        parts = losses(head, features, plan)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        average.update(head, step, plan.ema)
        terms.append({name: float(value.detach()) for name, value in parts.items()})
    head.load_state_dict(average.state)
    return {name: float(np.mean([each[name] for each in terms[-100:]])) for name in terms[0]}


def losses(head: Head, features: Features, plan: HeadPlan) -> dict[str, torch.Tensor]:
    """Each term of random copies and pairs, in two poses, and "loss", their weighted sum."""
    copies = torch.randint(len(features.score), (plan.copies,))
    pairs = _pairs(features, plan)
    better, worse = features.orders[pairs].T
    places, poses = torch.cat([copies, better, worse]), torch.randperm(POSES)[:2].tolist()
    step = plan.noise * features.largest / 255
    views = [features.pose(places, pose) for pose in poses]
    (first, first_reasons, cells), (second, second_reasons, _) = (
        head(view + step * torch.randn_like(view)) for view in views
    )
    score, weight, cell = features.score[places], features.weight[places], features.cell[places]
    sure, count = weight[: plan.copies] == 1, len(pairs)
    reasons, known = features.reasons[places], features.reasons[places].sum(1) > 0
    entropy = functional.binary_cross_entropy_with_logits
    gaps = first[-2 * count : -count] - torch.stack([first[-count:], second[-count:]])
    weights = torch.where(features.full_size[pairs], plan.full_size_order, plan.order)
    parts = {
        "mse": (weight * ((first - score) ** 2 + (second - score) ** 2)).sum() / weight.sum() / 2,
        "plcc": plcc_loss(first[: plan.copies][sure], score[: plan.copies][sure]),
        "reasons": (entropy(first_reasons[known], reasons[known]) + entropy(second_reasons[known], reasons[known])) / 2,
        "cells": functional.cross_entropy(cells[cell >= 0], cell[cell >= 0]),
        "order": (functional.relu(features.margin[pairs] - gaps) * weights).mean() / plan.order,
        "poses": ((first - second) ** 2).mean(),
        "reason_poses": ((first_reasons - second_reasons) ** 2).mean(),
    }  # fmt: skip
    return with_sum(parts, plan)


def _pairs(features: Features, plan: HeadPlan) -> torch.Tensor:
    """Random orders, and more of those at full size."""
    large = torch.nonzero(features.full_size).squeeze(1)
    pairs = [torch.randint(len(features.orders), (plan.pairs,))]
    if len(large):
        pairs.append(large[torch.randint(len(large), (plan.full_size_pairs,))])
    return torch.cat(pairs)
