"""Is a .tflite file right on a GPU: what was left to the CPU, how far are its outputs, which operator is wrong first.

    check(FILE) -> one SignatureCheck for each signature

A wrong operator is searched by cutting the graph: the operators up to one become a file of their own, whose output runs
on the GPU and on the CPU. The first operator whose result differs is where they part: of the two halves of the graph
the earlier one that differs is halved again, 8 small files for 200 operators. One run in which every tensor is an
output would not do: outputs end what the accelerator fuses, and a fault of fusing hides.
"""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import Graph, read_graphs
from convert.runtimes.gpu import run_gpu
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

Arrays = Mapping[str, np.ndarray]
IMAGES = 2
# Of an output's largest value, or of 1: float32 sums in another order; a GPU's FP16 has 11 bits.
LIMITS = {"fp32": 1e-4, "fp16": 5e-3}
PART_LIMIT = 1e-2  # of an inner tensor: a wrong operator is wrong by more, rounding along a network by less


@dataclass(frozen=True)
class WrongOperator:
    """The first operator whose result differs: its number and kind, its tensor, and by how much of its range."""

    index: int
    kind: str
    tensor: str
    error: float


@dataclass(frozen=True)
class SignatureCheck:
    """One signature. error: largest difference of an output, of that output's largest value on the CPU."""

    signature: str
    adapter: str
    software: bool
    precision: str
    on_cpu: int
    unsupported: tuple[str, ...]
    error: float
    wrong: WrongOperator | None = None

    @property
    def passed(self) -> bool:
        """Wholly on the GPU and right."""
        return self.on_cpu == 0 and self.error <= LIMITS[self.precision]


def check(path: Path, precision: str = "fp32", seed: int = 0) -> tuple[SignatureCheck, ...]:
    """Every signature of `path`, on generated inputs. UserError where it does not run, or there is no GPU driver."""
    return tuple(_check(path, graph, precision, seed) for graph in read_graphs(path) if graph.signatures)


def to_json(check: SignatureCheck) -> dict[str, Any]:
    """The check as JSON; an infinite error, of a value that is not finite, is null."""
    wrong = check.wrong and {**asdict(check.wrong), "error": _finite(check.wrong.error)}
    return {**asdict(check), "error": _finite(check.error), "wrong": wrong, "passed": check.passed}


