"""The training loop: one for every model and objective.

    batches -> task.loss -> gradients (accumulated, averaged over processes, clipped) -> optimiser -> state

All randomness of a step is seeded with (recipe.seed, step): a run that is killed and resumed ends with the
weights of an undisturbed one, bit for bit on the same machine.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.layers.kan import KANLinear
from mobileiqa.training import state as states
from mobileiqa.training.data_loader import Feed, Steps, batches, on_device
from mobileiqa.training.depthwise import autocast
from mobileiqa.training.distributed import Processes, average_gradients, gather, of_first
from mobileiqa.training.kan_grid import regularization, update_grids
from mobileiqa.training.objective import Batch, Task
from mobileiqa.training.recipe import Recipe, learning_rate
from mobileiqa.training.state import State, update_average
from mobileiqa.typed_json import shortened

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_TIMES = ("data_ms", "step_ms")

Validate = Callable[[Task], dict[str, float]]


@dataclass(frozen=True)
class Settings:
    """Where and how a run is executed."""

    out: Path
    device: torch.device
    precision: str = "fp32"
    workers: int = 0
    save_every_s: float = 120.0
    log_every: int = 20
    compile: bool = False
    checkpointing: bool = False  # recompute the backbone in the backward pass: less memory, more time
    stop_after_s: float = 0.0  # save and stop; 0: run to the end


class Run:
    """One run: the task, its optimiser, its averaged weights and where it stands."""

    def __init__(self, task: Task, recipe: Recipe, settings: Settings, processes: Processes) -> None:
        self.task, self.recipe, self.settings, self.processes = task, recipe, settings, processes
        self.module = task.module.to(settings.device, memory_format=torch.channels_last)
        if task.teacher is not None:
            task.teacher.to(settings.device, memory_format=torch.channels_last)
        self.optimizer = _optimizer(self.module, recipe)
        self.scaler = torch.amp.GradScaler(settings.device.type, enabled=settings.precision == "fp16")
        self.averaged: dict[str, torch.Tensor] | None = _snapshot(self.module) if recipe.ema else None
        self.state = states.restore(settings.out, recipe) or State()
        self.saved, self.saved_place = time.monotonic(), (0, 0)
        if self.state.step:
            self._restore()

    def _restore(self) -> None:
        """Goes on from the state that was read. Raises UserError where its tensors are another model's."""
        try:
            self._take(self.state.tensors)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"the state of a run of {self.recipe.model} in {self.settings.out}",
                shortened(str(error)),
                "give another --out, or remove that folder",
            ) from error

    def _take(self, tensors: dict[str, Any]) -> None:
        self.module.load_state_dict(tensors["module"])
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.scaler.load_state_dict(tensors["scaler"])
        if self.averaged is not None:
            self.averaged = {k: v.to(self.settings.device) for k, v in tensors["averaged"].items()}

    def save(self) -> None:
        """Writes the state and the logs; only the first process does."""
        if not self.processes.first:
            return
        self.state.tensors = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averaged": self.averaged,
        }
        states.save(self.settings.out, self.state, self.recipe)
        states.write_logs(self.settings.out, self.state)
        self.saved, self.saved_place = time.monotonic(), self.place

    @property
    def place(self) -> tuple[int, int]:
        """Steps and validations so far: what changes between two saves."""
        return self.state.step, len(self.state.validation)

    def step(self, step: int, micro: list[Batch], feed: Feed) -> dict[str, float]:
        """One optimiser step. Returns the losses, averaged over the micro-batches."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step, feed.steps_per_epoch) * group.get("share", 1.0)
        torch.manual_seed((self.recipe.seed << 32) + step * self.processes.world + self.processes.rank)
        self.module.train()
        sums: dict[str, float] = defaultdict(float)
        for batch in micro:
            batch = on_device(batch, feed.spec, self.settings.device)
            with self._autocast():
                losses = self.task.loss(batch, gather(self.processes))
            losses = self._penalized(losses)
            self.scaler.scale(losses["loss"] / len(micro)).backward()
            for name, value in losses.items():
                sums[name] += float(value.detach()) / len(micro)
        self._update()
        self._average()
        if self.recipe.grid_every and (step + 1) % self.recipe.grid_every == 0:
            self._fit_grids(batch)
        return dict(sums)

    def _penalized(self, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """With the recipe's share of the KAN layers' regularisation."""
        if not self.recipe.kan_penalty:
            return losses
        layers = [m for m in self.module.modules() if isinstance(m, KANLinear)]
        penalty = torch.stack([regularization(layer) for layer in layers]).sum()
        return {**losses, "kan": penalty, "loss": losses["loss"] + self.recipe.kan_penalty * penalty}

    def _fit_grids(self, batch: Batch) -> None:
        """Fits the KAN layers' grids to a batch. A mean of two grids' coefficients is no function: none is kept."""
        self.module.eval()
        update_grids(self.module, lambda: self.task.score(*batch.inputs), gather=gather(self.processes))
        if self.averaged is not None:
            for name, layer in self.module.named_modules():
                if isinstance(layer, KANLinear):
                    for key, value in layer.state_dict().items():
                        self.averaged[f"{name}.{key}"].copy_(value)

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        average_gradients(self.module, self.processes)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _average(self) -> None:
        if self.averaged is not None:
            update_average(self.averaged, self.module, self.state.step, self.recipe.ema)

    def _autocast(self) -> AbstractContextManager[Any]:
        device, dtype = self.settings.device, PRECISIONS[self.settings.precision]
        if (
            self.settings.compile or self.settings.checkpointing
        ):  # both run the forward pass in their own ways
            return torch.autocast(device.type, dtype, enabled=dtype is not None)
        return autocast(device, dtype)

    def with_averaged(self, body: Callable[[], Any]) -> Any:
        """body() with the averaged weights in the module, eval mode; the trained ones are put back after."""
        current = _snapshot(self.module) if self.averaged is not None else None
        if self.averaged is not None:
            self.module.load_state_dict(self.averaged)
        self.module.eval()
        try:
            return body()
        finally:
            if current is not None:
                self.module.load_state_dict(current)


def fit(
    task: Task, feed: Feed, validate: Validate, recipe: Recipe, settings: Settings, processes: Processes
) -> State:
    """Trains to the recipe's end, from `settings.out`'s state where there is one. Returns the final state.

    Validates after every epoch; state.best holds the weights of the best one, by validation SRCC. Raises
    UserError when there are fewer images than a batch, or when the loss is no longer finite.
    """
    if not feed.steps_per_epoch:
        raise UserError(
            f"at least {recipe.batch} training images (one batch)", str(len(feed.labels.score)),
            "give more images, or --set batch=N",
        )  # fmt: skip
    run = Run(task, recipe, settings, processes)
    pinned = settings.device.type == "cuda"
    last = recipe.epochs * feed.steps_per_epoch
    steps = batches(feed, run.state.step, last, processes, settings.workers, pinned)
    events = states.Events(settings.out, run.state.step) if processes.first else None
    started = time.monotonic()
    for epoch in range(len(run.state.validation), recipe.epochs):  # an epoch ends with its validation
        if not _epoch(run, feed, epoch, events, started, steps):
            break
        _validated(run, validate, epoch, events)
    if run.saved_place != run.place:
        run.save()
    steps.close()  # and its loader processes
    if events:
        events.close()
    return run.state


def _epoch(
    run: Run, feed: Feed, epoch: int, events: states.Events | None, started: float, steps: Steps
) -> bool:
    """The rest of an epoch; False when it is time to stop."""
    rest = (epoch + 1) * feed.steps_per_epoch - run.state.step
    log = _Log(run, feed, events)
    clock = time.perf_counter()
    coming = islice(steps, rest)
    if run.processes.first:
        coming = cli.progress(coming, f"epoch {epoch + 1}/{run.recipe.epochs}", rest)
    for step, micro in coming:
        read = time.perf_counter()
        losses = run.step(step, micro, feed)
        run.state.step = step + 1
        log.add(losses, 1e3 * (read - clock), 1e3 * (time.perf_counter() - read))
        settings = run.settings
        if settings.stop_after_s and time.monotonic() - started > settings.stop_after_s:
            return False
        if time.monotonic() - run.saved >= settings.save_every_s:
            run.save()
        clock = time.perf_counter()
    return True


class _Log:
    """Averages over log_every steps, one row each; rows end at multiples of it, wherever a run resumed."""

    def __init__(self, run: Run, feed: Feed, events: states.Events | None) -> None:
        self.run, self.feed, self.events = run, feed, events

    def add(self, losses: dict[str, float], data_ms: float, step_ms: float) -> None:
        """One step's losses and times."""
        step = self.run.state.step
        if not all(abs(v) < float("inf") for v in losses.values()):  # also false for NaN
            raise UserError("a finite loss", f"{losses} at step {step}", "lower lr with --set lr=...")
        rows = self.run.state.interval  # saved with the state: an interrupted interval is averaged whole
        rows.append({**losses, "data_ms": data_ms, "step_ms": step_ms})
        if step % self.run.settings.log_every and step % self.feed.steps_per_epoch:
            return
        mean = {name: sum(r[name] for r in rows) / len(rows) for name in rows[0]}
        rate = learning_rate(self.run.recipe, step - 1, self.feed.steps_per_epoch)
        row = {"step": step, "epoch": step / self.feed.steps_per_epoch, "lr": rate, **mean}
        self.run.state.training.append(row)
        if self.events:
            self.events.add("training", row)
        rows.clear()


