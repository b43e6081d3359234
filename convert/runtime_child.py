"""Runs a .tflite file in another environment's runtime; `convert.runners` starts it by path.

    python -I runtime_child.py {tensorflow | tflite_runtime} FILE.tflite FOLDER

Reads FOLDER/inputs-NNNNN.npz (float32 arrays by input name), writes FOLDER/score-NNNNN.npy for each. It needs
numpy and that runtime, nothing of this project; a failure is its traceback on stderr and exit code 1.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def interpreter_class(runtime: str) -> type:
    """The runtime's own Interpreter."""
    if runtime == "tensorflow":
        import tensorflow as tf

        return tf.lite.Interpreter
    from tflite_runtime.interpreter import Interpreter

    return Interpreter


def signature(runtime: str, path: str) -> Callable[..., dict[str, np.ndarray]]:
    """The file's serving_default signature, one thread."""
    return interpreter_class(runtime)(model_path=path, num_threads=1).get_signature_runner("serving_default")


def main(runtime: str, path: str, folder: str) -> None:
    """Runs every input file of the folder, in order."""
    run = signature(runtime, path)
    for inputs in sorted(Path(folder).glob("inputs-*.npz")):
        with np.load(inputs) as arrays:
            outputs = run(**arrays)
        number = inputs.stem.partition("-")[2]
        np.save(inputs.with_name(f"score-{number}.npy"), outputs["score"])


if __name__ == "__main__":
    main(*sys.argv[1:])
