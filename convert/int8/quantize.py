"""FP32 .tflite -> INT8 .tflite: our ranges and our choice of operators, ai-edge-quantizer's arithmetic, our rounding.

    equalize -> ranges -> hard-swish as products -> ai-edge-quantizer -> rounding and bias correction (-> fine-tuning)

Each step runs the FP32 file on the calibration images again; they lie in a temporary folder meanwhile.
"""

import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convert import flatbuffer as fb
from convert.builder import Builder
from convert.graph import read_graph
from convert.int8.activations import LOWEST, bent, hard_swish_as_products
from convert.int8.bias import Corrected, correct, pairs
from convert.int8.equalize import equalize
from convert.int8.moments import collect
from convert.int8.ranges import METHODS, Inputs, Range, floored, observe
from convert.int8.recipe import Plan, Recipe, plan
from convert.int8.weights import weighted

if TYPE_CHECKING:
    from convert.flatbuffer import Model
    from convert.int8.fine_tune import FineTuned


@dataclass(frozen=True)
class Quantized:
    """What was done: operators by kind of quantization, how many images calibrated it, and what they served for.

    equalized: tensors whose channels were scaled. tuned: None where the recipe asks for no fine-tuning.
    """

    recipe: Recipe
    static: int
    dynamic: int
    weights: int
    images: int
    equalized: int = 0
    corrected: Corrected = dataclasses.field(default_factory=Corrected)
    tuned: "FineTuned | None" = None


def quantize(path: Path, recipe: Recipe, images: Iterable[Inputs], out: Path) -> Quantized:
    """Quantizes one of our FP32 files into `out` (not atomic: callers write to a temporary name).

    images: prepared calibration images, read once; only a static recipe needs some. Raises UserError for a recipe
    that does not fit the file, ValueError for activations that are not finite.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [_kept(inputs, folder / f"{number}.npz") for number, inputs in enumerate(images)]

        def again() -> Iterator[Inputs]:
            """One image at a time: a full-size one is 28 MB."""
            return map(_loaded, files)

        model, fp32 = fb.read(path), folder / "fp32.tflite"
        # In the other modes it gains nothing: benchmarks/INT8_STUDIES.md.
        scales = recipe.equalize and recipe.mode == "static" and files
        scaled = equalize(model, path, again()) if scales else 0
        fb.write(model, fp32)
        chosen = _quantize(fp32, recipe, again, out)
        corrected = _correct(model, fp32, recipe, again, out) if files else Corrected()
        tuned = _tuned(fp32, out, files, recipe.fine_tune) if recipe.fine_tune else None
    counts = (len(chosen.static), len(chosen.dynamic), len(chosen.weights))
    return Quantized(recipe, *counts, len(files), scaled, corrected, tuned)


def _tuned(fp32: Path, out: Path, files: list[Path], steps: int) -> "FineTuned":
    from convert.int8.fine_tune import fine_tune

    return fine_tune(fp32, out, lambda number: _loaded(files[number]), len(files), steps)


def _kept(inputs: Inputs, file: Path) -> Path:
    np.savez(file, **inputs)
    return file


def _loaded(file: Path) -> Inputs:
    with np.load(file) as content:
        return dict(content)


def _quantize(path: Path, recipe: Recipe, images: Callable[[], Iterator[Inputs]], out: Path) -> Plan:
    """Every weight rounded to nearest; returns what was quantized how."""
    ranges: dict[str, Range] = {}
    model, edited = fb.read(path), path.with_name("edited.tflite")
    if recipe.mode == "static":
        seen = observe(path, images())
        seen |= {name: floored(seen[name], LOWEST) for name in bent(read_graph(path))}
        ranges = {name: METHODS[recipe.ranges](values) for name, values in seen.items()}
        ranges |= hard_swish_as_products(model, ranges)
    chosen = _clipped(model, plan(model, recipe))
    fb.write(model, edited)
    out.write_bytes(_quantized(edited, chosen, ranges, recipe.weights_per))
    return chosen


def _clipped(model: "Model", chosen: Plan) -> Plan:
    """Makes a HARD_SWISH again, in place, of the products whose factor stays in float, where nothing clips it.

    Such is the last one of MobileNetV3, behind the mean: no convolution reads it.
    """
    graph, lost = model.subgraphs[0], set()
    operators = list(graph.operators)
    names = [graph.tensors[operator.outputs[0]].name.decode() for operator in operators]
    for i, (sixth, gate, y) in enumerate(zip(names, names[1:], names[2:], strict=False)):
        if sixth == f"{y}/sixth" and gate not in chosen.static:
            lost |= {sixth, gate, y}
            inputs, output = [int(operators[i].inputs[0])], int(operators[i + 2].outputs[0])
            node = Builder(model, graph).operator("HARD_SWISH", "HardSwishOptions", inputs, output)
            operators[i : i + 3] = [node, None, None]
    graph.operators = [operator for operator in operators if operator is not None]
    return dataclasses.replace(chosen, static=tuple(name for name in chosen.static if name not in lost))


def _correct(
    model: "Model", path: Path, recipe: Recipe, images: Callable[[], Iterator[Inputs]], out: Path
) -> Corrected:
    """Rounding and bias correction of the INT8 file `out` of the FP32 `model` at `path`."""
    least_error = recipe.rounding == "least-error"
    if not least_error and not recipe.bias_correction:
        return Corrected()
    quantized = fb.read(out)
    wanted = {pair.weight for pair in pairs(model, quantized)}
    operators = [(operator, weight) for operator, weight in weighted(model) if weight in wanted]
    found = collect(model, path, operators, images())
    done = correct(model, quantized, found, least_error, recipe.bias_correction)
    fb.write(quantized, out)
    return done


def _quantized(path: Path, chosen: Plan, ranges: Mapping[str, Range], weights_per: str) -> bytes:
    """The file's INT8 form by ai-edge-quantizer."""
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    granularity = qtyping.QuantGranularity(f"{weights_per.upper()}WISE")
    recipes = recipe_manager.RecipeManager()
    if chosen.static:
        recipes.add_static_config(_exactly(chosen.static), "*", 8, 8, granularity)
    for kind in ("CONV_2D", "FULLY_CONNECTED"):
        if chosen.dynamic:
            recipes.add_dynamic_config(_exactly(chosen.dynamic), kind, 8, granularity)
        if chosen.weights:
            recipes.add_weight_only_config(_exactly(chosen.weights), kind, 8, granularity)
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
