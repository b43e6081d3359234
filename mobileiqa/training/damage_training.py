"""Training of `whole-photo` on packed copies: scores, reasons, the 125 cells, and orders by construction.

Batch norms keep the statistics that the trunk was trained with, and the stages up to stride 4 stay as they are:
two views of two kinds share them, and two cores have no time for their gradients. Averaged weights are what counts.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mobileiqa import cli
from mobileiqa.models.whole_photo import HIDDEN, WholePhoto
from mobileiqa.text import csv_text
from mobileiqa.training.damage import GAP, PRISTINE_CELL
from mobileiqa.training.damage_batches import CHUNK, Batch, Pack, Size
from mobileiqa.training.depthwise import autocast
from mobileiqa.training.objective import plcc_loss, with_sum
from mobileiqa.training.recipe import cosine
from mobileiqa.training.state import update_average
from mobileiqa.training.validation import Runtime

CPU = Runtime(torch.device("cpu"))
FROZEN_STAGES = 2  # of the trunk, and the stem: strides 2 and 4


@dataclass(frozen=True)
class Phase:
    """Steps at some sizes of the views, which take turns."""

    steps: int
    sizes: tuple[Size, ...]
    lr: float  # of the new layers; the trunk's is a quarter of it
    final: float  # fraction of lr that the cosine ends at
    ema: float = 0.998  # decay of the averaged weights
    batch: int = 30
    threes: bool = False  # each of `batch` copies in two poses, and damaged once more
    warmup: int = 40  # steps, linear


Step = tuple[int, Phase, float, Batch]  # number, its phase, learning rate, batch


@dataclass(frozen=True)
class Plan:
    """Everything that decides the weights, given the pack and the start."""

    phases: tuple[Phase, ...] = (
        Phase(1000, (Size(4, 192), Size(3, 256), Size(4, 224)), 1.2e-3, 0.1),
        Phase(80, (Size(6, 256),), 1.5e-4, 0.05, ema=0.97),
        Phase(200, (Size(4, 224), Size(3, 256)), 4e-4, 0.02, ema=0.97, batch=10, threes=True),
    )
    mse: float = 20.0
    plcc: float = 2.0
    cells: float = 0.5
    reasons: float = 3.0
    order: float = 10.0
    twins: float = 40.0
    weight_decay: float = 2e-2
    clip_norm: float = 5.0
    seed: int = 1
    validate_every: int = 100
    validation_copies: int = 300


class Trainee(nn.Module):
    """The model, and a classifier of the 125 cells and none on its hidden layer, dropped after training."""

    def __init__(self, model: WholePhoto, runtime: Runtime = CPU) -> None:
        super().__init__()
        self.model, self.runtime = model, runtime
        self.cells = nn.Linear(HIDDEN, PRISTINE_CELL + 1)
        trunk = model.backbone
        for part in (trunk.conv_stem, trunk.bn1, *trunk.blocks[:FROZEN_STAGES]):
            part.requires_grad_(False)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores (N,), logits of reasons (N, 11) and of cells (N, 126)."""
        with autocast(self.runtime.device, self.runtime.dtype):
            features = self.model.forward_features(batch.overview, batch.fragments)
        hidden = self.model.forward_hidden(features.float())  # orders are finer than half precision
        score = torch.sigmoid(self.model.score(hidden)).squeeze(1)
        return score, self.model.reasons(hidden), self.cells(hidden)

    def groups(self, lr: float) -> list[dict]:
        """Parameter groups: new layers at lr, the trunk and the early maps' convolutions at a quarter."""
        old = [*self.model.backbone.parameters(), *self.model.early.parameters()]
        ids = {id(p) for p in old}
        new = [p for p in self.parameters() if id(p) not in ids]
        return [{"params": new, "lr": lr}, {"params": old, "lr": lr / 4}]


def losses(trainee: Trainee, batch: Batch, plan: Plan) -> dict[str, torch.Tensor]:
    """Each term, and "loss", their weighted sum. A copy without a label counts for reasons and orders alone."""
    score, reasons, cells = trainee(batch)
    known, rated = batch.cell >= 0, ~batch.score.isnan()
    gap = (batch.score[batch.better] - batch.score[batch.worse]).nan_to_num(GAP).clamp(0, 0.2) / 2
    parts = {
        "mse": functional.mse_loss(score[rated], batch.score[rated]),
        "plcc": plcc_loss(score[rated], batch.score[rated]),
        "cells": functional.cross_entropy(cells[known], batch.cell[known])
        if known.any()
        else score.new_zeros(()),
        "reasons": functional.binary_cross_entropy_with_logits(reasons, batch.reasons),
        "order": _mean(functional.relu(gap - (score[batch.better] - score[batch.worse]))),
        "twins": _mean((score[batch.twins[:, 0]] - score[batch.twins[:, 1]]) ** 2),
    }
    return with_sum(parts, plan)


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean() if len(values) else values.new_zeros(())


@dataclass
class Average:
    """Exponential moving average of a module's weights; early steps weigh less."""

    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def update(self, module: nn.Module, step: int, decay: float) -> None:
        """Takes in the weights after step `step` (from 0)."""
        if self.state:
            update_average(self.state, module, step, decay)
        else:
            self.state = {name: value.clone() for name, value in module.state_dict().items()}