def _validated(run: Run, validate: Validate, epoch: int, events: states.Events | None) -> None:
    """Validates in the first process, keeps the best weights, saves."""
    metrics = run.with_averaged(lambda: of_first(run.processes, lambda: validate(run.task)))
    row = {"epoch": epoch + 1, "step": run.state.step, **metrics}
    run.state.validation.append(row)
    if run.state.best is None or metrics["srcc"] > run.state.best["srcc"]:
        weights = run.averaged if run.averaged is not None else run.module.state_dict()
        copied = {k: v.detach().cpu().clone() for k, v in weights.items()}
        run.state.best = {"srcc": metrics["srcc"], "epoch": epoch + 1, "weights": copied}
    if events:
        events.add("validation", row)
    if run.processes.first:
        cli.note(f"epoch {epoch + 1}: " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
    run.save()


def _snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam and SGD as the recipe's paper uses them; AdamW decays weights, not norms and biases."""
    if recipe.optimizer != "adamw":
        slow = {id(p) for name, p in module.named_parameters() if name.startswith("encoder.")}
        slow = slow if recipe.encoder_lr != 1 else set()
        groups: list[dict[str, Any]] = [{"params": [p for p in module.parameters() if id(p) not in slow]}]
        if slow:
            encoder = [p for p in module.parameters() if id(p) in slow]
            groups.append({"params": encoder, "share": recipe.encoder_lr})
        if recipe.optimizer == "sgd":
            return torch.optim.SGD(groups, recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
        return torch.optim.Adam(groups, recipe.lr, weight_decay=recipe.weight_decay)
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, recipe.lr, weight_decay=recipe.weight_decay)
