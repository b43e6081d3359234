"""The state of a training run on disk: one file, replaced atomically, that a killed run goes on from.

Randomness is a function of (seed, step), so the state needs no generators: weights, averaged weights,
optimiser, gradient scaler, the step, what was logged, and the best validation so far. `write_logs` leaves it for
people: two CSV files and a picture of the learning curve; `Events` is TensorBoard's.
"""

import csv
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mobileiqa import cli
from mobileiqa.checkpoint_files import torch_file
from mobileiqa.checkpoint_files.state_dict import check_finite
from mobileiqa.errors import UserError
from mobileiqa.training.recipe import Recipe

FILE = "state.pt"
Rows = list[dict[str, float]]


@dataclass
class State:
    """Where a run stands after `step` optimiser steps. The only mutable object of a run."""

    step: int = 0
    tensors: dict[str, Any] = field(default_factory=dict)  # module, averaged, optimizer, scaler
    training: Rows = field(default_factory=list)  # one row per logging interval
    validation: Rows = field(default_factory=list)  # one row per epoch
    interval: Rows = field(default_factory=list)  # one row per step since the last of `training`
    best: dict[str, Any] | None = None  # {"srcc", "epoch", "weights"}


def update_average(averaged: dict[str, Any], module: torch.nn.Module, step: int, decay: float) -> None:
    """Takes the weights after optimiser step `step` (from 0) into the exponential average, in place."""
    decay = min(decay, (step + 1) / (step + 10))  # short memory at first
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            averaged[name].lerp_(value, 1 - decay)
        else:
            averaged[name].copy_(value)


def save(folder: Path, state: State, recipe: Recipe) -> None:
    """Writes the state, atomically."""
    with cli.atomic(folder / FILE) as temporary:
        try:
            torch.save({**vars(state), "recipe": recipe.to_json()}, temporary)
        except RuntimeError as error:  # torch's writer: a full disk is no OSError there
            reason = str(error).splitlines()[0]
            raise OSError(f"the state of the run could not be written to {folder}: {reason}") from error


def restore(folder: Path, recipe: Recipe) -> State | None:
    """The state in `folder`, or None where there is none. UserError when another recipe wrote it, or it is no state."""
    path = folder / FILE
    if not path.exists():
        return None
    theirs, state = _read(path)
    ours = _plain(recipe.to_json())
    defaults = {f.name: _plain(f.default) for f in dataclasses.fields(Recipe)}  # fields newer than the run
    different = [key for key in ours if _plain(theirs.get(key, defaults[key])) != ours[key]]
    if different:
        key = different[0]
        raise UserError(
            f"a run of the same settings in {folder}",
            f"{key} {theirs.get(key)!r} there, {ours[key]!r} here",
            "give another --out, or the same settings to go on",
        )
    return state


def _read(path: Path) -> tuple[dict[str, Any], State]:
    """The recipe that wrote the file, and the state. UserError for a file of other content or NaN in the weights."""
    content = torch_file.read(path)
    fields = {field.name: field for field in dataclasses.fields(State)}
    todo = "remove the folder and start again, or restore the file"
    if not isinstance(content, dict) or set(content) != {*fields, "recipe"}:
        raise UserError(f"the state of a training run in {path}", "something else", todo)
    recipe, state = content.pop("recipe"), State(**content)
    types = (
        (recipe, dict),
        (state.step, int),
        (state.tensors, dict),
        (state.training, list),
        (state.validation, list),
    )
    if not all(type(value) is kind for value, kind in types) or not isinstance(state.best, dict | None):
        raise UserError(f"the state of a training run in {path}", "fields of other types", todo)
    for name in ("module", "averaged"):
        weights = state.tensors.get(name) or {}
        tensors = {key: value for key, value in weights.items() if isinstance(value, torch.Tensor)}
        check_finite(tensors, path)
    return recipe, state


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down: what JSON and torch.save make of them differs."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


TRAINING, VALIDATION, CURVE = "training.csv", "validation.csv", "learning_curve.png"


def write_logs(folder: Path, state: State) -> None:
    """Writes the CSV files and the picture from the state, so that a resumed run repeats no row."""
    for name, rows in ((TRAINING, state.training), (VALIDATION, state.validation)):
        if rows:
            _csv(folder / name, rows)
    if state.validation:
        _curve(folder / CURVE, state)


def _csv(path: Path, rows: Rows) -> None:
    with cli.atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _curve(path: Path, state: State) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([r["epoch"] for r in state.training], [r["loss"] for r in state.training], lw=1)
    left.set(xlabel="epoch", ylabel="training loss")
    epochs = [r["epoch"] for r in state.validation]
    for name in ("srcc", "plcc"):
        right.plot(epochs, [r[name] for r in state.validation], marker="o", ms=3, label=name.upper())
    right.set(xlabel="epoch", ylabel="validation", ylim=(None, 1))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    with cli.atomic(path) as temporary:
        cli.save_plot(figure, temporary, dpi=120)


class Events:
    """TensorBoard events; rows after a resumed step replace those written before the interruption."""

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)

    def add(self, kind: str, row: dict[str, float]) -> None:
        """One row; its "step" is the horizontal axis."""
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self.writer.add_scalar(f"{kind}/{name}", value, int(row["step"]))

    def close(self) -> None:
        """Flushes."""
        self.writer.close()
