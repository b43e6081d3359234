"""Tiles compute the same numbers: exact operator counts before and after, then values in LiteRT."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convert.export.tflite_file import export_tflite
from convert.flatbuffer import cache_tiling
from convert.flatbuffer import model as fb
from mobileiqa.scoring import litert
from mobileiqa.spec import InputSpec, ModelSpec

SPEC = ModelSpec("strip", (InputSpec("image", 10, 70),))


class Strip(nn.Module):
    """One strip of LDA: 3 -> 128 channels, GELU, the sum over rows, and the last row as the next strip needs it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.expand = nn.Linear(3, 128)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """A score that depends on every column and channel of both results."""
        values = nn.functional.gelu(self.expand(image.permute(0, 2, 3, 1)))
        total, last = values.sum(1, keepdim=True), values[:, -1:]
        ramp = torch.linspace(-1, 1, 70 * 128).reshape(1, 1, 70, 128)
        return ((total + 2 * last) * ramp).sum((1, 2, 3))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiling") / "plain.tflite"
    path.write_bytes(export_tflite(Strip().eval(), SPEC))
    model = fb.read(path)
    fb.name_signature(model, ["image"])
    fb.write(model, path)
    return path


def kinds(model) -> Counter[str]:
    return Counter(fb.kind(model, o) for o in model.subgraphs[0].operators)


def test_tiles_give_the_same_score(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        cache_tiling, "TILE_BYTES", 4 * 10 * 64 * 24
    )  # 24 columns: three tiles of 70, times two groups
    model = fb.read(plain)
    before = kinds(model)
    assert cache_tiling.tile_strips(model) == 1
    after = kinds(model)
    assert (before["FULLY_CONNECTED"], before["GELU"]) == (1, 1)
    assert (after["FULLY_CONNECTED"], after["GELU"], after["SUM"] - before["SUM"]) == (6, 6, 5)
    assert (
        after["CONCATENATION"] - before["CONCATENATION"] == 6
    )  # two groups and their join, for sum and last row
    path = tmp_path / "tiled.tflite"
    fb.write(model, path)
    image = np.random.default_rng(0).standard_normal((1, 3, 10, 70)).astype(np.float32)
    expected, actual = (litert.runner(p)({"image": image}) for p in (plain, path))
    np.testing.assert_allclose(actual, expected, rtol=2e-6)
    assert abs(float(expected[0])) > 1


def test_a_map_that_fits_is_left_alone(plain: Path):
    model = fb.read(plain)
    before = kinds(model)
    assert cache_tiling.tile_strips(model) == 0
    assert kinds(model) == before


def test_columns_cover_the_width_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache_tiling, "TILE_BYTES", 4 * 20 * 64 * 100)
    ranges = cache_tiling.columns(20, 636)
    assert [b for a, b in ranges[:-1]] == [a for a, _ in ranges[1:]]
    assert (ranges[0][0], ranges[-1][1], len(ranges)) == (0, 636, 7)
    assert max(b - a for a, b in ranges) <= 100
