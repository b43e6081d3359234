"""What recipes share: the same bytes as each alone makes, and fewer runs of the FP32 file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.calibration import collect_statistics, uses_equalization
from convert.int8.recipe import Recipe
from convert.int8.statistics import input_covariance
from convert.int8.statistics.input_covariance import collect_covariances
from convert.int8.weights import weighted
from tests.convert.int8.networks import apply_to_file, bending, pictures, quantize_file

FLOAT_FIRST = Recipe(float_first=2)
EVERYTHING = Recipe(float_first=0)
RECIPES = (
    FLOAT_FIRST,  # the first lacks covariances of what the second quantizes
    EVERYTHING,
    Recipe(ranges="min-max", float_first=0),
    Recipe(float_first=0, bias_correction=False),
    Recipe(float_first=0, rounding="nearest", weights_per="tensor"),
    Recipe("dynamic"),
    Recipe("weights"),
    Recipe(float_first=0, equalize=False),
)


@pytest.fixture
def network(flatbuffer, save, monkeypatch) -> Path:
    """Its maps have 256 positions; a quarter of them is drawn."""
    monkeypatch.setattr(input_covariance, "SAMPLES", 64)
    return save(bending(flatbuffer))


class Counted:
    """Images, and how often they were asked for."""

    def __init__(self, count: int) -> None:
        self.images, self.times = pictures(count), 0

    def __call__(self) -> Iterator[Any]:
        self.times += 1
        return iter(self.images)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, -1], ids=["narrow first", "wide first"])
def test_recipes_that_share_statistics_make_the_bytes_that_each_makes_alone(network, tmp_path, order) -> None:
    images, shared, files = Counted(12), {}, set()
    for recipe in RECIPES[::order]:
        alone, beside = tmp_path / "alone.tflite", tmp_path / "beside.tflite"
        quantized = quantize_file(network, recipe, pictures(12), alone)
        key = uses_equalization(recipe)
        if key not in shared:
            shared[key] = collect_statistics(network.read_bytes(), key, images, 12)
        assert apply_to_file(shared[key], recipe, beside) == quantized
        assert beside.read_bytes() == alone.read_bytes(), recipe
        files.add(beside.read_bytes())
    assert len(files) == len(RECIPES), "recipes that all do the same would share anything"


def test_the_fp32_file_runs_again_only_for_what_is_not_known(network, tmp_path) -> None:
    images, out = Counted(8), tmp_path / "int8.tflite"
    statistics = collect_statistics(network.read_bytes(), True, images, 8)
    times = [images.times]
    for recipe in (FLOAT_FIRST, FLOAT_FIRST, EVERYTHING, Recipe(ranges="min-max", float_first=0)):
        apply_to_file(statistics, recipe, out)
        times.append(images.times)
    assert times == [1, 3, 3, 4, 4], (
        "equalized; ranges and covariances; -; covariances of two convolutions more; -"
    )
    before = {key: weights.copy() for key, weights in statistics.rounded.items()}
    apply_to_file(statistics, FLOAT_FIRST, out)
    assert before.keys() == statistics.rounded.keys()
    assert all(np.array_equal(weights, statistics.rounded[key]) for key, weights in before.items())


def test_statistics_of_other_images_are_others(network, tmp_path) -> None:
    """The failing case of sharing: weights and ranges that they led to make another file."""
    output = []
    for seed in (0, 1):
        images = pictures(8, seed)
        statistics = collect_statistics(network.read_bytes(), True, lambda images=images: images, 8)
        apply_to_file(statistics, EVERYTHING, tmp_path / f"{seed}.tflite")
        output.append(statistics)
    mixed = replace(output[1], rounded=output[0].rounded)
    apply_to_file(mixed, EVERYTHING, tmp_path / "mixed.tflite")
    assert len({(tmp_path / f"{name}.tflite").read_bytes() for name in ("0", "1", "mixed")}) == 3


def test_an_operators_samples_do_not_depend_on_which_others_are_collected(network) -> None:
    model = fb.read(network)
    every = collect_covariances(model, network.read_bytes(), weighted(model), pictures(2))
    for operator, weight in weighted(model):
        (alone,) = collect_covariances(
            model, network.read_bytes(), [(operator, weight)], pictures(2)
        ).values()
        assert np.array_equal(alone.mean, every[weight].mean)
        assert alone.covariance is None or np.array_equal(alone.covariance, every[weight].covariance)
