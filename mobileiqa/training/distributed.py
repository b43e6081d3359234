"""Data-parallel training: `torchrun --nproc_per_node=2 -m mobileiqa.train ...` gives the result of one process.

Each process reads its part of every batch. Predictions are joined before the loss, so that losses over a
batch (PLCC, ranking) see all of it, and batch norms use the statistics of the whole batch. Every process then
holds the same loss L; the backward pass of the sum below adds the processes' equal gradients, W * dL, and
averaging the parameters' gradients over W processes gives dL.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from mobileiqa.errors import UserError
from mobileiqa.training.objective import Gather, alone

PATIENCE = timedelta(hours=2)  # others wait while the first one validates
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process's place among all."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True for the process that writes files."""
        return self.rank == 0


def join(device: torch.device) -> Processes:
    """Joins the process group that torchrun describes in the environment; alone where there is none."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda" and device.index is not None:  # set_device refuses plain "cuda"
        torch.cuda.set_device(device)
    if world == 1:
        return Processes()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), world)


def local_device(text: str) -> torch.device:
    """The device that `text` names; of plain "cuda" under torchrun, the one of this process, LOCAL_RANK."""
    device = torch.device(text)
    local = os.environ.get("LOCAL_RANK")
    if device.type == "cuda" and device.index is None and local is not None:
        return torch.device("cuda", int(local))
    return device


def usable_device(text: str) -> torch.device:
    """`local_device(text)`, tried. Raises UserError where it is not there."""
    try:
        device = local_device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the device {text!r}", reason, "correct --device") from error
    return device


def use_tensor_cores(device: torch.device) -> None:
    """On a GPU, products and convolutions of float32 run in TF32: inputs are rounded to 10 bits of mantissa."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


def of_first(processes: Processes, body: Callable[[], T]) -> T:
    """What body() gives in the first process, in all of them; the others wait."""
    if processes.world == 1:
        return body()
    shared: list[Any] = [body() if processes.first else None]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def leave() -> None:
    """Leaves the process group, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def gather(processes: Processes) -> Gather:
    """The Gather of these processes; every process must hold equally many rows."""
    if processes.world == 1:
        return alone

    def joined(tensor: torch.Tensor) -> torch.Tensor:
        slots = tensor.new_zeros((processes.world, *tensor.shape))
        return _Sum.apply(torch.index_add(slots, 0, _index(processes, tensor), tensor.unsqueeze(0))).flatten(
            0, 1
        )

    return joined


def _index(processes: Processes, tensor: torch.Tensor) -> torch.Tensor:
    return torch.tensor([processes.rank], device=tensor.device)


def average_gradients(module: nn.Module, processes: Processes) -> None:
    """Replaces every gradient by its mean over the processes."""
    if processes.world == 1:
        return
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= processes.world
    for grad, mean in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(mean.view_as(grad))


class JointBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batch of all processes, followed by `act`; torch's own SyncBatchNorm needs a GPU."""

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__(like.num_features, like.eps, like.momentum)
        self.to(like.weight)  # its device and dtype
        self.load_state_dict(like.state_dict())
        self.act = getattr(like, "act", nn.Identity())  # timm's BatchNormAct2d holds its activation

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> the same shape."""
        if not self.training:
            return self.act(super().forward(input))
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _Sum.apply(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return self.act((centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype))

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, unbiased: torch.Tensor) -> None:
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def with_joint_norms(module: nn.Module, processes: Processes) -> nn.Module:
    """The module with every BatchNorm2d replaced in place (same keys), where there is more than one process."""
    if processes.world == 1:
        return module
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, JointBatchNorm(child))
        else:
            with_joint_norms(child, processes)
    return module
