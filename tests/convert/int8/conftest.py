"""A small network with everything that INT8 has to handle, exported, and images for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convert.flatbuffer import model as fb
from convert.flatbuffer import passes


class Small(nn.Module):
    """Convolution, hard-swish, depthwise, hard-swish, residual, mean, two linear layers: (1, 3, 16, 16) -> (1,)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.hidden, self.last = nn.Linear(8, 16), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.hardswish(4 * self.stem(x))
        x = nn.functional.hardswish(3 * self.depthwise(x)) + x
        return self.last(torch.relu(self.hidden(x.mean((2, 3))))).squeeze(1)


@pytest.fixture
def small(exported: Callable[..., Path]) -> Path:
    """The network's FP32 file, tensor names as ours are."""
    path = exported(Small(), torch.zeros(1, 3, 16, 16))
    model = fb.read(path)
    passes.shorten_names(model)
    fb.write(model, path)
    return path


@pytest.fixture
def images() -> list[dict[str, Any]]:
    """Sixteen images of different contrast."""
    rng = np.random.default_rng(4)
    return [
        {"args_0": (rng.standard_normal((1, 3, 16, 16)) * (0.2 + 0.15 * i)).astype(np.float32)}
        for i in range(16)
    ]


@pytest.fixture
def score() -> Callable[[Path, list[dict[str, Any]]], np.ndarray]:
    """score(path, images): what LiteRT computes, float64 (N,)."""

    def run(path: Path, images: list[dict[str, Any]]) -> np.ndarray:
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(path)).get_signature_runner()
        return np.array([next(iter(runner(**inputs).values())).item() for inputs in images], np.float64)

    return run
