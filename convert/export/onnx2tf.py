"""The second converter: .onnx to FP32 .tflite with onnx2tf, in an environment of its own (`make onnx2tf`).

It shares no code with litert-torch, so two files that agree are worth more than one. Its `flatbuffer_direct`
back end needs no TensorFlow. What is asked of it: the same interface as the first converter's files, that is
float32 NCHW inputs by name, one output "score", signature serving_default (it keeps NCHW by one TRANSPOSE per
input). Its exit code 0 promises little, so its file is checked.
"""

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from convert.export.onnx_file import read_model
from convert.flatbuffer.reader import Graph, graphs_of
from convert.runtimes.tool_environments import command_of, run_tool
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    import onnx

ENVIRONMENT = "onnx2tf"
TIMEOUT_S = 900


def export_tflite(onnx_path: Path | str) -> bytes:
    """The bytes of the FP32 .tflite file that onnx2tf makes of an .onnx file of `convert.onnx`.

    Raises UserError when the environment is not there ("run make onnx2tf"), the conversion fails, or its file
    would not run everywhere.
    """
    import onnx

    command = command_of(ENVIRONMENT, "onnx2tf")
    model = read_model(onnx_path)
    separate_layouts(model.graph)
    with tempfile.TemporaryDirectory(prefix="mobileiqa-onnx2tf-") as name:
        folder = Path(name)
        onnx.save(model, folder / "model.onnx")
        run_tool([command, *_options([i.name for i in model.graph.input])], TIMEOUT_S, folder)
        converted = folder / "out" / "model_float32.tflite"
        if not converted.is_file():
            wrote = ", ".join(sorted(path.name for path in folder.glob("out/*"))) or "nothing"
            todo = "run `make onnx2tf`, which pins the version"
            raise UserError(f"{converted.name} from onnx2tf", wrote, todo)
        content = converted.read_bytes()
        if reason := defect(graphs_of(content, converted)[0]):
            todo = "convert with --via litert, or change the rewrite that leads to it"
            raise UserError("a file from onnx2tf that runs everywhere", reason, todo)
        return content


def _options(inputs: list[str]) -> list[str]:
    """What is asked of onnx2tf; it writes the FP32 file always and an FP16 file that nobody asked for."""
    return [
        *("-i", "model.onnx"),
        *("-o", "out"),
        *("-tb", "flatbuffer_direct"),
        *("-kat", *inputs),  # keep their shapes: NCHW
        "-coion",  # keep the names of inputs and outputs
        *("-v", "error"),
    ]


def separate_layouts(graph: "onnx.GraphProto") -> int:
    """Computes a sum that is sliced and also read otherwise once for each, in place; returns how often.

    onnx2tf 2.6.9 turns such a sum to channels last for its other readers and forgets it for the Slices: the
    file is written, and fails in every runtime with "Input tensor N lacks data". In the graphs here it is the
    sum at the end of a block, read by the next block's bands and by the pooling's strips or the next sum.
    """
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for value in node.input:
            users.setdefault(value, []).append(node)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        readers = users.get(node.output[0], [])
        slices = [reader for reader in readers if reader.op_type == "Slice"]
        if node.op_type == "Add" and 0 < len(slices) < len(readers):
            again = copy.deepcopy(node)
            again.name, again.output[0] = f"{node.name}_again", f"{node.output[0]}_again"
            nodes.append(again)
            for reader in slices:
                reader.input[0] = again.output[0]
    added = len(nodes) - len(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return added


def defect(graph: Graph) -> str:
    """Why a file does not run in a plain runtime, or an empty string."""
    custom = sorted({operator.name for operator in graph.operators if operator.custom})
    if custom:
        return f"custom operators {', '.join(custom)}"
    written = {*graph.inputs, *(tensor for operator in graph.operators for tensor in operator.outputs)}
    for operator in graph.operators:
        for index in operator.inputs:
            if index >= 0 and index not in written and not graph.tensors[index].constant:
                return f"tensor {graph.tensors[index].name}, read by a {operator.name} and written by none"
    return ""
