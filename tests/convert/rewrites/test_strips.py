"""LDA in strips equals LDA at every size, and exports without the converter's adaptive pooling."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch import nn

from convert.rewrites import strips
from convert.rewrites.strips import StripLDA, bins
from mobileiqa.layers.mobile_iqa import GRID, LDA
from mobileiqa.models.mobile_iqa import STUDENT

# Sizes of the paper's tables, width x height; the backbone's five levels have strides 2, 4, 8, 16, 32.
PAPER = [(238, 153), (224, 224), (317, 205), (476, 307), (1271, 820), (1907, 1231)]
LEVELS = sorted({(math.ceil(h / s), math.ceil(w / s)) for w, h in PAPER for s in (2, 4, 8, 16, 32)})
ODD = [(1, 1), (3, 2), (21, 23), (22, 22), (23, 21), (33, 57), (43, 44), (44, 43), (45, 5), (97, 641)]


def error(lda: LDA, height: int, width: int) -> float:
    torch.manual_seed(height * 10007 + width)
    x = torch.randn(1, lda.expand.in_channels, height, width, dtype=torch.float64)
    with torch.no_grad():
        return float((StripLDA(lda)(x) - lda(x)).abs().max())


@pytest.fixture(scope="module")
def small() -> LDA:
    torch.manual_seed(0)
    return LDA(3, hidden=4, out_channels=5).double()


@pytest.mark.parametrize("grid", [GRID, 4, 7])
def test_bins_are_pytorchs(grid: int):
    for size in range(1, 700 if grid == GRID else 60):
        weights = torch.zeros(grid, size, dtype=torch.float64)
        for i, (start, end) in enumerate(bins(size, grid)):
            weights[i, start:end] = 1 / (end - start)
        pooled = nn.functional.adaptive_avg_pool1d(torch.eye(size, dtype=torch.float64)[None], grid)[0].t()
        assert torch.allclose(weights, pooled, atol=1e-15), size


@pytest.mark.parametrize(("height", "width"), LEVELS + ODD, ids=lambda n: str(n))
def test_exact_at_the_papers_sizes_and_odd_ones(small: LDA, height: int, width: int):
    assert error(small, height, width) < 1e-12


@pytest.mark.parametrize(("height", "width"), [(97, 641), (77, 60), (616, 9)])
def test_strips_in_pieces_are_the_same(small: LDA, height: int, width: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(strips, "PIECE_BYTES", 4 * 4 * width * 3)  # three rows
    x = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.inference_mode():
        assert float((StripLDA(small)(x) - small(x)).abs().max()) < 1e-12


@pytest.mark.parametrize(("height", "width"), [(1, 9), (6, 7), (13, 30), (14, 5), (50, 41)])
def test_exact_on_the_ldas_own_grid(height: int, width: int):
    torch.manual_seed(1)
    assert error(LDA(3, 4, 5, grid=7).double(), height, width) < 1e-12


@pytest.mark.parametrize("level", range(5))
def test_exact_on_the_seeded_weights(seeded, level: int):
    lda = LDA(STUDENT.channels[level]).double()
    lda.load_state_dict(seeded("mobilenet-iqa").lda[level].state_dict())
    assert error(lda, *[(77, 60), (39, 30), (20, 15), (10, 8), (5, 4)][level]) < 1e-12


def test_a_wrong_bin_would_be_noticed(small: LDA, monkeypatch):
    shifted = [(max(start - 1, 0), end) for start, end in bins(50, GRID)]
    monkeypatch.setattr(strips, "bins", lambda size, grid: shifted)
    assert error(small, 50, 50) > 1e-3


def test_every_lda_is_replaced():
    model = nn.ModuleDict({"a": LDA(3, 4, 5), "b": nn.Sequential(LDA(6, 4, 5)), "c": nn.Conv2d(3, 3, 1)})
    model, sites = strips.apply(model)
    assert (sites.replaced, sites.refused) == (2, [])
    assert Counter(type(m).__name__ for m in model.modules())["StripLDA"] == 2
    assert not any(isinstance(m, LDA) for m in model.modules())


@pytest.mark.parametrize(("height", "strips_run"), [(25, 1), (50, GRID)], ids=["whole", "strips"])
def test_the_exported_graph_pools_by_sums(exported, operators, height: int, strips_run: int):
    torch.manual_seed(0)
    lda, x = LDA(8, 16, 12), torch.randn(1, 8, height, 30)
    debris = {"GATHER_ND", "BROADCAST_TO", "SELECT", "GATHER", "SELECT_V2"}
    assert debris & operators(exported(lda, x)).keys(), "the plain export is what the rewrite is for"
    result = operators(exported(StripLDA(lda), x))
    assert result.keys() <= {
        "ADD",
        "CONCATENATION",
        "FULLY_CONNECTED",
        "GELU",
        "RESHAPE",
        "SLICE",
        "SUM",
        "TRANSPOSE",
    }
    # One expansion per strip, one pooled row per bin, one reduction; a bin adds the row that it shares.
    shared = sum(start < end for (_, end), (start, _) in pairwise(bins(height, GRID)))
    assert result["FULLY_CONNECTED"] == strips_run + GRID + 1
    assert (result["GELU"], result["SUM"]) == (strips_run, GRID)
    assert result["ADD"] == (shared if strips_run > 1 else 0)
