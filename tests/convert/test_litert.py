"""The default route: names, shapes, silence, and what a failure says."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convert.graph import read_graph
from convert.litert import _quiet, export_tflite
from mobileiqa.errors import UserError


def test_the_file_computes_the_module(tiny: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    from ai_edge_litert.interpreter import Interpreter

    module, spec, _ = tiny
    capfd.readouterr()
    path = export_tflite(module, spec, tmp_path / "toy.tflite")
    assert capfd.readouterr() == ("", ""), "the converter's talk stays in the log"
    graph = read_graph(path)
    assert [graph.tensors[i].shape for i in graph.inputs] == [i.shape for i in spec.inputs]
    assert {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)} == {"float32"}
    rng = np.random.default_rng(0)
    arrays = {i.name: rng.standard_normal(i.shape).astype(np.float32) for i in spec.inputs}
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    (found,) = runner(**arrays).values()
    expected = module(*(torch.from_numpy(arrays[i.name]) for i in spec.inputs)).detach().numpy()
    assert np.abs(found - expected).max() < 1e-6


class Untraceable(nn.Module):
    """Branches on a value."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return authentic if authentic.sum() > 0 else synthetic


class SixD(nn.Module):
    """The 6-D broadcast on which the converter gives up."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no kernel for this\nand a second line")


@pytest.mark.parametrize(("module", "words"), [(Untraceable(), "authentic"), (SixD(), "no kernel for this")])
def test_a_failure_is_one_line_and_names_the_model(
    tiny: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], module: nn.Module, words: str
):
    capfd.readouterr()
    with pytest.raises(UserError) as error:
        export_tflite(module, tiny[1], tmp_path / "toy.tflite")
    message = str(error.value)
    assert "litert-torch to convert toy" in message and "--via onnx2tf" in message
    assert len(message.splitlines()) == 1 and len(message) < 1000
    assert words in message or isinstance(module, Untraceable)
    assert capfd.readouterr() == ("", "") and os.listdir(tmp_path) == []


def test_quiet_catches_both_streams_and_gives_them_back(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ZeroDivisionError), _quiet() as log:
        print("python")
        os.write(1, b"native out\n")
        os.write(2, b"native err\n")
        sys.stdout.flush()
        log.seek(0)
        assert {"python", "native out", "native err"} <= set(log.read().decode().split("\n"))
        raise ZeroDivisionError
    print("after")
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("after\n", "after\n")
