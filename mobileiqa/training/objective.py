"""Task: what the training loop needs to know of an objective, and nothing more.

The loop (loop.py) owns optimiser, schedule, precision, accumulation, processes and files; a task owns the
module, the loss and what is exported. Tasks are built by plain functions in objectives.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mobileiqa.spec import ModelSpec

# Joins a tensor (N, ...) of every process, differentiably, so that a loss over a batch sees the whole batch.
Gather = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """N training images. All labels are (N,); -1 stands for "not known" in the integer ones.

    inputs: normalised float32 (N, 3, H, W), one per model input. score: float32, 0..1 by the set's own range.
    group: the reference image (ranking pairs share one). dataset: index of the source set (multi-task heads).
    """

    inputs: tuple[torch.Tensor, ...]
    score: torch.Tensor
    group: torch.Tensor
    dataset: torch.Tensor
    distortion: torch.Tensor
    level: torch.Tensor

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True)
class Task:
    """`module` holds every parameter that is trained.

    loss(batch, gather) -> scalars by name; "loss" is what is minimised, the rest is logged.
    score(*inputs) -> (N,) predictions in the label's units, in eval mode (validation).
    export() -> the model and spec of the checkpoint.
    """

    module: nn.Module
    loss: Callable[[Batch, Gather], dict[str, torch.Tensor]]
    score: Callable[..., torch.Tensor]
    export: Callable[[], tuple[nn.Module, ModelSpec]]


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The Gather of a single process."""
    return tensor
