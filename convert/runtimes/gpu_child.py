"""Runs a .tflite file on LiteRT's GPU accelerator: python -P gpu_child.py FILE FOLDER {fp32 | fp16}.

Reads FOLDER/inputs-NNNNN.npz (arrays by input name), writes FOLDER/outputs-NNNNN.npz for each, and FOLDER/report.json:
what LiteRT says of the delegation, the seconds of compiling and of each run. What the accelerator itself says of its
adapter and of operators that it left goes to stderr. A process of its own, since a driver may end it.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


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
    return {
        name: np.asarray(
            results[name].read(int(np.prod(details[name]["shape"])), np.dtype(details[name]["dtype"]))
        ).reshape(details[name]["shape"])
        for name in details
    }


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
