"""Tuning of the head of `whole-photo` on features that its trunk, which stays as it is, gives once.

A step is a small linear layer, so that every picture can be read many times, and in several poses: turning must
change little, and the worse of two copies must score less by a margin. Noise of one step of an 8-bit feature keeps
weights off features that INT8 cannot resolve. Then "none" gets a bonus: the trunk knows its own photos too well to say
by them how surely it recognises that nothing is wrong.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mobileiqa import cli
from mobileiqa.fragments import Pixels
from mobileiqa.models.whole_photo import HIDDEN, VIEWS, WIDTH, WholePhoto
from mobileiqa.photos.loading import as_array, read_pixels
from mobileiqa.reasons import NONE, REASONS
from mobileiqa.spec import ColorManagement
from mobileiqa.training import damage_pack, head_cases
from mobileiqa.training.damage import GAP, GROUP, PRISTINE_CELL
from mobileiqa.training.damage_batches import Pack, normalized, turned
from mobileiqa.training.damage_training import Average
from mobileiqa.training.full_reference import Cell
from mobileiqa.training.head_cases import Case, Order
from mobileiqa.training.objective import plcc_loss, with_sum
from mobileiqa.training.recipe import cosine

POSES = 3  # of each picture, at random of eight
HALF = WIDTH // 2  # features of a view


@dataclass(frozen=True)
class HeadPlan:
    """Everything that decides the head, given the trunk and the photos."""

    cell_photos: int = 13  # small photos under most of the 125 cells
    full_size_photos: int = 46  # large photos damaged at full size
    pristine_photos: int = 100  # small photos in five undamaged versions
    groups: int = 145  # of the pack
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
    none_bonus: float = 2.0  # on the logit: costs 0.01 of the right reasons on photos held back of the tuning
    ema: float = 0.998
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """Of N pictures: each view's features (N, POSES, 384), what is known of them, and P orders."""

    overviews: torch.Tensor
    fragments: torch.Tensor
    score: torch.Tensor
    weight: torch.Tensor
    reasons: torch.Tensor  # (N, 11), 0 or 1; all 0: unknown
    cell: torch.Tensor
    orders: torch.Tensor  # (P, 2): places of the better and the worse one
    margin: torch.Tensor
    full_size: torch.Tensor  # (P,): between copies of a large photo

    @property
    def largest(self) -> float:
        """The largest feature: where an 8-bit file's range ends."""
        return float(max(self.overviews.max(), self.fragments.max()))

    def pose(self, places: torch.Tensor, number: int) -> torch.Tensor:
        """Both views' features (n, 768) in one of their poses."""
        return torch.cat([self.overviews[places, number], self.fragments[places, number]], 1)


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
    model: WholePhoto,
    small: Sequence[Path],
    large: Sequence[Path],
    severity: Mapping[Cell, float],
    packed: Path,
    plan: HeadPlan,
) -> dict[str, float]:
    """Tunes `model`'s head in place, on photos and on the pack, and leaves it on the CPU.

    Returns the losses of the last 100 steps.
    """
    torch.manual_seed(plan.seed)
    features = read_features(model, small, large, severity, Pack(packed), plan)
    figures = _train(Head(model.cpu()), features, plan)  # small steps: no device is faster
    model.reasons.bias.data[NONE] += plan.none_bonus
    return figures


Group = tuple[
    Iterable[tuple[tuple[Pixels, Pixels], Case]], list[Order], bool
]  # views and labels; at full size?


def read_features(
    model: WholePhoto,
    small: Sequence[Path],
    large: Sequence[Path],
    severity: Mapping[Cell, float],
    pack: Pack,
    plan: HeadPlan,
) -> Features:
    """What the trunk says of every picture; a few minutes."""
    rng = np.random.default_rng(plan.seed)
    tensors, cases, orders, sizes = [], [], [], []
    total = min(plan.groups, len(pack.train)) + min(plan.full_size_photos, len(large))
    total += min(plan.cell_photos, len(small)) + min(plan.pristine_photos, len(small))
    groups = _groups(small, large, severity, pack, plan, rng)
    for pictures, pairs, full_size in cli.progress(groups, "reading features", total):
        orders += [(len(cases) + a, len(cases) + b, margin) for a, b, margin in pairs]
        sizes += [full_size] * len(pairs)
        for views, case in pictures:
            tensors.append(_features(model, views, rng))
            cases.append(case)
    overviews, fragments = (torch.stack(each) for each in zip(*tensors, strict=True))
    reasons = [[float(i in (case.reasons or ())) for i in range(len(REASONS))] for case in cases]
    return Features(
        overviews, fragments,
        torch.tensor([case.score for case in cases]), torch.tensor([float(case.weight) for case in cases]),
        torch.tensor(reasons), torch.tensor([case.cell for case in cases]),
        torch.tensor([(a, b) for a, b, _ in orders], dtype=torch.long).reshape(-1, 2),
        torch.tensor([margin for *_, margin in orders]), torch.tensor(sizes),
    )  # fmt: skip


def _groups(
    small: Sequence[Path],
    large: Sequence[Path],
    severity: Mapping[Cell, float],
    pack: Pack,
    plan: HeadPlan,
    rng: np.random.Generator,
) -> Iterator[Group]:
    for kind, photos, count in (
        (partial(head_cases.cells, severity=severity, rng=rng), small, plan.cell_photos),
        (partial(head_cases.pristine, rng=rng), small, plan.pristine_photos),
        (partial(head_cases.full_size, rng=rng), large, plan.full_size_photos),
    ):
        for number in rng.permutation(len(photos))[:count]:
            pictures, orders = kind(as_array(read_pixels(photos[number], ColorManagement.SRGB)))
            yield ((damage_pack.views(pixels), case) for pixels, case in pictures), orders, photos is large
    for number in rng.permutation(len(pack.train))[: plan.groups]:
        yield _packed(pack, pack.train[number])


def _packed(pack: Pack, row: Mapping) -> Group:
    pictures = [
        (
            pack.views_of(row["group"] * GROUP + place),
            Case(row["score"][place], 1, tuple(row["reasons"][place]), row["cell"][place]),
        )
        for place in range(GROUP)
    ]
    return pictures, [(better, worse, GAP * 1.5) for better, worse in row["orders"]], False


@torch.inference_mode()
def _features(
    model: WholePhoto, views: tuple[Pixels, Pixels], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(POSES, 384) of the overview, and of the fragments in the same poses."""
    mosaic, overview = views
    poses = rng.choice(8, POSES, replace=False)
    both = (np.stack([turned(view, pose) for pose in poses]) for view in (overview, mosaic))
    device = next(model.parameters()).device
    features = [
        model.view_features(name, model.maps(normalized(np.ascontiguousarray(pixels)).to(device)))
        for name, pixels in zip(VIEWS, both, strict=True)
    ]
    return features[0].clone().cpu(), features[1].clone().cpu()


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
