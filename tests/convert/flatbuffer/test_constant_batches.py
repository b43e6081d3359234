"""Constants that a GPU accelerator reads wrong: which shapes, seen on it, and that more dimensions mend them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.delegation.accelerators import miscomputed, refuse_miscomputed
from convert.delegation.gpu_check import relative_error, run_on_cpu
from convert.flatbuffer import model as fb
from convert.flatbuffer.constant_batches import misread, without_constant_batches
from convert.flatbuffer.reader import read_graph
from convert.runtimes.gpu import run_gpu, vulkan_driver
from mobileiqa.errors import UserError
from tests.convert.conftest import FlatbufferBuilder

# (activation, constant)
MENDED = [
    ((6, 8), (6, 8)),
    ((6, 8), (6, 1)),
    ((6, 8), (1, 6, 8)),
    ((6, 8), (1, 1, 8)),
    ((1, 8), (6, 8)),
    ((8,), (6, 8)),
    ((6,), (6,)),
    ((3, 6, 8), (3, 6, 8)),
    ((3, 6, 8), (3, 1, 8)),
    ((1, 6, 8), (3, 6, 8)),
    ((3, 6, 8), (1, 1, 6, 8)),
]
UNMENDED = [((1, 1, 1, 8), (6, 1, 1, 8))]
RIGHT = [
    ((6, 8), (8,)),
    ((6, 8), (1, 8)),
    ((6, 8), (1, 1)),
    ((6, 8), ()),
    ((6,), (1,)),
    ((1, 8), (1, 6, 8)),
    ((3, 6, 8), (1, 6, 8)),
    ((3, 6, 8), (6, 8)),
    ((1, 6, 8), (1, 3, 6, 8)),
    ((2, 3, 4, 8), (3, 4, 8)),
    ((2, 3, 4, 8), (2, 3, 4, 8)),
    ((2, 3, 4, 8), (2, 3, 1, 1)),
    ((1, 1, 1, 8), (1, 3, 4, 8)),
]
OPERATORS = {
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
}
Pairs = list[tuple[tuple[int, ...], tuple[int, ...]]]


@pytest.fixture
def combined(flatbuffer: FlatbufferBuilder, save: Callable[[bytes], Path]) -> Callable[[Pairs], Path]:
    """combined(pairs): one operator and one output for each, constants first in every other."""

    def build(pairs: Pairs) -> Path:
        b, rng, outputs = flatbuffer, np.random.default_rng(0), []
        for number, (values, constant) in enumerate(pairs):
            operands = [b.input(*values), b.constant(rng.normal(size=constant))]
            kind = list(OPERATORS)[number % len(OPERATORS)]
            output = b.tensor(*np.broadcast_shapes(values, constant))
            outputs.append(b.op(kind, operands[:: (-1) ** number], [output], OPERATORS[kind]))
        return save(b.build(*outputs))

    return build


def random_inputs(path: Path) -> dict[str, np.ndarray]:
    graph, rng = read_graph(path), np.random.default_rng(1)
    return {
        name: rng.normal(size=graph.tensors[index].shape).astype(np.float32)
        for name, index in graph.signatures[0].inputs.items()
    }


def mended(path: Path) -> int:
    model = fb.read(path)
    count = without_constant_batches(model)
    fb.write(model, path)
    return count


def gpu_errors(path: Path, count: int) -> list[float]:
    """Of each output against the CPU, of its largest value."""
    inputs = [random_inputs(path)]
    result = run_gpu(path, inputs)
    (expected,) = run_on_cpu(path, "serving_default", inputs)
    assert result.fully_accelerated
    return [relative_error(result.outputs[0][f"out{n}"], expected[f"out{n}"]) for n in range(count)]


def test_shapes_that_are_wrong_on_a_gpu_are_those_that_are_named(combined) -> None:
    """Every pair of shapes on the accelerator: wrong where `misread` says so, and nowhere once mended."""
    try:
        vulkan_driver()
    except UserError as error:
        pytest.skip(str(error))
    pairs = [*MENDED, *UNMENDED, *RIGHT]
    path = combined(pairs)
    assert [error > 1e-2 for error in gpu_errors(path, len(pairs))] == [misread(*pair) for pair in pairs]
    assert mended(path) == len(MENDED)
    wrong = [pair for pair, error in zip(pairs, gpu_errors(path, len(pairs)), strict=True) if error > 1e-5]
    assert wrong == UNMENDED


def test_more_dimensions_change_no_value(combined, tmp_path: Path) -> None:
    path = combined([*MENDED, *RIGHT])
    assert len(miscomputed(read_graph(path))) == 1
    inputs = [random_inputs(path)]
    (before,) = run_on_cpu(path, "serving_default", inputs)
    assert mended(path) == len(MENDED) and mended(path) == 0
    refuse_miscomputed(path)
    (after,) = run_on_cpu(path, "serving_default", inputs)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    names = [operator.name for operator in read_graph(path).operators]
    assert names[:3] == ["RESHAPE", "ADD", "RESHAPE"] and names.count("RESHAPE") == 2 * len(MENDED)


def test_what_dimensions_do_not_mend_is_refused(combined) -> None:
    path = combined(UNMENDED)
    assert mended(path) == 0
    with pytest.raises(UserError, match="ADD #0 is a constant that has a batch"):
        refuse_miscomputed(path)


def test_a_constant_stored_in_half_is_found_and_two_activations_are_right(flatbuffer, save) -> None:
    b = flatbuffer
    half = b.op("DEQUANTIZE", [b.constant(np.ones((6, 8)), "float16")], [b.tensor(6, 8)], "DequantizeOptions")
    total = b.op("ADD", [b.input(6, 8), half], [b.tensor(6, 8)], "AddOptions")
    product = b.op("MUL", [total, b.input(6, 8)], [b.tensor(6, 8)], "MulOptions")
    (sentence,) = miscomputed(read_graph(save(b.build(product))))
    assert sentence.startswith("ADD #1 is a constant")


def test_a_fused_function_stays_and_integers_do(flatbuffer, save) -> None:
    b = flatbuffer
    constant = b.constant(np.arange(12.0).reshape(2, 6) - 6)
    bent = b.op("ADD", [b.input(2, 6), constant], [b.tensor(2, 6)], "AddOptions", fusedActivationFunction=1)
    whole = b.constant(np.ones((2, 6), np.int32))
    counted = b.op(
        "ADD", [b.input(2, 6, dtype="int32"), whole], [b.tensor(2, 6, dtype="int32")], "AddOptions"
    )
    path = save(b.build(bent, counted))
    assert mended(path) == 1
    inputs = {"in0": np.zeros((2, 6), np.float32), "in1": np.zeros((2, 6), np.int32)}
    (outputs,) = run_on_cpu(path, "serving_default", [inputs])
    np.testing.assert_array_equal(outputs["out0"], np.maximum(np.arange(12.0).reshape(2, 6) - 6, 0))
    np.testing.assert_array_equal(outputs["out1"], 1)
