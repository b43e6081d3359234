"""The second converter: .onnx to FP32 .tflite with onnx2tf, in an environment of its own (`make onnx2tf`).

It shares no code with litert-torch, so two files that agree are worth more than one. Its `flatbuffer_direct`
back end needs no TensorFlow. What is asked of it: the same interface as the first converter's files, that is
float32 NCHW inputs by name, one output "score", signature serving_default (it keeps NCHW by one TRANSPOSE per
input).
"""

import shutil
import tempfile
from pathlib import Path

from mobileiqa import cli
from mobileiqa.errors import UserError

from convert.environments import command_of, run_tool
from convert.onnx import read_model

ENVIRONMENT = "onnx2tf"
TIMEOUT_S = 900


def export_tflite(onnx_path: Path | str, out_path: Path | str) -> Path:
    """Converts an .onnx file of `convert.onnx` to `out_path`, FP32; returns `out_path`.

    Raises UserError when the environment is not there ("run make onnx2tf") or the conversion fails.
    """
    command = command_of(ENVIRONMENT, "onnx2tf")
    onnx_path, out_path = Path(onnx_path).resolve(), Path(out_path)
    with tempfile.TemporaryDirectory(prefix="mobileiqa-onnx2tf-") as name:
        folder = Path(name)
        run_tool([command, *_options(onnx_path)], TIMEOUT_S, folder)
        found = sorted(folder.glob("out/*_float32.tflite"))
        if len(found) != 1:
            wrote = ", ".join(sorted(p.name for p in folder.glob("out/*"))) or "nothing"
            raise UserError(
                "one *_float32.tflite from onnx2tf", wrote, "check the version that make onnx2tf installed"
            )
        with cli.atomic(out_path) as temporary:
            shutil.copyfile(found[0], temporary)
    return out_path


def _options(onnx_path: Path) -> list[str | Path]:
    """What is asked of onnx2tf; it writes the FP32 file always and an FP16 file that nobody asked for."""
    return [
        *("-i", onnx_path),
        *("-o", "out"),
        *("-tb", "flatbuffer_direct"),
        "-kat", *(i.name for i in read_model(onnx_path).graph.input),  # keep their shapes: NCHW
        "-coion",  # keep the names of inputs and outputs
        *("-v", "error"),
    ]  # fmt: skip
