"""FP16 rounding: what is kept, that it is put back, and that the promise about the score holds."""

import numpy as np
import pytest
import torch
from torch import nn

from convert import fp16_weights
from convert.fp16_weights import choose_fp16_weights
from mobileiqa.spec import Fit, InputSpec, ModelSpec

SPEC = ModelSpec("toy", (InputSpec("image", 64, 64),))


class Toy(nn.Module):
    """A depthwise filter (fan-in 9) whose rounding is amplified `gain` times, and a wide layer (fan-in 192)."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gain = gain
        self.depthwise = nn.Conv2d(3, 3, 3, groups=3)
        self.wide = nn.Conv2d(3, 1, 8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """A score per image."""
        return self.gain * self.depthwise(image).mean((1, 2, 3)) + self.wide(image).mean((1, 2, 3))


def test_keeps_only_small_fan_in_when_that_is_enough():
    choice = choose_fp16_weights(Toy(1000.0), SPEC)
    assert (choice.fan_in, choice.float32, choice.rounded) == (64, 27, 192)
    assert 0 < choice.max_abs <= fp16_weights.TARGET


def test_the_small_filter_alone_breaks_the_target(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fp16_weights, "FAN_INS", (1,))
    choice = choose_fp16_weights(Toy(1000.0), SPEC)
    assert choice.float32 == 0
    assert choice.max_abs > fp16_weights.TARGET


def test_keeps_more_until_the_target_holds():
    choice = choose_fp16_weights(Toy(1.0), SPEC, target=0.0)
    assert choice.rounded == 0
    assert choice.max_abs == 0.0


def test_puts_weights_back():
    module = Toy(1.0)
    before = [p.detach().clone() for p in module.parameters()]
    choose_fp16_weights(module, SPEC)
    for was, now in zip(before, module.parameters(), strict=True):
        np.testing.assert_array_equal(was.numpy(), now.detach().numpy())


@pytest.mark.parametrize(
    ("gain", "target", "runs"),
    [
        (1000.0, fp16_weights.TARGET, 2 * fp16_weights.IMAGES),  # near the target: every image decides
        (1.0, 1.0, 2 * fp16_weights.FEW),  # far within it: two do
        (1.0, 0.0, 2 + 1 + 3),  # one image beyond it is enough, until nothing is rounded
    ],
)
def test_an_image_runs_only_until_the_choice_is_certain(gain: float, target: float, runs: int):
    counts = []
    module = Toy(gain)
    module.register_forward_hook(lambda *_: counts.append(1))
    choose_fp16_weights(module, SPEC, target)
    assert len(counts) == runs


@pytest.mark.parametrize("fit", [Fit.RESIZE, Fit.CENTER_CROP])
def test_does_not_depend_on_the_input_size(fit: Fit):
    spec = ModelSpec("toy", (InputSpec("image", 64, 64, fit=fit),))
    assert choose_fp16_weights(Toy(10.0), spec) == choose_fp16_weights(Toy(10.0), spec.resized(640, 480))
