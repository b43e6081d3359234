"""The short ways give the bytes of the long ones, and what they do not know goes the long way."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from convert.export import shortcuts
from convert.export.tflite_file import export_tflite
from mobileiqa.spec import InputSpec, ModelSpec

SPEC = ModelSpec("toy", (InputSpec("image", 32, 24),))


class Varied(nn.Module):
    """Operators that are decomposed, moved to another layout, changed in place, broadcast, or of other types."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.ReLU(inplace=True))
        self.excite = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.norm, self.q, self.out = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.gain = nn.Parameter(torch.rand(8))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(1, 3, H, W) -> (1,)."""
        x = self.depthwise(self.stem(image))
        x = x * self.excite(x.mean((2, 3), keepdim=True)) + nn.functional.avg_pool2d(x, 3, 1, 1)
        rows = self.norm(x.flatten(2).transpose(1, 2)[0])
        rows = nn.functional.gelu(rows + self.gain) * 2 + rows * rows[:1]
        mixed = torch.softmax(self.q(rows) @ rows.t(), -1) @ rows
        left, right = mixed.split(4, 1)
        steps = torch.arange(left.shape[0]) * 2 + 1
        joined = torch.cat([left, right * steps[:, None]], 1) + rows
        return torch.sigmoid(self.out(joined).mean(0))


def long_way(monkeypatch: pytest.MonkeyPatch, module: nn.Module) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(shortcuts, "shortcuts", nullcontext)
        return export_tflite(module, SPEC)


@pytest.fixture
def decompositions(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each was done in place."""
    results: list[bool] = []
    decompose: Callable[..., bool] = shortcuts.decompose
    monkeypatch.setattr(shortcuts, "decompose", lambda *a: results.append(decompose(*a)) or results[-1])
    return results


def test_the_bytes_are_those_of_the_long_way(monkeypatch: pytest.MonkeyPatch, decompositions: list[bool]):
    module = Varied().eval()
    assert export_tflite(module, SPEC) == long_way(monkeypatch, module)
    assert not decompositions[0] and all(decompositions[1:])  # PyTorch's program has changes in place


def test_nothing_of_it_is_left_behind():
    from litert_torch.backend.lowerings import registry
    from torch.export import ExportedProgram

    before = ExportedProgram.run_decompositions, dict(registry.global_registry.registered_ops)
    with pytest.raises(ZeroDivisionError), shortcuts.shortcuts():
        assert ExportedProgram.run_decompositions is not before[0]
        raise ZeroDivisionError
    assert (ExportedProgram.run_decompositions, registry.global_registry.registered_ops) == before
