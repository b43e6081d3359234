"""The one interpreter of INT8's analyses: after a run, the value of every tensor can be read.

Calibration ranges, input covariances, SQNR along the graph and the search's noise all read a file through it. It
holds all tensors at once: as much memory as all of them together.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa.scoring import first_run, first_run_child
from mobileiqa.scoring.litert import SIGNATURE

Inputs = Mapping[str, NDArray[np.float32]]
Map = NDArray[np.float32]


class TensorInterpreter:
    """A loaded file; call it with named inputs, then read tensors by index.

    source: a file, or the bytes of one that this process made and that need no first run elsewhere. An input with
    more crops than the file's batch is run by its first part. Raises UserError as litert.runner does.
    """

    def __init__(self, source: Path | bytes, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        if isinstance(source, bytes):
            model = {"model_content": source}
        else:
            first_run.check(source)
            model = first_run_child.model(str(source))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it takes memory
            self._interpreter: Any = Interpreter(
                **model,
                num_threads=threads,
                experimental_preserve_all_tensors=True,
            )
        self._interpreter.allocate_tensors()
        self._signature = self._interpreter.get_signature_runner(SIGNATURE)
        inputs = self._signature.get_input_details()
        self._batch = {name: int(detail["shape"][0]) for name, detail in inputs.items()}
        self._details: dict[int, dict[str, Any]] = {
            detail["index"]: detail for detail in self._interpreter.get_tensor_details()
        }

    def __call__(self, inputs: Inputs) -> None:
        """Runs the file."""
        self._signature(**{name: inputs[name][:count] for name, count in self._batch.items()})

    def value(self, index: int) -> NDArray[Any]:
        """The tensor's value as it is stored, after a run."""
        return self._interpreter.get_tensor(index)

    def real(self, index: int) -> NDArray[np.float64]:
        """The tensor's real value: scale * (q - zero point), per tensor or along its quantized axis."""
        quantization = self._details[index]["quantization_parameters"]
        scales, zero_points = quantization["scales"], quantization["zero_points"]
        return dequantized(self.value(index), scales, zero_points, quantization["quantized_dimension"])

    def indices(self) -> dict[str, int]:
        """Every tensor's index by its name."""
        return {detail["name"]: index for index, detail in self._details.items()}

    def float_activations(self) -> dict[int, str]:
        """Index -> name of every float32 tensor that an operator writes, and of the inputs."""
        operators = self._interpreter._get_ops_details()  # no public API lists which tensors are computed
        computed = {int(index) for operator in operators for index in operator["outputs"]}
        computed |= {detail["index"] for detail in self._interpreter.get_input_details()}
        details = {index: self._details[index] for index in sorted(computed) if index in self._details}
        return {index: detail["name"] for index, detail in details.items() if detail["dtype"] == np.float32}


def activations(source: Path | bytes, images: Iterable[Inputs]) -> Iterator[Callable[[int], Map]]:
    """Runs a file on prepared images: after each, a function from a tensor's index to its values there."""
    interpreter = TensorInterpreter(source)
    for inputs in images:
        interpreter(inputs)
        yield interpreter.value


def dequantized(values: NDArray[Any], scales: Any, zero_points: Any, axis: int) -> NDArray[np.float64]:
    """Real values of stored ones: `scales` and `zero_points` have none (float), one, or one for each of `axis`."""
    if not len(scales):
        return values.astype(np.float64)
    shape = [1] * values.ndim
    if len(scales) > 1:
        shape[axis] = len(scales)
    steps, zeros = (np.reshape(np.float64(v), shape if len(v) > 1 else ()) for v in (scales, zero_points))
    return steps * (values.astype(np.float64) - zeros)
