"""A LAR-IQA branch learns what a trained branch of another backbone computes, stage by stage.

    loss = stages * mean_i |A_i(s_i) - t_i|^2 / var(t_i)  +  features * |A(s) - t|^2 / var(t)  +  score losses

s_i, t_i are the maps after each stage of the student's and the teacher's backbone, at the same stride, s and t
their features; A_i are 1x1 convolutions and A a matrix, dropped after training. From random weights, a map of
targets teaches more than one score does.
"""

from collections.abc import Sequence

import torch
from torch import nn

from mobileiqa.errors import UserError
from mobileiqa.models.lar_iqa import LarIQASingle
from mobileiqa.spec import InputSpec, ModelSpec
from mobileiqa.training.data_loader import moments

Maps = list[torch.Tensor]


class Imitation(nn.Module):
    """The student and its adapters to the teacher's width: a 1x1 convolution per stage, a matrix for features."""

    def __init__(self, student: LarIQASingle, channels: Sequence[tuple[int, int]], width: int) -> None:
        super().__init__()
        self.model = student
        self.adapters = nn.ModuleList(
            nn.Conv2d(own, teacher_channels, 1) for own, teacher_channels in channels
        )
        self.adapt = nn.Linear(student.width, width)

    def forward(self, image: torch.Tensor) -> tuple[Maps, torch.Tensor, torch.Tensor]:
        """Normalised images (N, 3, H, W) -> the adapted maps and features, scores (N,)."""
        maps, features = stages(self.model, image)
        adapted = [adapter(student_map) for adapter, student_map in zip(self.adapters, maps, strict=True)]
        return adapted, self.adapt(features), self.model.forward_head(features)


def stages(model: LarIQASingle, image: torch.Tensor) -> tuple[Maps, torch.Tensor]:
    """The maps after each stage of timm's backbone, strides 2 to 32, and the features (N, width)."""
    maps: Maps = []
    hooks = [b.register_forward_hook(lambda _m, _i, out: maps.append(out)) for b in model.backbone.blocks]
    try:
        features = model.forward_features(image)
    finally:
        for hook in hooks:
            hook.remove()
    return maps, features


def channels(student: LarIQASingle, teacher: LarIQASingle) -> list[tuple[int, int]]:
    """(student's, teacher's) channels of each stage. UserError where their strides differ."""
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        both = [stages(model.eval(), image)[0] for model in (student, teacher)]
    sizes = [[tuple(each.shape[2:]) for each in maps] for maps in both]
    if sizes[0] != sizes[1]:
        raise UserError(f"a teacher whose stages have the maps {sizes[0]}", str(sizes[1]), "give another one")
    return [(own.shape[1], teacher_map.shape[1]) for own, teacher_map in zip(*both, strict=True)]


def same_images(image: torch.Tensor, prepared: InputSpec, student: InputSpec) -> torch.Tensor:
    """Images normalised as `prepared` says, normalised as `student` says."""
    mean, std = moments(prepared, image.device)
    wanted_mean, wanted_std = moments(student, image.device)
    return (image * std + mean - wanted_mean) / wanted_std


def relative_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean squared error in units of the target's variance: 1 is as good as its mean."""
    student, teacher = student.float(), teacher.float()
    return (student - teacher).square().mean() / teacher.var(unbiased=False).clamp(min=1e-6)


def prepare_pair(student: nn.Module, teacher: nn.Module | None, spec: ModelSpec) -> Imitation:
    """The module that is trained; the teacher is frozen. UserError for models of another family."""
    if not isinstance(student, LarIQASingle) or not isinstance(teacher, LarIQASingle):
        raise UserError("single LAR-IQA branches as student and teacher", spec.name, "give --teacher CKPT")
    teacher.eval().requires_grad_(False)
    return Imitation(student, channels(student, teacher), teacher.width)
