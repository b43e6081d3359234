"""LDA against loops: bins, exact GELU, both convolutions."""

import math

import numpy as np
import pytest
import torch

from mobileiqa.layers.lda import GRID, LDA


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def reference(x: np.ndarray, lda: LDA) -> np.ndarray:
    """(C, H, W) -> (out, grid, grid)."""
    state = {name: value.detach().numpy() for name, value in lda.state_dict().items()}
    (_, height, width), grid = x.shape, lda.grid
    mapped = np.einsum("oc,chw->ohw", state["expand.weight"][:, :, 0, 0], x)
    mapped = np.vectorize(gelu)(mapped + state["expand.bias"][:, None, None])
    pooled = np.empty((mapped.shape[0], grid, grid))
    for i in range(grid):
        for j in range(grid):
            rows = slice(math.floor(i * height / grid), math.ceil((i + 1) * height / grid))
            columns = slice(math.floor(j * width / grid), math.ceil((j + 1) * width / grid))
            pooled[:, i, j] = mapped[:, rows, columns].mean((1, 2))
    return (
        np.einsum("oc,chw->ohw", state["reduce.weight"][:, :, 0, 0], pooled)
        + state["reduce.bias"][:, None, None]
    )


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(44, 22, GRID), (27, 61, GRID), (7, 5, GRID), (27, 61, 4)]
)
def test_lda_equals_loops(height: int, width: int, grid: int):
    torch.manual_seed(0)
    lda = LDA(4, hidden=6, out_channels=3, grid=grid).double()
    x = np.random.default_rng(0).standard_normal((4, height, width)) * 3
    found = lda(torch.from_numpy(x)[None])[0].detach().numpy()
    assert np.abs(found - reference(x, lda)).max() < 1e-12


def test_the_tanh_form_of_gelu_would_be_noticed():
    x = torch.linspace(-3, 3, 100, dtype=torch.float64)
    difference = torch.nn.functional.gelu(x) - torch.nn.functional.gelu(x, approximate="tanh")
    assert difference.abs().max() > 1e-4
