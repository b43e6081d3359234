"""Runs a .tflite file in another environment's runtime; `convert.runtimes.runners` starts it by path.

    python -I runtime_child.py {tensorflow | tflite_runtime} {xnnpack | builtin} FILE.tflite FOLDER

Reads FOLDER/inputs-NNNNN.npz (float32 arrays by input name), writes FOLDER/score-NNNNN.npy for each. It needs
numpy and that runtime, nothing of this project; a failure is its traceback on stderr and exit code 1.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def interpreter(runtime: str, kernels: str, path: str) -> Any:
    """The runtime's own Interpreter, one thread, with XNNPACK or with its builtin kernels alone."""
    if runtime == "tensorflow":
        from tensorflow import lite

        cls, resolvers = lite.Interpreter, lite.experimental.OpResolverType
    else:
        from tflite_runtime.interpreter import Interpreter as cls
        from tflite_runtime.interpreter import OpResolverType as resolvers

    resolver = resolvers.AUTO if kernels == "xnnpack" else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return cls(model_path=path, num_threads=1, experimental_op_resolver_type=resolver)


def signature(runtime: str, kernels: str, path: str) -> Callable[..., dict[str, np.ndarray]]:
    """The file's serving_default signature."""
    loaded = interpreter(runtime, kernels, path)
    loaded.allocate_tensors()  # without it, tflite-runtime 2.14 runs a signature without its delegate
    return loaded.get_signature_runner("serving_default")


def main(runtime: str, kernels: str, path: str, folder: str) -> None:
    """Runs every input file of the folder, in order."""
    run = signature(runtime, kernels, path)
    for inputs in sorted(Path(folder).glob("inputs-*.npz")):
        with np.load(inputs) as arrays:
            outputs = run(**arrays)
        number = inputs.stem.partition("-")[2]
        np.save(inputs.with_name(f"score-{number}.npy"), outputs["score"])


if __name__ == "__main__":
    main(*sys.argv[1:])
