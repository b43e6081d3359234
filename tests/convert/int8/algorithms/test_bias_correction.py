"""Bias correction and rounding in the quantizer's own files."""

from pathlib import Path

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.algorithms.bias_correction import Corrected, quantized_weights
from convert.int8.recipe import Recipe
from convert.int8.statistics.input_covariance import InputCovariance, collect_covariances
from convert.int8.weights import bias_of, matrices, values, weighted
from tests.convert.int8.networks import RELU6, convolution, linear, mean, pictures, quantize_file, uneven

PLAIN = {"equalize": False, "rounding": "nearest", "bias_correction": False, "float_first": 0}


@pytest.fixture
def network(flatbuffer, save) -> Path:
    return save(uneven(flatbuffer, RELU6))


def shifts(path: Path, out: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every quantized operator with a bias: the shift of its output's mean by its own rounding, and the step."""
    model, quantized = fb.read(path), fb.read(out)
    covariances = collect_covariances(model, path.read_bytes(), weighted(model), pictures(12))
    return [
        _shift(model, quantized, entry, covariances[entry.weight])
        for entry in quantized_weights(model, quantized)
        if entry.bias is not None
    ]


def _shift(model, quantized, entry, inputs: InputCovariance) -> tuple[np.ndarray, np.ndarray]:
    tensors = quantized.subgraphs[0].tensors
    exact = matrices(entry.kind, values(model, entry.weight), entry.channels).astype(np.float64)
    scale = np.asarray(tensors[entry.quantized].quantization.scale).reshape(*exact.shape[:2], 1)
    rounded = matrices(entry.kind, values(quantized, entry.quantized), entry.channels)
    step = tensors[entry.bias].quantization
    step = np.float64(1e-6) if step is None or step.scale is None else np.asarray(step.scale, np.float64)
    bias = values(quantized, entry.bias) * (step if values(quantized, entry.bias).dtype == np.int32 else 1.0)
    before = values(model, bias_of(entry.operator))
    return ((rounded * scale - exact) @ inputs.mean[:, :, None]).ravel() + bias - before, step


@pytest.mark.parametrize("mode", ["static", "dynamic", "weights"])
@pytest.mark.parametrize("rounding", ["nearest", "least-error"])
def test_the_mean_of_every_output_stays(network, tmp_path, mode: str, rounding: str) -> None:
    out = tmp_path / "int8.tflite"
    recipe = Recipe(mode, **{**PLAIN, "rounding": rounding})
    quantize_file(network, recipe, pictures(12), out)
    left = shifts(network, out)
    assert any(np.abs(shift).max() > 4 * np.max(step) for shift, step in left), "nothing to correct"
    quantized = quantize_file(
        network, Recipe(mode, **{**PLAIN, "rounding": rounding, "bias_correction": True}), pictures(12), out
    )
    result = shifts(network, out)
    assert quantized.corrected.biases == len(result) == len(left)
    assert (quantized.corrected.values > 0) == (rounding == "least-error")
    for shift, step in result:
        assert (np.abs(shift) <= 1.01 * step).all()


def test_operators_that_share_a_weight_are_corrected_once(flatbuffer, save, tmp_path) -> None:
    """Twice would be as wrong as not at all."""
    b, rng = flatbuffer, np.random.default_rng(5)
    weight = b.constant(rng.standard_normal((3, 3, 3, 3)).astype(np.float32) / 4)
    bias = b.constant(np.float32([0.1, 0.2, 0.3]))
    twice = convolution(b, convolution(b, b.input(1, 16, 16, 3), weight, bias, RELU6), weight, bias, RELU6)
    path, out = save(b.build(linear(b, mean(b, twice), np.ones((1, 3))))), tmp_path / "int8.tflite"
    quantized = quantize_file(path, Recipe("weights"), pictures(12), out)
    assert quantized.corrected.biases == quantized.corrected.weights == 1
    for shift, step in shifts(path, out):
        assert (np.abs(shift) <= 1.01 * step).all()


@pytest.mark.parametrize("mode", ["dynamic", "weights"])
def test_without_images_nothing_is_corrected(network, tmp_path, mode: str) -> None:
    with_images, without, plain = (tmp_path / f"{name}.tflite" for name in ("with", "without", "plain"))
    quantize_file(network, Recipe(mode, float_first=0), pictures(12), with_images)
    quantized = quantize_file(network, Recipe(mode, float_first=0), (), without)
    quantize_file(network, Recipe(mode, **{**PLAIN, "float_first": 0}), pictures(12), plain)
    assert (quantized.images, quantized.corrected, quantized.equalized) == (0, Corrected(), 0)
    assert without.read_bytes() == plain.read_bytes() != with_images.read_bytes()


def test_scores_move_less(network, tmp_path, score) -> None:
    """In 8-bit weights alone; other images."""
    out, others = tmp_path / "int8.tflite", pictures(24, seed=9)
    expected, errors = score(network, others), []
    for recipe in (
        Recipe("weights", **PLAIN),
        Recipe("weights", **{**PLAIN, "bias_correction": True}),
        Recipe("weights"),
    ):
        quantize_file(network, recipe, pictures(24), out)
        errors.append(np.abs(score(out, others) - expected).mean())
    assert errors[1] < 0.8 * errors[0] and errors[2] < 0.6 * errors[0], errors
