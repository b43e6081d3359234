"""Files in PyTorch: what LiteRT computes, with gradients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convert.flatbuffer import model as fb
from convert.int8.fine_tuning.torch_executor import compile_graph, grid, run
from convert.int8.fine_tuning.torch_operators import OPERATORS
from convert.int8.quantize import quantize
from convert.int8.recipe import Recipe
from convert.int8.statistics.interpreter import activations
from tests.convert.int8.networks import RELU, RELU6, VALID, bending, convolution, linear, mean, pictures

NORMAL = np.random.default_rng(5).standard_normal


def simple(kind: str, **options: Any) -> Callable[[Any, int], int]:
    """An operator of one input that keeps its shape."""
    name = {"GELU": "GeluOptions", "HARD_SWISH": "HardSwishOptions", "SOFTMAX": "SoftmaxOptions"}.get(
        kind, ""
    )
    return lambda b, x: b.op(kind, [x], [b.tensor(1, 6, 8, 4)], name, **options)


def pair(kind: str, options: str, **fields: Any) -> Callable[[Any, int], int]:
    """The map and one value of each channel."""
    return lambda b, x: b.op(
        kind, [x, b.constant(NORMAL((1, 1, 1, 4)))], [b.tensor(1, 6, 8, 4)], options, **fields
    )


def reduced(kind: str, *shape: int, **fields: Any) -> Callable[[Any, int], int]:
    return lambda b, x: b.op(kind, [x, b.constant([1, 2])], [b.tensor(*shape)], "ReducerOptions", **fields)


def matmul(b: Any, x: int, transposed: bool) -> int:
    rows = b.op("RESHAPE", [x, b.constant([48, 4])], [b.tensor(48, 4)], "ReshapeOptions")
    other = b.constant(NORMAL((5, 4) if transposed else (4, 5)))
    return b.op(
        "BATCH_MATMUL", [rows, other], [b.tensor(48, 5)], "BatchMatMulOptions", adjX=False, adjY=transposed
    )


def sliced(b: Any, x: int) -> int:
    begin, size = b.constant([0, 2, 0, 1]), b.constant([-1, 3, 8, -1])
    return b.op("SLICE", [x, begin, size], [b.tensor(1, 3, 8, 3)], "SliceOptions")


def joined(b: Any, x: int) -> int:
    return b.op("CONCATENATION", [x, x], [b.tensor(1, 6, 8, 8)], "ConcatenationOptions", axis=-1)


def padded(b: Any, x: int) -> int:
    border = b.constant([[0, 0], [1, 2], [0, 1], [0, 0]])
    return b.op("PAD", [x, border], [b.tensor(1, 9, 9, 4)], "PadOptions")


def pooled(b: Any, x: int) -> int:
    return b.op(
        "AVERAGE_POOL_2D", [x], [b.tensor(1, 3, 4, 4)], "Pool2DOptions", padding=VALID,
        filterHeight=2, filterWidth=2, strideH=2, strideW=2,
    )  # fmt: skip


def turned(b: Any, x: int) -> int:
    return b.op("TRANSPOSE", [x, b.constant([0, 3, 1, 2])], [b.tensor(1, 4, 6, 8)], "TransposeOptions")


def strided(b: Any, x: int) -> int:
    """SAME on an even length with stride 2 pads behind alone."""
    return convolution(b, x, NORMAL((5, 3, 3, 4)), NORMAL(5), RELU6, strideH=2, strideW=2)


CASES: dict[str, Callable[[Any, int], int]] = {
    "ABS": simple("ABS"),
    "ADD": pair("ADD", "AddOptions"),
    "AVERAGE_POOL_2D": pooled,
    "BATCH_MATMUL": lambda b, x: matmul(b, x, False),
    "BATCH_MATMUL transposed": lambda b, x: matmul(b, x, True),
    "CONCATENATION": joined,
    "CONV_2D": lambda b, x: convolution(b, x, NORMAL((5, 3, 3, 4)), NORMAL(5), RELU),
    "CONV_2D strided": strided,
    "CONV_2D grouped": lambda b, x: convolution(b, x, NORMAL((6, 3, 3, 2)), NORMAL(6), padding=VALID),
    "DEPTHWISE_CONV_2D": lambda b, x: convolution(b, x, NORMAL((1, 3, 3, 4)), NORMAL(4), depthwise=True),
    "FULLY_CONNECTED": lambda b, x: linear(b, mean(b, x), NORMAL((3, 4)), NORMAL(3), RELU),
    "GELU": simple("GELU", approximate=False),
    "HARD_SWISH": simple("HARD_SWISH"),
    "LOGISTIC": simple("LOGISTIC"),
    "MEAN": reduced("MEAN", 1, 1, 1, 4, keepDims=True),
    "MUL": pair("MUL", "MulOptions"),
    "PAD": padded,
    "RESHAPE": lambda b, x: b.op(
        "RESHAPE", [x, b.constant([1, 48, 4])], [b.tensor(1, 48, 4)], "ReshapeOptions"
    ),
    "SLICE": sliced,
    "SOFTMAX": simple("SOFTMAX", beta=1.0),
    "SUB": pair("SUB", "SubOptions", fusedActivationFunction=RELU),
    "SUM": reduced("SUM", 1, 4),
    "TRANSPOSE": turned,
}


def picture(seed: int = 0) -> dict[str, np.ndarray]:
    return {"in0": (2 * np.random.default_rng(seed).standard_normal((1, 6, 8, 4))).astype(np.float32)}


def litert(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    return next(iter(Interpreter(model_path=str(path)).get_signature_runner()(**inputs).values()))


def test_every_operator_has_a_case() -> None:
    assert {name.split()[0] for name in CASES} == set(OPERATORS) - {"QUANTIZE", "DEQUANTIZE"}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_litert_does_and_has_its_gradient(name: str, flatbuffer, save) -> None:
    b = flatbuffer
    path = save(b.build(CASES[name](b, b.input(1, 6, 8, 4))))
    program, inputs = compile_graph(fb.read(path)), picture()
    (found,) = run(program, inputs).values()
    expected = litert(path, inputs)
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()

    scale = torch.ones(())  # the output as a function of a factor of the input: its slope, in two ways
    scale.requires_grad_()
    index = program.inputs["in0"]
    weights = torch.from_numpy(NORMAL(expected.shape).astype(np.float32))

    def value(factor: torch.Tensor) -> torch.Tensor:
        as_constant = {index: factor * torch.from_numpy(inputs["in0"])}
        (output,) = run(program, {"in0": inputs["in0"]}, as_constant).values()
        return (weights * output).sum()

    value(scale).backward()
    with torch.no_grad():
        slope = (value(torch.tensor(1.01)) - value(torch.tensor(0.99))) / 0.02
    assert float(scale.grad) != 0 or float(slope) == 0
    assert float(scale.grad) == pytest.approx(float(slope), rel=0.05, abs=0.05)


@pytest.mark.parametrize(
    "recipe", [None, Recipe(float_first=0), Recipe(float_first=1), Recipe("dynamic")], ids=str
)
def test_a_file_is_what_litert_computes_tensor_by_tensor(recipe, flatbuffer, save, tmp_path) -> None:
    """8-bit tensors within one step, most of them exactly: what lies halfway between two integers may go to either."""
    path, images = save(bending(flatbuffer)), pictures(12)
    if recipe is not None:
        quantize(path, recipe, images, path := tmp_path / "int8.tflite")
    model = fb.read(path)
    program, tensors = compile_graph(model), model.subgraphs[0].tensors
    wanted, in_8_bits = [step.output for step in program.steps], 0
    for inputs, tensor in zip(images[::4], activations(path, images[::4]), strict=True):
        found = run(program, inputs, others=wanted)
        for index in wanted:
            expected, its = tensor(index).astype(np.float64), grid(tensors[index])
            if its is None:
                error = np.abs(found[index].numpy() - expected).max() / np.abs(expected).max()
                assert error <= (0.01 if recipe else 1e-5), tensors[index].name
            else:
                steps = np.abs(found[index].numpy() / its.scales[0] + its.zeros[0] - expected)
                assert steps.max() <= 1.01 and (steps > 0.5).mean() <= 0.1, tensors[index].name
                in_8_bits += 1
    assert (in_8_bits > 30) == (recipe is not None and recipe.mode == "static")


def test_other_constants_take_the_place_of_the_files_and_have_gradients(flatbuffer, save) -> None:
    program, (inputs,) = compile_graph(fb.read(save(bending(flatbuffer)))), pictures(1)
    weights = [
        i for i, value in program.constants.items() if isinstance(value, torch.Tensor) and value.ndim > 1
    ]
    ours = {i: program.constants[i].clone().requires_grad_() for i in weights}
    (score,) = run(program, inputs, ours).values()
    score.sum().backward()
    assert len(ours) == 7 and all(float(weight.grad.abs().max()) > 0 for weight in ours.values())
    last = weights[-1]
    (twice,) = run(program, inputs, {last: 2 * program.constants[last]}).values()
    assert float(twice) == pytest.approx(2 * float(score), rel=1e-5)  # the last bias is 0


def test_an_operator_that_is_not_there_is_named(flatbuffer, save) -> None:
    b = flatbuffer
    path = save(b.build(b.op("TANH", [b.input(1, 4)], [b.tensor(1, 4)])))
    with pytest.raises(ValueError, match="found TANH"):
        compile_graph(fb.read(path))
