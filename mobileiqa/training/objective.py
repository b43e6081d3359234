"""Task: what the training loop needs to know of an objective, and nothing more.

The loop (loop.py) owns optimiser, schedule, precision, accumulation, processes and files; a task owns the
module, the loss and what is exported. Tasks are built by plain functions in objectives.py.

The losses are pure functions, prediction (N,) and target (N,) to a scalar. Half and bfloat16 predictions are widened to
float32 first. Where a batch leaves nothing to compare (one image, a constant side, no pair), the value is stated and
the gradient is zero: never NaN, never 1/eps.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from mobileiqa.spec import ModelSpec

# Joins a tensor (N, ...) of every process, differentiably, so that a loss over a batch sees the whole batch.
Gather = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """N training images. All labels are (N,); -1 stands for "not known" in the integer ones.

    inputs: normalised float32 (N, 3, H, W), one per model input. score: float32, 0..1 by the set's own range.
    group: the reference image (ranking pairs share one). dataset: index of the source set (multi-task heads).
    votes: (N, 5) shares of the votes 1 to 5, zeros where an image has none; None where no image has any.
    """

    inputs: tuple[torch.Tensor, ...]
    score: torch.Tensor
    group: torch.Tensor
    dataset: torch.Tensor
    distortion: torch.Tensor
    level: torch.Tensor
    votes: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.score)

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory, which a DataLoader asks for."""
        columns = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "inputs"}
        pinned = {name: None if c is None else c.pin_memory() for name, c in columns.items()}
        return Batch(tuple(x.pin_memory() for x in self.inputs), **pinned)


@dataclass(frozen=True)
class Task:
    """`module` holds every parameter that is trained.

    loss(batch, gather) -> scalars by name; "loss" is what is minimised, the rest is logged.
    score(*inputs) -> (N,) predictions in the label's units, in eval mode (validation).
    export() -> the model and spec of the checkpoint.
    called: what `loss` calls, for torch.compile; empty: the module itself.
    teacher: what `loss` reads and never trains; the loop brings it to the device.
    choose(head): of a task whose score gives (N, heads), which one the checkpoint scores by.
    shift(by): adds to every score, in the model's own units; of a task whose random weights score anything.
    """

    module: nn.Module
    loss: Callable[[Batch, Gather], dict[str, torch.Tensor]]
    score: Callable[..., torch.Tensor]
    export: Callable[[], tuple[nn.Module, ModelSpec]]
    called: tuple[nn.Module, ...] = ()
    teacher: nn.Module | None = None
    choose: Callable[[int], None] | None = None
    shift: Callable[[float], None] | None = None


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The Gather of a single process."""
    return tensor


_CONSTANT = 1e-6  # a spread below this share of the values' size is float32 rounding, not information


def with_sum(parts: Mapping[str, torch.Tensor], weights: object) -> dict[str, torch.Tensor]:
    """`parts`, and "loss": their sum, each times the attribute of its name in `weights`."""
    return {**parts, "loss": sum(getattr(weights, name) * value for name, value in parts.items())}


def mse(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error, 0 or more."""
    return functional.mse_loss(*_checked(prediction, target))


def mae(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute error, 0 or more."""
    return functional.l1_loss(*_checked(prediction, target))


def plcc_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - Pearson's correlation over the batch, 0..2 (LAR-IQA, arXiv 2408.17057); 1 where it is undefined.

    It is undefined for a batch of one and where either side is constant.
    """
    p, t = (_normalized(side, q=2, eps=0.0) for side in _checked(prediction, target))
    return 1 - (p * t).sum()


def norm_in_norm(
    prediction: torch.Tensor,
    target: torch.Tensor,
    p: float = 1,
    q: float = 2,
    alpha: tuple[float, float] = (1, 0),
    eps: float = 1e-8,
) -> torch.Tensor:
    """Norm-in-Norm (arXiv 2008.03889): the p-norm between both sides, each centred and divided by its q-norm.

    0..1 for alpha (1, 0). alpha weighs the plain term and the one whose prediction is scaled by the cosine
    similarity of the sides. Blind to scale and offset: fit a linear map to MOS afterwards. A batch of one
    gives 0, and a constant side counts as all zeros. Raises ValueError for p or q below 1.
    """
    if p < 1 or q < 1 or min(alpha) < 0 or not any(alpha):
        raise ValueError(f"expected p, q >= 1 and alpha >= 0, not both 0; found p={p}, q={q}, alpha={alpha}")
    x, y = (_normalized(side, q, eps) for side in _checked(prediction, target))
    scale = 2 * len(x) ** max(0, 1 / p - 1 / q)  # the largest p-norm; 2 is the paper's 2^max(1, 1/q), q >= 1
    loss = alpha[0] * (_norm(x - y, p) / scale) ** p
    if alpha[1]:
        rho = functional.cosine_similarity(x, y, dim=0)
        loss = loss + alpha[1] * (_norm(rho * x - y, p) / scale) ** p
    return loss / sum(alpha)


def monotonicity(prediction: torch.Tensor, target: torch.Tensor, margin: float = 0.0) -> torch.Tensor:
    """Mean hinge max(0, margin - (p_i - p_j)) over all pairs with target_i > target_j (RankIQA, 1707.08347).

    0 when no two targets differ.
    """
    p, t = _checked(prediction, target)
    return _hinge(p, t[:, None] > t, margin)


def rank_pairs(
    prediction: torch.Tensor, target: torch.Tensor, group: torch.Tensor, margin: float = 0.0
) -> torch.Tensor:
    """`monotonicity` over pairs of one group: integers (N,), -1 for images that belong to none."""
    p, t = _checked(prediction, target)
    if group.shape != t.shape:
        raise ValueError(f"expected a group for each of {len(t)} targets; found shape {tuple(group.shape)}")
    same = (group[:, None] == group) & (group >= 0)
    return _hinge(p, (t[:, None] > t) & same, margin)


def _checked(prediction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides, at least float32. (N, 1) beside (N,) would broadcast to N x N: refused."""
    if prediction.ndim != 1 or prediction.shape != target.shape or not len(prediction):
        raise ValueError(
            "expected prediction and target of one shape (N,), N at least 1; "
            f"found {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    return prediction.to(dtype), target.to(dtype)


def _normalized(x: torch.Tensor, q: float, eps: float) -> torch.Tensor:
    """(x - mean) / (eps + its q-norm); zeros, without gradient, where x is constant."""
    centred = x - x.mean()
    norm = _norm(centred, q)
    varies = norm > _CONSTANT * _norm(x, q)
    # Both branches of `where` are differentiated: the one not taken must not divide by zero.
    return torch.where(varies, centred, 0) / (eps + torch.where(varies, norm, 1))


def _norm(x: torch.Tensor, p: float) -> torch.Tensor:
    return torch.linalg.vector_norm(x, p)


def _hinge(prediction: torch.Tensor, better: torch.Tensor, margin: float) -> torch.Tensor:
    """The mean over pairs (i, j) with better[i, j] that i should beat j; 0 without pairs."""
    hinges = functional.relu(margin - (prediction[:, None] - prediction))
    return (hinges * better).sum() / better.sum().clamp(min=1)
