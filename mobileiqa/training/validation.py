"""Validation during training: the model's own preprocessing, on images that are neither trained nor tested on."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from mobileiqa import metrics
from mobileiqa.datasets.core import Sample
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec
from mobileiqa.training.objective import Task
from mobileiqa.training.pixel_sources import Source

BATCH = 16


def validator(
    source: Source, samples: Sequence[Sample], spec: ModelSpec, device: torch.device
) -> Callable[[Task], dict[str, float]]:
    """A function that scores all `samples` and returns srcc, plcc, krcc, rmse and mae against their labels."""
    labels = np.array([s.score for s in samples])

    def validate(task: Task) -> dict[str, float]:
        scores = predict(task, source, len(samples), spec, device)
        if (
            np.ptp(scores) == 0
        ):  # a model that has not begun to learn ranks nothing; that must not end the run
            error = scores - labels
            return {**dict.fromkeys(("srcc", "plcc", "krcc"), 0.0),
                    "rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}  # fmt: skip
        correlations = metrics.correlations(scores, labels)
        return {name: float(getattr(correlations, name)) for name in ("srcc", "plcc", "krcc", "rmse", "mae")}

    return validate


@torch.inference_mode()
def predict(task: Task, source: Source, count: int, spec: ModelSpec, device: torch.device) -> np.ndarray:
    """Scores (count,), float64; an image's crops are averaged."""
    scores = []
    for start in range(0, count, BATCH):
        prepared = [
            prepare(Image.fromarray(source(i)), spec) for i in range(start, min(count, start + BATCH))
        ]
        inputs = (
            torch.from_numpy(np.concatenate([p[input_spec.name] for p in prepared])).to(device)
            for input_spec in spec.inputs
        )
        scores_of_crops = task.score(*inputs).double().cpu().numpy()
        scores.append(scores_of_crops.reshape(len(prepared), -1).mean(1))
    return np.concatenate(scores)