def in_words(check: Mapping[str, Any]) -> str:
    """One line of what `to_json` made."""
    left = f"{check['on_cpu']} operators left to the CPU ({'; '.join(check['unsupported'])})"
    where = "all operators" if not check["on_cpu"] else left
    how_far = "not finite" if check["error"] is None else f"{check['error']:.1e} from the CPU"
    wrong = check["wrong"]
    first = f"; first wrong: {wrong['kind']} #{wrong['index']} ({wrong['tensor']})" if wrong else ""
    return (
        f"GPU ({check['adapter']}, {check['precision']}), {check['signature']}: {where}; {how_far}{first}: "
        f"{'passed' if check['passed'] else 'FAILED'}"
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _check(path: Path, graph: Graph, precision: str, seed: int) -> SignatureCheck:
    signature = graph.signatures[0]
    batch = [_random_inputs(graph, seed + number) for number in range(IMAGES)]
    gpu = run_gpu(path, batch, precision)
    expected = run_on_cpu(path, signature.key, batch)
    pairs = [(a[name], b[name]) for a, b in zip(gpu.outputs, expected, strict=True) for name in b]
    error = max(relative_error(actual, value, floor=1.0) for actual, value in pairs)
    wrong = (
        None if error <= LIMITS[precision] else first_wrong_operator(path, signature.key, batch[0], precision)
    )
    return SignatureCheck(
        signature.key, gpu.adapter, gpu.software, precision, gpu.on_cpu, gpu.unsupported, error, wrong
    )


def relative_error(actual: np.ndarray, expected: np.ndarray, floor: float = 1e-6) -> float:
    """Largest difference, of the largest absolute value expected, or of `floor` where that is larger.

    inf where a value is not finite, or shapes differ.
    """
    if actual.shape != expected.shape or not np.isfinite(actual).all() or not np.isfinite(expected).all():
        return float("inf")
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return float(difference / max(np.abs(expected.astype(np.float64)).max(initial=0.0), floor))


def first_wrong_operator(
    path: Path, signature: str, inputs: Arrays, precision: str = "fp32"
) -> WrongOperator | None:
    """The first operator of a signature whose result differs on the GPU; None where each part alone is right."""
    model = fb.read(path)
    last: WrongOperator | None = None
    with tempfile.TemporaryDirectory(prefix="mobileiqa-") as temporary:
        file = Path(temporary) / "part.tflite"
        positions = _float_results(model, signature)
        low, high = (
            0,
            len(positions),
        )  # positions[:low] are right; those from high on are not, or there are none
        while low < high:
            middle = (low + high) // 2
            part = _part(model, signature, positions[middle])
            fb.write(part, file)
            error = _part_error(file, signature, inputs, precision)
            if error <= PART_LIMIT:
                low = middle + 1
            else:
                high = middle
                last = _described(model, signature, positions[middle], error)
    return last


def _part_error(file: Path, signature: str, inputs: Arrays, precision: str) -> float:
    used = read_graphs(file)[0].signatures[0].inputs
    batch = [{name: value for name, value in inputs.items() if name in used}]
    (actual,) = run_gpu(file, batch, precision).outputs
    (expected,) = run_on_cpu(file, signature, batch)
    return max(relative_error(actual[name], value) for name, value in expected.items())


def _random_inputs(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """By input name: smooth colours and noise, as a picture has; bytes for an integer input."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, index in graph.signatures[0].inputs.items():
        tensor = graph.tensors[index]
        values = rng.normal(0, 0.3, tensor.shape) + rng.normal(0, 0.7)
        if tensor.dtype == "float32":
            arrays[name] = values.astype(np.float32)
        else:
            limits = np.iinfo(tensor.dtype)
            spread = (values + 2) / 4 * (limits.max - limits.min) + limits.min
            arrays[name] = spread.clip(limits.min, limits.max).astype(tensor.dtype)
    return arrays


def run_on_cpu(path: Path, signature: str, batch: Sequence[Arrays]) -> list[dict[str, np.ndarray]]:
    """Each image's outputs by name, from one of LiteRT's interpreters."""
    from ai_edge_litert.interpreter import Interpreter

    from mobileiqa.scoring import first_run

    first_run.check(path)
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner(signature)
    return [{name: np.array(value) for name, value in run(**inputs).items()} for inputs in batch]


def _subgraph(model: "Model", signature: str) -> tuple[Any, Any]:
    """(definition, subgraph) of a signature."""
    for definition in model.signatureDefs or []:
        if _text(definition.signatureKey) == signature:
            return definition, model.subgraphs[int(definition.subgraphIndex)]
    raise UserError(f"a signature {signature}", "none in the file", "name one that `inspect` lists")


def _float_results(model: "Model", signature: str) -> Sequence[int]:
    """The operators, in order, whose first output is a float32 tensor that depends on an input."""
    from ai_edge_litert import schema_py_generated as schema

    _, graph = _subgraph(model, signature)
    computed = {int(i) for i in graph.inputs}
    positions = []
    for position, operator in enumerate(graph.operators):
        if any(int(i) in computed for i in operator.inputs):
            computed |= {int(i) for i in operator.outputs}
            if graph.tensors[int(operator.outputs[0])].type == schema.TensorType.FLOAT32:
                positions.append(position)
    return positions


def _part(model: "Model", signature: str, position: int) -> "Model":
    """The operators that the result of one needs, as a model of that one signature."""
    from ai_edge_litert import schema_py_generated as schema

    part = copy.copy(model)
    definition, graph = (copy.copy(item) for item in _subgraph(model, signature))
    output = int(graph.operators[position].outputs[0])
    needed, operators = {output}, []
    for operator in reversed(graph.operators[: position + 1]):
        if needed & {int(i) for i in operator.outputs}:
            operators.append(operator)
            needed |= {int(i) for i in operator.inputs}
    graph.operators, graph.outputs = operators[::-1], np.array([output], np.int32)
    graph.inputs = np.array([i for i in graph.inputs if int(i) in needed], np.int32)
    definition.inputs = [entry for entry in definition.inputs if int(entry.tensorIndex) in needed]
    result = schema.TensorMapT()
    result.name, result.tensorIndex = b"part", output
    definition.outputs, definition.subgraphIndex = [result], 0
    part.subgraphs, part.signatureDefs = [graph], [definition]
    part.metadata, part.metadataBuffer = [], None
    return part


def _described(model: "Model", signature: str, position: int, error: float) -> WrongOperator:
    _, graph = _subgraph(model, signature)
    operator = graph.operators[position]
    tensor = graph.tensors[int(operator.outputs[0])]
    return WrongOperator(position, fb.kind(model, operator), _text(tensor.name), error)


def _text(name: bytes | str | None) -> str:
    """A name as the object form holds it."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name or ""
