"""Validation while training, and what is fitted on labels afterwards: a linear map for losses that only rank.

One process validates, in float32 and with the loader processes of training; the others wait for its figures.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from mobileiqa import cli, metrics
from mobileiqa.datasets.core import Sample
from mobileiqa.preprocess import prepare
from mobileiqa.spec import MIN_WIDTH, ModelSpec
from mobileiqa.training.objective import Task
from mobileiqa.training.pixel_sources import Source

BATCH = 16
NAMES = ("srcc", "plcc", "krcc", "rmse", "mae")


@dataclass(frozen=True)
class Runtime:
    """Where scores are computed, in which precision (None: float32), and how many processes decode."""

    device: torch.device
    dtype: torch.dtype | None = None
    workers: int = 0


def validator(
    source: Source, samples: Sequence[Sample], spec: ModelSpec, runtime: Runtime | torch.device
) -> Callable[[Task], dict[str, float]]:
    """A function that scores all `samples` and returns srcc, plcc, krcc, rmse and mae against their labels.

    Where a task scores by several heads, the one of the highest SRCC counts, and the task is told which.
    """
    labels = np.array([s.score for s in samples])

    def validate(task: Task) -> dict[str, float]:
        columns = predict(task, source, len(samples), spec, runtime)
        if columns.ndim == 1:
            return figures(columns, labels)
        rows = [figures(column, labels) for column in columns.T]
        best = int(np.argmax([row["srcc"] for row in rows]))
        assert task.choose is not None, "several heads, and no way to choose one"
        task.choose(best)
        return {**rows[best], "head": float(best)}

    return validate


def figures(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, float]:
    """srcc, plcc, krcc, rmse and mae; correlations are 0 where all scores are alike."""
    if np.ptp(scores) == 0:  # a model that has not begun to learn ranks nothing; that must not end the run
        error = scores - labels
        return {**dict.fromkeys(("srcc", "plcc", "krcc"), 0.0),
                "rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}  # fmt: skip
    correlations = metrics.correlations(scores, labels)
    return {name: float(getattr(correlations, name)) for name in NAMES}


@torch.inference_mode()
def predict(
    task: Task, source: Source, count: int, spec: ModelSpec, runtime: Runtime | torch.device
) -> NDArray[np.float64]:
    """Scores (count,), or (count, heads), float64; an image's crops are averaged."""
    if isinstance(runtime, torch.device):
        runtime = Runtime(runtime)
    scores = []
    for prepared in _prepared(_Prepared(source, count, spec), runtime.workers):
        inputs = (
            torch.from_numpy(np.concatenate([p[input_spec.name] for p in prepared])).to(runtime.device)
            for input_spec in spec.inputs
        )
        with torch.autocast(runtime.device.type, runtime.dtype, enabled=runtime.dtype is not None):
            outputs = task.score(*inputs)
        by_image = outputs.double().cpu().numpy()
        scores.append(by_image.reshape(len(prepared), -1, *by_image.shape[1:]).mean(1))
    return np.concatenate(scores)


@dataclass(frozen=True)
class _Prepared(torch.utils.data.Dataset[Any]):
    """The prepared inputs of each image."""

    source: Source
    count: int
    spec: ModelSpec

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, NDArray[np.float32]]:
        return prepare(self.source(index), self.spec)


def _prepared(images: _Prepared, workers: int) -> Iterator[list[dict[str, NDArray[np.float32]]]]:
    """Batches of images in order; images whose inputs have their own sizes come one by one."""
    size = 1 if any(each.scales_px for each in images.spec.inputs) else BATCH
    if not workers:
        for start in range(0, images.count, size):
            yield [images[i] for i in range(start, min(images.count, start + size))]
        return
    yield from DataLoader(images, batch_size=size, num_workers=workers, collate_fn=list)


def on_label_scale(spec: ModelSpec, scores: NDArray[np.float64], labels: NDArray[np.float64]) -> ModelSpec:
    """The spec with the range of scores that a linear map, fitted by least squares, takes to labels 0..1.

    Every command brings scores to 0..1 by the spec's range, so the map is stored with the checkpoint. Scores that do
    not rise with the labels have no such map: the spec stays, and a line says so.
    """
    spread = float(np.var(scores))
    slope = float(np.cov(scores, labels, bias=True)[0, 1]) / spread if spread > 0 else 0.0
    if slope <= 0 or 1 / slope < MIN_WIDTH:
        cli.warn(f"no linear map to labels for {spec.name}: its scores do not rise with them")
        return spec
    low = float(scores.mean() - labels.mean() / slope)
    return dataclasses.replace(spec, score_range=(low, low + 1 / slope))
