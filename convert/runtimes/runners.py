"""Every runtime as the same callable: named float32 NCHW arrays in, scores (N,) out.

A `Runner` takes one image's inputs. A runtime in another environment starts a process, so what parity calls
is `runtime(name)(path, batch)`: one process for a batch of images, the model in memory only while it runs.
Outputs are returned as they are, non-finite values and odd shapes too: `convert.comparison.compare` judges them.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convert.runtimes.gpu import scores_on_gpu, vulkan_driver
from convert.runtimes.tool_environments import python_of, run_tool
from mobileiqa.errors import UserError
from mobileiqa.reasons import torch_outputs
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

Inputs = Mapping[str, np.ndarray]
Runner = Callable[[Inputs], np.ndarray]
Batch = Sequence[Inputs]
Runtime = Callable[[Path, Batch], list[np.ndarray]]

SCRIPT = Path(__file__).with_name("runtime_child.py")
START_S, IMAGE_S = 120, 120  # a child's time limit: generous, since it only has to end a hang
ARM = "arm:"  # prefix of a runtime name, before an emulated CPU


def torch_runner(model: "nn.Module", spec: ModelSpec) -> Runner:
    """A module called with the inputs in `spec`'s order."""
    return lambda inputs: torch_outputs(model, spec, inputs)["score"]


def onnx_runner(path: Path | str) -> Runner:
    """An .onnx file in ONNX Runtime, on one CPU thread. UserError carries the runtime's message."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    failures = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only: they are raised as well
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise UserError(f"{path} to load in ONNX Runtime", str(error), "export it again") from error

    def run(inputs: Inputs) -> np.ndarray:
        try:
            return session.run(["score"], dict(inputs))[0]
        except (*failures, ValueError) as error:
            raise UserError(f"{path} to run in ONNX Runtime", str(error), "export it again") from error

    return run


def litert_runner(path: Path | str) -> Runner:
    """A .tflite file in this environment's ai-edge-litert, on one CPU thread."""
    from mobileiqa.scoring.litert import runner

    return runner(path, threads=1)


def litert_reasons(path: Path, batch: Batch) -> list[np.ndarray]:
    """Each image's probabilities of reasons, (crops, reasons), of a .tflite file that gives them."""
    from mobileiqa.scoring.litert import outputs_runner

    run = outputs_runner(path)
    return [run(inputs)["reasons"] for inputs in batch]


@dataclass(frozen=True)
class Child:
    """A runtime in an environment of its own, by the module and the kernels that runtime_child.py knows."""

    environment: str
    module: str
    kernels: str = "xnnpack"


CHILDREN = {
    "tensorflow": Child("onnx2tf", "tensorflow"),
    "legacy": Child("legacy", "tflite_runtime"),
    # Apps that switch XNNPACK off, or run a signature before allocate_tensors(), get these kernels. Their
    # in-place arithmetic can overwrite a tensor that a RESHAPE shares with a later operator.
    "legacy-builtin": Child("legacy", "tflite_runtime", "builtin"),
}


def run_child(name: str, path: Path, batch: Batch) -> list[np.ndarray]:
    """Each image's scores, from one process of a key of CHILDREN; UserError quotes its stderr's end."""
    child = CHILDREN[name]
    python = python_of(child.environment)
    with tempfile.TemporaryDirectory(prefix="mobileiqa-") as temporary:
        folder = Path(temporary)
        for number, inputs in enumerate(batch):
            np.savez(folder / f"inputs-{number:05d}.npz", **inputs)
        # -I: nothing of this project may be imported there by accident (convert/onnx.py would hide onnx).
        command = [python, "-I", SCRIPT, child.module, child.kernels, path.resolve(), folder]
        run_tool(command, START_S + IMAGE_S * len(batch), folder)
        return [np.load(folder / f"score-{number:05d}.npy") for number in range(len(batch))]


def _run_arm(cpu: str, path: Path, batch: Batch) -> list[np.ndarray]:
    from android_bench.emulate import run_arm

    return run_arm(path, list(batch), cpu)


def _in_process(open_runner: Callable[[Path], Runner], path: Path, batch: Batch) -> list[np.ndarray]:
    run = open_runner(path)
    return [run(inputs) for inputs in batch]


RUNTIMES: dict[str, Runtime] = {
    "ort": partial(_in_process, onnx_runner),
    "litert": partial(_in_process, litert_runner),
    **{name: partial(run_child, name) for name in CHILDREN},
    "gpu": scores_on_gpu,
}


# Runtimes that give reasons, beside the scores of RUNTIMES; the others compute the same graph up to its score.
REASONS: dict[str, Runtime] = {"litert": litert_reasons}


def runtime(name: str) -> Runtime:
    """The runtime of a name: a key of RUNTIMES, or arm:CPU. UserError lists them, or says what to build."""
    if name.startswith(ARM):
        from android_bench import emulate

        emulate.check(name.removeprefix(ARM))
        return partial(_run_arm, name.removeprefix(ARM))
    if name not in RUNTIMES:
        raise UserError(f"runtimes among {', '.join(RUNTIMES)}, {ARM}CPU", repr(name), "correct --runtimes")
    if name in CHILDREN:
        python_of(CHILDREN[name].environment)
    if name == "gpu":
        vulkan_driver()
    return RUNTIMES[name]


def reads(name: str, path: Path) -> bool:
    """Whether a runtime reads this kind of file: ONNX Runtime .onnx, all others .tflite."""
    return path.suffix.lower() == (".onnx" if name == "ort" else ".tflite")
