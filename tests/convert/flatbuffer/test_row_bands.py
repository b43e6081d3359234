"""Cut in the file, a module that was exported whole is operator for operator what exporting its row ranges gives."""

import contextlib
import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convert import row_ranges
from convert.export.tflite_file import export_tflite
from convert.flatbuffer import model as fb
from convert.flatbuffer.passes import CUTS, PASSES
from convert.flatbuffer.row_strips import cut_strips
from convert.rewrites import core
from convert.rewrites.bands import Banded
from convert.rewrites.strips import StripLDA
from mobileiqa.layers.mobile_iqa import LDA
from mobileiqa.spec import InputSpec, ModelSpec

SPEC = ModelSpec("rows", (InputSpec("image", 50, 37),))


class Rows(nn.Module):
    """Two chains (stride 2 and a residual; even and odd sizes) and two pooled maps: one in strips, one whole."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        deep = [nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 5, 2, 2, groups=12), nn.Conv2d(12, 8, 1)]
        self.deep = Banded(deep, [nn.Hardswish(), nn.ReLU(), nn.Identity()])
        self.flat = Banded(
            [nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 8, 1)], [nn.ReLU6(), nn.Identity()]
        )
        self.pools = nn.ModuleList(StripLDA(LDA(8, 16, 4, grid=grid)) for grid in (4, 20))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.deep(self.stem(image))
        x = self.flat(x) + x
        return torch.cat([pool(x).flatten(1) for pool in self.pools], 1).abs().mean(1)


@pytest.fixture(scope="module")
def cut_and_exported() -> list[Any]:
    """The model cut in the file, and the one whose row ranges were exported, both after all passes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_ranges, "BAND_BYTES", 12_000)
        whole = fb.unpack(export_tflite(Rows().eval(), SPEC))
        plain = len(whole.subgraphs[0].operators)
        assert [cut(whole) for cut in CUTS] == [2, 2] and len(whole.subgraphs[0].operators) > 2 * plain
        assert cut_strips(whole) == 0, "strips were cut again"
        patch.setattr(core, "compact", lambda _: contextlib.nullcontext())
        exported = fb.unpack(export_tflite(Rows().eval(), SPEC))
    for model in (whole, exported):
        for edit in PASSES:
            edit(model)
        fb.name_signature(model, ["image"])
        fb.drop_unused_buffers(model)
    return [whole, exported]


def described(model: Any) -> list[Any]:
    """Each operator's kind, options, and the shapes and constants of its tensors."""

    def tensor(index: int) -> Any:
        if index < 0:
            return None
        each = model.subgraphs[0].tensors[index]
        data = model.buffers[each.buffer].data if fb.is_constant(model, each) else b""
        return each.type, [int(n) for n in each.shape], hashlib.sha256(bytes(data)).hexdigest()

    return [
        (fb.kind(model, o), vars(o.builtinOptions) if o.builtinOptions else {},
         [tensor(int(i)) for i in o.inputs], [tensor(int(i)) for i in o.outputs])
        for o in model.subgraphs[0].operators
    ]  # fmt: skip


def test_the_operators_are_those_of_the_exported_row_ranges(cut_and_exported: list[Any]):
    cut, exported = map(described, cut_and_exported)
    for number, (ours, theirs) in enumerate(zip(cut, exported, strict=True)):
        assert ours == theirs, number
    stored = [len(fb.pack(model)) for model in cut_and_exported]
    assert stored[0] < 1.1 * stored[1], "constants that nobody reads are stored"


def test_both_compute_the_module(cut_and_exported: list[Any]):
    from ai_edge_litert.interpreter import Interpreter

    image = np.random.default_rng(0).standard_normal(SPEC.inputs[0].shape).astype(np.float32)
    scores = []
    for model in cut_and_exported:
        runner = Interpreter(model_content=fb.pack(model), num_threads=1).get_signature_runner()
        scores.append(runner(image=image)["score"])
    with torch.no_grad():
        expected = Rows().eval()(torch.from_numpy(image)).numpy()
    assert np.array_equal(*scores) and np.abs(scores[0] - expected).max() < 1e-6
