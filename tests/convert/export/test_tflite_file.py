"""The default route: names, shapes, silence, and what a failure says."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convert.export.tflite_file import export_tflite
from convert.flatbuffer.reader import read_graph
from mobileiqa.errors import UserError


def test_the_file_computes_the_module(tiny: Any, tmp_path: Path):
    from ai_edge_litert.interpreter import Interpreter

    module, spec, _ = tiny
    path = tmp_path / "toy.tflite"
    path.write_bytes(export_tflite(module, spec))
    graph = read_graph(path)
    assert [graph.tensors[i].shape for i in graph.inputs] == [i.shape for i in spec.inputs]
    assert {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)} == {"float32"}
    rng = np.random.default_rng(0)
    arrays = {i.name: rng.standard_normal(i.shape).astype(np.float32) for i in spec.inputs}
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    (result,) = runner(**arrays).values()
    expected = module(*(torch.from_numpy(arrays[i.name]) for i in spec.inputs)).detach().numpy()
    assert np.abs(result - expected).max() < 1e-6


class Branches(nn.Module):
    """Decides by a value: no graph."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        return authentic if authentic.sum() > 0 else synthetic


class Raises(nn.Module):
    """Fails while it is traced."""

    def forward(self, authentic: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no kernel for this\nand a second line")


@pytest.mark.parametrize(
    ("module", "words"), [(Branches(), ""), (Raises(), "no kernel for this and a second")]
)
def test_a_failure_is_one_line_and_names_the_model(tiny: Any, module: nn.Module, words: str):
    with pytest.raises(UserError) as error:
        export_tflite(module, tiny[1])
    message = str(error.value)
    assert "litert-torch to convert toy" in message and "--via onnx2tf" in message and words in message
    assert len(message.splitlines()) == 1 and len(message) < 1000


QUIET = """
import os, sys
from convert.export.tflite_file import _quiet
try:
    with _quiet() as log:
        print("python")
        os.write(1, b"native out\\n")
        os.write(2, b"native err\\n")
        sys.stdout.flush()
        log.seek(0)
        caught = log.read().decode().split("\\n")
        raise ZeroDivisionError
except ZeroDivisionError:
    print(sorted(filter(None, caught)))
    os.write(2, b"back\\n")
"""


def test_what_the_converter_says_is_caught_and_both_streams_come_back():
    root = Path(__file__).resolve().parents[3]
    process = subprocess.run(
        [sys.executable, "-c", QUIET], cwd=root, capture_output=True, text=True, check=True
    )
    assert process.stdout == "['native err', 'native out', 'python']\n" and process.stderr == "back\n"
