"""FP32 -> INT8: our ranges and our choice of operators, ai-edge-quantizer's arithmetic, our rounding.

    equalize -> ranges -> hard-swish as products -> ai-edge-quantizer -> dead channels -> rounding and bias correction

Each step up to the quantizer, and the rounding, needs what the FP32 file computes on the calibration images
(convert.int8.calibration). `quantize` collects that for one recipe, `apply_recipe` takes what serves others too. A
model passes in memory from step to step; the bytes of a file are what LiteRT and the quantizer take.
"""

import dataclasses
import io
import re
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convert.flatbuffer import model as fb
from convert.flatbuffer.builder import Builder
from convert.int8.algorithms.bias_correction import Corrected, correct, quantized_weights
from convert.int8.algorithms.dead_channels import widen_dead_channels
from convert.int8.algorithms.hard_swish import hard_swish_as_products
from convert.int8.calibration import CalibrationStatistics, collect_statistics, uses_equalization
from convert.int8.recipe import Plan, Recipe, plan
from convert.int8.statistics.activation_ranges import Range
from convert.int8.statistics.interpreter import Inputs

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model


@dataclass(frozen=True)
class Quantized:
    """What was done: operators by kind of quantization, how many images calibrated it, and what they served for.

    equalized: tensors whose channels were scaled.
    """

    recipe: Recipe
    static: int
    dynamic: int
    weights: int
    images: int
    equalized: int = 0
    corrected: Corrected = dataclasses.field(default_factory=Corrected)


def quantize(fp32: bytes, recipe: Recipe, images: Iterable[Inputs]) -> "tuple[Model, Quantized]":
    """Quantizes one of our FP32 files.

    images: prepared calibration images, read once; only a static recipe needs some. Raises UserError for a recipe
    that does not fit the file, ValueError for activations that are not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Read one at a time from there: a full-size one is 28 MB.
        files = [_stored(inputs, Path(folder, f"{number}.npz")) for number, inputs in enumerate(images)]
        statistics = collect_statistics(
            fp32, uses_equalization(recipe), lambda: map(_loaded, files), len(files)
        )
        return apply_recipe(statistics, recipe)


def apply_recipe(statistics: CalibrationStatistics, recipe: Recipe) -> "tuple[Model, Quantized]":
    """Quantizes by a recipe: what `quantize` makes of its FP32 file.

    statistics: of the file that is to be quantized, equalized if the recipe asks for it. Raises what `quantize` does.
    """
    quantized, layers = _round_to_nearest(statistics, recipe)
    corrected = _correct(statistics, quantized, recipe) if statistics.count else Corrected()
    counts = (len(layers.static), len(layers.dynamic), len(layers.weights))
    return quantized, Quantized(recipe, *counts, statistics.count, statistics.equalized, corrected)


def _stored(inputs: Inputs, file: Path) -> Path:
    np.savez(file, **inputs)
    return file


def _loaded(file: Path) -> Inputs:
    with np.load(file) as content:
        return dict(content)


def _round_to_nearest(statistics: CalibrationStatistics, recipe: Recipe) -> "tuple[Model, Plan]":
    """The INT8 form with every weight rounded to nearest, and what was quantized how."""
    ranges: dict[str, Range] = {}
    model = fb.unpack(statistics.content)
    if recipe.mode == "static":
        ranges |= statistics.ranges(recipe.ranges)
        ranges |= hard_swish_as_products(model, ranges)
    layers = _restored_hard_swish(model, plan(model, recipe))
    quantized = fb.unpack(_quantized(fb.pack(model), layers, ranges, recipe.weights_per))
    widen_dead_channels(model, quantized)
    return quantized, layers


def _restored_hard_swish(model: "Model", layers: Plan) -> Plan:
    """Makes a HARD_SWISH again, in place, of the products whose factor stays in float, where nothing clips it.

    A MobileNetV3 has two or three of them: between its first convolutions, which the recipe keeps in float, and
    behind the last convolution that writes a map. Left as products, they moved the scores of an untrained
    `lar-iqa-single` by 147 times their spread, those of `lar-iqa-kan` by 1.4 to 2.7 times (96x96, 12 photos).
    """
    graph, lost = model.subgraphs[0], set()
    operators = list(graph.operators)
    names = [graph.tensors[operator.outputs[0]].name.decode() for operator in operators]
    for i, (sixth, gate, y) in enumerate(zip(names, names[1:], names[2:], strict=False)):
        if sixth == f"{y}/sixth" and gate not in layers.static:
            lost |= {sixth, gate, y}
            inputs, output = [int(operators[i].inputs[0])], int(operators[i + 2].outputs[0])
            node = Builder(model, graph).operator("HARD_SWISH", "HardSwishOptions", inputs, output)
            operators[i : i + 3] = [node, None, None]
    graph.operators = [operator for operator in operators if operator is not None]
    return dataclasses.replace(layers, static=tuple(name for name in layers.static if name not in lost))


def _correct(statistics: CalibrationStatistics, quantized: "Model", recipe: Recipe) -> Corrected:
    """Rounding and bias correction of the INT8 model, in place."""
    least_error = recipe.rounding == "least-error"
    if not least_error and not recipe.bias_correction:
        return Corrected()
    covariances = statistics.covariances({w.weight for w in quantized_weights(statistics.model, quantized)})
    return correct(
        statistics.model, quantized, covariances, least_error, recipe.bias_correction, statistics.rounded
    )


def _quantized(fp32: bytes, layers: Plan, ranges: Mapping[str, Range], weights_per: str) -> bytes:
    """The file's INT8 form by ai-edge-quantizer."""
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    granularity = qtyping.QuantGranularity(f"{weights_per.upper()}WISE")
    recipes = recipe_manager.RecipeManager()
    if layers.static:
        recipes.add_static_config(_exactly(layers.static), "*", 8, 8, granularity)
    for kind in ("CONV_2D", "FULLY_CONNECTED"):
        if layers.dynamic:
            recipes.add_dynamic_config(_exactly(layers.dynamic), kind, 8, granularity)
        if layers.weights:
            recipes.add_weight_only_config(_exactly(layers.weights), kind, 8, granularity)
    qsvs = {
        name: {"min": np.float32([low]), "max": np.float32([high])} for name, (low, high) in ranges.items()
    }
    # Told not to, it draws a progress bar all the same; and it warns of memory, and of the casts that
    # convert.int8.algorithms.dead_channels mends.
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "invalid value encountered in cast|.*experimental_preserve_all_tensors"
        )
        converter = quantizer.Quantizer(fp32, recipes.get_quantization_recipe())
        result = converter.quantize(qsvs or None, enable_progress_bar=False, enable_progress_report=False)
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


def _exactly(names: tuple[str, ...]) -> str:
    """A regular expression for these outputs alone; the quantizer ends a name with ';'."""
    return f"^(?:{'|'.join(map(re.escape, names))});?$"
