"""Runs a .tflite file on LiteRT's GPU accelerator: python -P gpu_child.py FILE FOLDER {fp32 | fp16}.

Reads FOLDER/inputs-NNNNN.npz (arrays by input name), writes FOLDER/outputs-NNNNN.npz for each, and FOLDER/report.json:
what LiteRT says of the delegation, the seconds of compiling and of each run. What the accelerator itself says of its
adapter and of operators that it left goes to stderr. A process of its own, since a driver may end it.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

QUIET = 4  # looks in turn, 25 ms apart


def compiled(path: str, precision: str) -> Any:
    """The file compiled for the GPU. LiteRT's default would round to FP16 where the adapter can."""
    from ai_edge_litert.compiled_model import CompiledModel, GpuOptions, HardwareAccelerator, Options

    gpu = GpuOptions(enforce_f32=precision == "fp32", allow_src_quantized_fc_conv_ops=True)
    # With the CPU beside it a graph that the GPU takes in part still runs, and can be reported.
    accelerators = HardwareAccelerator.GPU | HardwareAccelerator.CPU
    return CompiledModel.from_file(path, options=Options(hardware_accelerators=accelerators, gpu_options=gpu))


def signature_of(model: Any, inputs: Mapping[str, np.ndarray]) -> str:
    """The first signature that takes inputs of these names and shapes."""
    for key, names in model.get_signature_list().items():
        details = model.get_input_tensor_details(key)
        if set(names["inputs"]) == set(inputs) and all(
            tuple(details[name]["shape"]) == value.shape for name, value in inputs.items()
        ):
            return key
    raise ValueError(f"no signature takes { ({name: value.shape for name, value in inputs.items()}) }")


def run(model: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One inference: arrays by output name."""
    key = signature_of(model, inputs)
    sources = {name: model.create_input_buffer_by_name(key, name) for name in inputs}
    for name, value in inputs.items():
        sources[name].write(np.ascontiguousarray(value))
    details = model.get_output_tensor_details(key)
    results = {name: model.create_output_buffer_by_name(key, name) for name in details}
    model.run_by_name(key, sources, results)
    wait_for_software_gpu()
    return {
        name: read(results[name], tuple(details[name]["shape"]), details[name]["dtype"]) for name in details
    }


def read(buffer: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An output."""
    return np.asarray(buffer.read(int(np.prod(shape)), np.dtype(dtype))).reshape(shape)


def wait_for_software_gpu() -> None:
    """Returns when no thread of this process but this one wants to run.

    LiteRT waits for a GPU for some seconds and fails then; a software GPU, whose threads are here, takes longer on a
    busy machine. A real GPU's driver has no such threads.
    """
    quiet = 0
    while quiet < QUIET:
        time.sleep(0.025)
        quiet = 0 if "R" in _states() else quiet + 1


def _states() -> set[str]:
    """What the other threads do, as Linux says it: R of one that runs, or wants to. Empty on other systems."""
    own, states = str(threading.get_native_id()), set()
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # a thread that has just ended
            if task.name != own:
                states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states


def main(path: str, folder: str, precision: str) -> int:
    """Writes the report; a file that does not compile or run is an "error" in it."""
    try:
        report = measured(path, folder, precision)
    except (RuntimeError, ValueError) as error:
        report = {"error": " ".join(str(error).split())}
    (Path(folder) / "report.json").write_text(json.dumps(report))
    return 0


def measured(path: str, folder: str, precision: str) -> dict[str, Any]:
    """Compiles once, runs every input file in order."""
    start = time.perf_counter()
    model = compiled(path, precision)
    report: dict[str, Any] = {
        "accelerated": model.is_fully_accelerated(),
        "compile_s": time.perf_counter() - start,
        "run_s": [],
    }
    for file in sorted(Path(folder).glob("inputs-*.npz")):
        with np.load(file) as arrays:
            start = time.perf_counter()
            outputs = run(model, dict(arrays))
        report["run_s"].append(time.perf_counter() - start)
        np.savez(file.with_name(file.name.replace("inputs", "outputs")), **outputs)
    return report


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
