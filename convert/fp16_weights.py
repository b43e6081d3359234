"""Which weights an FP16 file may round: those whose rounding errors average out.

A weight of 11 bits is off by up to 2^-12 of itself. Over an output's n weights (its fan-in) these errors add up
like sqrt(n) while the output grows like n, so the few weights of small fan-in (depthwise filters, the stem, the
first 1x1 convolutions) do most of the harm: kept in float32 they cost half a percent of the file. `choose`
raises the fan-in up to which weights stay float32 until the score of some generated images holds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

FAN_INS = (64, 128, 256, 512, 1024, 2048, 4096)
TARGET = 5e-4  # of the score range: a quarter of the FP16 tolerance, as photos differ from the probes
IMAGES = 6
PROBE_PX = (320, 256)  # width, height of a free input size: one for all, so that sizes share their weights
CROPS = 4  # of a model that scores crops


@dataclass(frozen=True)
class Choice:
    """Weights of at most `fan_in` values per output stay float32; `max_abs` is what the others then cost."""

    fan_in: int
    float32: int  # how many values stay float32
    rounded: int
    max_abs: float  # of the score range, largest over the probe images


def choose(module: "nn.Module", spec: ModelSpec, target: float = TARGET) -> Choice:
    """The smallest of FAN_INS under which rounding moves no probe image by more than `target`.

    Beyond the last one nothing would be rounded, so the last is returned whatever it costs; parity judges the
    file. `module` is the deployable module; its weights are put back.
    """
    import torch

    from convert.comparison.generated_images import sample_images

    sized = _probe_spec(spec)
    batch = [prepare(image, sized) for _, image in sample_images(IMAGES)]
    arrays = [[torch.from_numpy(inputs[i.name][:CROPS]) for i in spec.inputs] for inputs in batch]
    weights = {name: p for name, p in module.named_parameters() if name.endswith("weight") and p.dim() >= 2}
    expected = _scores(module, arrays)
    low, high = spec.score_range
    choice = None
    for fan_in in FAN_INS:
        rounded = [p for p in weights.values() if _fan_in(p) > fan_in]
        worst = float(np.abs(_scores_rounded(module, rounded, arrays) - expected).max()) / (high - low)
        count = sum(p.numel() for p in rounded)
        choice = Choice(fan_in, sum(p.numel() for p in weights.values()) - count, count, worst)
        if worst <= target:
            break
    assert choice is not None
    return choice


def _probe_spec(spec: ModelSpec) -> ModelSpec:
    """`spec` at a fixed size that is quick to run, where the size is free."""
    return spec.resized(*PROBE_PX) if spec.size_is_free else spec


def _fan_in(weight: "torch.Tensor") -> int:
    """Values per output."""
    return weight[0].numel()


def _scores(module: "nn.Module", arrays: "list[list[torch.Tensor]]") -> np.ndarray:
    """One float64 score per image, the mean over its crops."""
    import torch

    with torch.inference_mode():
        return np.array([module(*inputs).double().mean().item() for inputs in arrays])


def _scores_rounded(
    module: "nn.Module", weights: "list[nn.Parameter]", arrays: "list[list[torch.Tensor]]"
) -> np.ndarray:
    """The scores while `weights` are rounded to float16."""
    import torch

    originals = [p.detach().clone() for p in weights]
    with torch.no_grad():
        for p in weights:
            p.copy_(p.half().float())
        try:
            return _scores(module, arrays)
        finally:
            for p, original in zip(weights, originals, strict=True):
                p.copy_(original)
