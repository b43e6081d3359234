"""REASONS: the defects that a model may name, in the order of its second output, and which distortion shows which.

A model that gives reasons has `forward_reasons`: scores (N,), and probabilities (N, len(spec.reasons)) in the order
of its spec.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

REASONS = (
    "blur", "motion blur", "noise", "compression", "too dark", "too bright", "low contrast", "colour",
    "over-sharpened", "pixelated", "none",
)  # fmt: skip
NONE = REASONS.index("none")

# KADID-10k's distortion number -> the defect it shows. Patches, blocks and banding are what codecs leave.
_OF_DISTORTION = {
    1: "blur", 2: "blur", 3: "motion blur", 4: "colour", 5: "colour", 6: "compression", 7: "colour",
    8: "colour", 9: "compression", 10: "compression", 11: "noise", 12: "noise", 13: "noise", 14: "noise",
    15: "blur", 16: "too bright", 17: "too dark", 19: "pixelated", 20: "compression", 21: "pixelated",
    22: "compression", 23: "compression", 24: "over-sharpened",
}  # fmt: skip
# Two distortions have a level that changes nothing in their middle: mean shift and contrast change.
_OF_LEVEL = {
    18: ("too bright", "too bright", "none", "too dark", "too dark"),
    25: ("over-sharpened", "over-sharpened", "none", "low contrast", "low contrast"),
}


def reason_of(distortion: int, level: int) -> int:
    """The index in REASONS of what KADID-10k's `distortion` (1..25) at `level` (1..5) shows."""
    name = _OF_LEVEL[distortion][level - 1] if distortion in _OF_LEVEL else _OF_DISTORTION[distortion]
    return REASONS.index(name)


def named(probabilities: Sequence[float], spec: ModelSpec) -> dict[str, float]:
    """Each of the spec's reasons and its probability, the likeliest first."""
    pairs = zip(spec.reasons, map(float, probabilities), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def with_outputs(module: "nn.Module", spec: ModelSpec) -> "nn.Module":
    """The module with a forward that gives all of the spec's outputs, on the same weights."""
    if not spec.reasons:
        return module
    both = copy.copy(module)
    both.forward = both.forward_reasons
    return both


def torch_outputs(
    module: "nn.Module",
    spec: ModelSpec,
    inputs: Mapping[str, NDArray[np.float32]],
    device: "torch.device | None" = None,
) -> dict[str, NDArray[np.float32]]:
    """The spec's outputs by name of one image's prepared inputs: score (N,), reasons (N, len(spec.reasons))."""
    import torch

    with torch.inference_mode():
        tensors = (torch.from_numpy(inputs[each.name]).to(device) for each in spec.inputs)
        outputs = with_outputs(module, spec)(*tensors)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return {name: output.cpu().numpy() for name, output in zip(spec.outputs, outputs, strict=True)}
