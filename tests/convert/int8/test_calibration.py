"""What recipes share: the same bytes as each alone makes, and fewer runs of the FP32 file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.calibration import equalizes, find
from convert.int8.quantize import apply, quantize
from convert.int8.recipe import Recipe
from convert.int8.statistics import input_covariance
from convert.int8.statistics.input_covariance import collect
from convert.int8.weights import weighted
from tests.convert.int8.networks import bending, pictures

FLOAT_FIRST = Recipe(float_first=2)
EVERYTHING = Recipe(float_first=0)
RECIPES = (
    FLOAT_FIRST,  # the first lacks moments of what the second quantizes
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
def test_recipes_that_share_findings_make_the_bytes_that_each_makes_alone(network, tmp_path, order) -> None:
    images, shared, files = Counted(12), {}, set()
    for recipe in RECIPES[::order]:
        alone, beside = tmp_path / "alone.tflite", tmp_path / "beside.tflite"
        done = quantize(network, recipe, pictures(12), alone)
        key = equalizes(recipe)
        if key not in shared:
            shared[key] = find(network, key, images, 12, tmp_path)
        assert apply(shared[key], recipe, beside) == done
        assert beside.read_bytes() == alone.read_bytes(), recipe
        files.add(beside.read_bytes())
    assert len(files) == len(RECIPES), "recipes that all do the same would share anything"


def test_the_fp32_file_runs_again_only_for_what_is_not_known(network, tmp_path) -> None:
    images, out = Counted(8), tmp_path / "int8.tflite"
    found = find(network, True, images, 8, tmp_path)
    times = [images.times]
    for recipe in (FLOAT_FIRST, FLOAT_FIRST, EVERYTHING, Recipe(ranges="min-max", float_first=0)):
        apply(found, recipe, out)
        times.append(images.times)
    assert times == [1, 3, 3, 4, 4], "equalized; ranges and moments; -; moments of two convolutions more; -"
    before = {key: codes.copy() for key, codes in found.codes.items()}
    apply(found, FLOAT_FIRST, out)
    assert before.keys() == found.codes.keys()
    assert all(np.array_equal(codes, found.codes[key]) for key, codes in before.items())


def test_findings_of_other_images_are_others(network, tmp_path) -> None:
    """The failing case of sharing: codes and ranges that were found with them make another file."""
    made = []
    for seed in (0, 1):
        images = pictures(8, seed)
        found = find(network, True, lambda images=images: images, 8, tmp_path)
        apply(found, EVERYTHING, tmp_path / f"{seed}.tflite")
        made.append(found)
    mixed = replace(made[1], codes=made[0].codes)
    apply(mixed, EVERYTHING, tmp_path / "mixed.tflite")
    assert len({(tmp_path / f"{name}.tflite").read_bytes() for name in ("0", "1", "mixed")}) == 3


def test_an_operators_samples_do_not_depend_on_which_others_are_wanted(network) -> None:
    model = fb.read(network)
    every = collect(model, network, weighted(model), pictures(2))
    for operator, weight in weighted(model):
        (alone,) = collect(model, network, [(operator, weight)], pictures(2)).values()
        assert np.array_equal(alone.mean, every[weight].mean)
        assert alone.covariance is None or np.array_equal(alone.covariance, every[weight].covariance)
