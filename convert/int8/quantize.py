"""FP32 .tflite -> INT8 .tflite: our ranges and our choice of operators, ai-edge-quantizer's arithmetic."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert import flatbuffer as fb
from convert.int8.activations import hard_swish_as_products
from convert.int8.ranges import METHODS, Inputs, Range, observe
from convert.int8.recipe import Plan, Recipe, plan


@dataclass(frozen=True)
class Quantized:
    """What was done: operators by kind of quantization, and how many images calibrated it."""

    recipe: Recipe
    static: int
    dynamic: int
    weights: int
    images: int


def quantize(path: Path, recipe: Recipe, images: Iterable[Inputs], out: Path) -> Quantized:
    """Quantizes one of our FP32 files into `out` (not atomic: callers write to a temporary name).

    images: prepared calibration images; only a static recipe reads them. Raises UserError for a recipe that
    does not fit the file, ValueError for activations that are not finite.
    """
    ranges: dict[str, Range] = {}
    count = 0

    def counted() -> Iterator[Inputs]:
        """One image at a time: a full-size one is 28 MB."""
        nonlocal count
        for inputs in images:
            count += 1
            yield inputs

    if recipe.mode == "static":
        ranges = {name: METHODS[recipe.ranges](seen) for name, seen in observe(path, counted()).items()}
    with tempfile.TemporaryDirectory() as folder:
        edited = Path(folder) / "edited.tflite"
        model = fb.read(path)
        if recipe.mode == "static":
            ranges |= hard_swish_as_products(model, ranges)
        fb.write(model, edited)
        chosen = plan(model, recipe)
        out.write_bytes(_quantized(edited, chosen, ranges))
    return Quantized(recipe, len(chosen.static), len(chosen.dynamic), len(chosen.weights), count)


def _quantized(path: Path, chosen: Plan, ranges: Mapping[str, Range]) -> bytes:
    """The file's INT8 form by ai-edge-quantizer."""
    from ai_edge_quantizer import quantizer, recipe_manager

    recipes = recipe_manager.RecipeManager()
    if chosen.static:
        recipes.add_static_config(_exactly(chosen.static), "*", activation_num_bits=8, weight_num_bits=8)
    for kind in ("CONV_2D", "FULLY_CONNECTED"):
        if chosen.dynamic:
            recipes.add_dynamic_config(_exactly(chosen.dynamic), kind, num_bits=8)
        if chosen.weights:
            recipes.add_weight_only_config(_exactly(chosen.weights), kind, num_bits=8)
    found = {
        name: {"min": np.float32([low]), "max": np.float32([high])} for name, (low, high) in ranges.items()
    }
    made = quantizer.Quantizer(str(path), recipes.get_quantization_recipe())
    result = made.quantize(found or None, enable_progress_bar=False, enable_progress_report=False)
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


def _exactly(names: tuple[str, ...]) -> str:
    """A regular expression for these outputs alone; the quantizer ends a name with ';'."""
    return f"^(?:{'|'.join(map(re.escape, names))});?$"