def train(
    model: WholePhoto,
    packed: Path,
    out: Path,
    plan: Plan,
    read: Callable[[Path], Pack] = Pack,
    runtime: Runtime = CPU,
) -> WholePhoto:
    """Trains `model` in place; returns it with the averaged weights, on the runtime's device. Writes out/curve.csv
    and out/state.pt.

    Where out/state.pt is there already, training goes on from it. read: what a pass over `packed` is read by.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainee = Trainee(model, runtime).to(runtime.device, memory_format=torch.channels_last)
    trainee.eval()  # batch norms keep their statistics
    average, state, start = Average(), out / "state.pt", 0
    optimizer = torch.optim.AdamW(trainee.groups(1.0), weight_decay=plan.weight_decay)
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=runtime.device)
        trainee.load_state_dict(saved["weights"])
        optimizer.load_state_dict(saved["optimizer"])
        average.state, start = saved["average"], saved["step"]
    total, terms, began = sum(p.steps for p in plan.phases), [], time.monotonic()
    curve = Curve(out / "curve.csv")
    steps = cli.progress(_ahead(_steps(partial(read, packed), plan, start)), "training", total - start)
    for step, phase, lr, batch in steps:
        for group, factor in zip(optimizer.param_groups, (1, 0.25), strict=True):
            group["lr"] = lr * factor
        parts = losses(trainee, batch.to(runtime.device), plan)
        optimizer.zero_grad()
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), plan.clip_norm)
        optimizer.step()
        average.update(trainee, step, phase.ema)
        terms.append({name: float(value.detach()) for name, value in parts.items()})
        if (step + 1) % 20 == 0:
            curve.add(step + 1, time.monotonic() - began, lr, terms)
            terms = []
        if (step + 1) % plan.validate_every == 0 or step + 1 == total:
            with cli.atomic(state) as temporary:
                torch.save({"weights": trainee.state_dict(), "optimizer": optimizer.state_dict(),
                            "average": average.state, "step": step + 1}, temporary)  # fmt: skip
            curve.validated(step + 1, validation(average, trainee, read(packed), plan))
    trainee.load_state_dict(average.state)
    return model


def _steps(read: Callable[[], Pack], plan: Plan, start: int) -> Iterator[Step]:
    """From step `start`; each pass over the pack reads what is there by then."""
    step, epoch, chunks, pack = 0, 0, [], None
    for number, phase in enumerate(plan.phases):
        count = phase.batch // CHUNK
        for within in range(phase.steps):
            if len(chunks) < count:
                pack = read()
                chunks, epoch = pack.chunks(plan.seed, epoch), epoch + 1
            these, chunks = chunks[:count], chunks[count:]
            if step >= start:
                rng = np.random.default_rng([plan.seed, number, step])
                size = phase.sizes[step % len(phase.sizes)]
                yield (
                    step,
                    phase,
                    _rate(phase, within),
                    (pack.batch_of_threes if phase.threes else pack.batch)(these, size, rng),
                )
            step += 1


def _ahead(steps: Iterator[Step]) -> Iterator[Step]:
    """The same, the next batch being read while this one is learnt."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, steps, None)
        while (step := pending.result()) is not None:
            pending = pool.submit(next, steps, None)
            yield step


def _rate(phase: Phase, step: int) -> float:
    """Linear over the first steps, then a cosine to `final`."""
    return phase.lr * min(1, (step + 1) / phase.warmup) * cosine(step / phase.steps, phase.final)


@torch.inference_mode()
def validation(average: Average, trainee: Trainee, pack: Pack, plan: Plan) -> dict[str, float]:
    """SRCC and PLCC of the averaged weights on copies of photos that are not trained on, and first reasons right."""
    from mobileiqa.metrics import correlations

    current = {key: value.clone() for key, value in trainee.state_dict().items()}
    trainee.load_state_dict(average.state)
    scores, labels, right = [], [], []
    for row in pack.validation[: plan.validation_copies // 10]:
        batch = pack.batch(
            [(row, np.arange(len(row["score"])))], plan.phases[0].sizes[0], np.random.default_rng(0)
        )
        batch = batch.to(trainee.runtime.device)
        score, reasons, _ = trainee(batch)
        scores += score.tolist()
        labels += batch.score.tolist()
        right += batch.reasons.gather(1, reasons.argmax(1, keepdim=True)).squeeze(1).tolist()
    trainee.load_state_dict(current)
    if len(scores) < 20:
        return {}
    figures = correlations(scores, labels)
    return {"srcc": figures.srcc, "plcc": figures.plcc, "reasons": float(np.mean(right))}


class Curve:
    """A CSV of the terms' means over 20 steps; validation rows have figures instead."""

    COLUMNS = ("step", "seconds", "lr", "loss", "mse", "plcc", "cells", "reasons", "order", "twins",
               "val_srcc", "val_plcc", "val_reasons")  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self._write(self.COLUMNS)

    def add(self, step: int, seconds: float, lr: float, terms: list[dict[str, float]]) -> None:
        """The means of the terms since the last row."""
        means = {name: f"{np.mean([each[name] for each in terms]):.5f}" for name in terms[0]}
        row = {"step": step, "seconds": f"{seconds:.0f}", "lr": f"{lr:.6f}", **means}
        self._write([row.get(name, "") for name in self.COLUMNS])

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """The validation figures at `step`."""
        row = {"step": step, **{f"val_{name}": f"{value:.4f}" for name, value in figures.items()}}
        self._write([row.get(name, "") for name in self.COLUMNS])

    def _write(self, row: Sequence[object]) -> None:
        with self.path.open("a", newline="") as file:
            file.write(csv_text([row]))
