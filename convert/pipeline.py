"""One conversion, in memory: checkpoint -> (approximations) -> rewrites -> export -> passes -> FP16 weights or INT8.

A model passes from stage to stage as an object; where LiteRT and the quantizer want a file, they get its bytes. Only
the end writes, once.
"""

import gc
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from convert.stage_times import stage
from mobileiqa import cli
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from convert.flatbuffer.model import Model
    from convert.fp16_weights import Fp16Weights
    from convert.int8.arguments import Int8Arguments
    from convert.int8.quantize import Quantized
    from convert.load import LoadedModel
    from convert.rewrites.apply import RewriteReport


class Precision(StrEnum):
    """How weights are stored."""

    FP32 = "fp32"
    FP16 = "fp16"  # and FP16 arithmetic is allowed where the processor has it
    INT8 = "int8"  # and 8-bit arithmetic, by a recipe


class Via(StrEnum):
    """Which converter writes the flatbuffer."""

    LITERT = "litert"
    ONNX2TF = "onnx2tf"


@dataclass(frozen=True)
class Converted:
    """A written file, with the published model and its rewritten form, for parity."""

    path: Path
    precision: Precision
    via: Via
    source: "LoadedModel"
    module: "nn.Module"
    rewrites: "RewriteReport"
    fp16_arithmetic_allowed: bool
    obstacles: tuple[str, ...]  # why FP16 arithmetic is not allowed, if it is not
    fp16_weights: "Fp16Weights | None"  # which weights an FP16 file keeps in float32
    seconds: float
    quantized: "Quantized | None" = None
    calibration_sha256: str | None = None
    approximations: tuple[str, ...] = ()
    approximate: "nn.Module | None" = None  # the published module with those, if there are some


def default_path(spec: ModelSpec, precision: Precision) -> Path:
    """NAME_WxH_PRECISION.tflite here; models of several inputs leave the size out."""
    size = f"_{spec.inputs[0].width_px}x{spec.inputs[0].height_px}" if len(spec.inputs) == 1 else ""
    return Path(f"{spec.name}{size}_{precision}.tflite")


def convert(
    source: "LoadedModel",
    precision: Precision,
    via: Via,
    path: Path,
    int8: "Int8Arguments | None" = None,
    approximations: Sequence[str] = (),
    arm: bool = False,
) -> Converted:
    """Writes `path`, atomically, and no sidecar. INT8 needs `int8`. UserError for what the user can mend.

    arm: an FP16 file of the fewest instructions on an ARM core with FP16 arithmetic; an INT8 file's recipe says that.
    OverBudgetError where `int8` is to find a recipe and there is none.
    """
    from convert.flatbuffer import model as fb
    from convert.flatbuffer.passes import CUTS, PASSES
    from convert.fp16_weights import choose_fp16_weights
    from convert.rewrites.apply import apply_rewrites
    from convert.rewrites.approximations import approximated

    start = time.perf_counter()
    with stage("rewrites"):
        approximate = approximated(source.model, approximations) if approximations else None
        module, rewrites = apply_rewrites(approximate or source.model, source.spec)
    fp16_weights = None
    if precision is Precision.FP16:
        with stage("FP16 weights"):
            fp16_weights = choose_fp16_weights(module, source.spec)
    exported = _export(module, source.spec, via)
    with stage("flatbuffer"):
        model = fb.unpack(exported, f"what {via} made")
        cuts = CUTS if via is Via.LITERT else ()
        obstacles, quantized = _post_process(model, source, (*cuts, *PASSES), fp16_weights, arm), None
        fp32 = fb.pack(model) if int8 else b""
    if int8:
        with stage("quantization"):
            int8 = int8.with_recipe(fp32, source.spec)
            model, quantized, obstacles = _quantize(fp32, source, int8)
    with stage("flatbuffer"), cli.atomic(path) as temporary:
        fb.write(model, temporary)
        allowed = fb.has_metadata(model, fb.REDUCED_PRECISION)
        del model, exported, fp32
        gc.collect()  # the exporter's graphs refer to each other: with the constants, half a gigabyte
    return Converted(
        path, precision, via, source, module, rewrites, allowed,
        tuple(obstacles), fp16_weights, time.perf_counter() - start, quantized,
        int8.calibration_sha256 if int8 and quantized and quantized.images else None,
        tuple(approximations), approximate,
    )  # fmt: skip


def _export(module: "nn.Module", spec: ModelSpec, via: Via) -> bytes:
    """The converter's own FP32 .tflite."""
    from convert.export import onnx2tf, onnx_file, tflite_file

    if via is Via.LITERT:
        return tflite_file.export_tflite(module, spec)
    with tempfile.TemporaryDirectory() as folder:
        with stage("export"):
            exported = onnx_file.export_onnx(module, spec, Path(folder, "model.onnx"))
        with stage("lowering"):
            return onnx2tf.export_tflite(exported)


def _post_process(
    model: "Model",
    source: "LoadedModel",
    passes: "Sequence[Callable[[Model], int]]",
    fp16_weights: "Fp16Weights | None",
    arm: bool,
) -> list[str]:
    """Makes the converter's model ours, in place: FP16 with `fp16_weights`, else FP32.

    Returns what forbids FP16 arithmetic.
    """
    from convert.flatbuffer import model as fb
    from convert.fp16_weights import store_fp16_weights

    for edit in passes:
        edit(model)
    fb.name_signature(model, [i.name for i in source.spec.inputs], source.spec.outputs)
    obstacles: list[str] = []
    if fp16_weights:
        store_fp16_weights(model, fp16_weights.fan_in)
        obstacles = allow_fp16(model, arm)
    _label(model, source, Precision.FP16 if fp16_weights else Precision.FP32)
    return obstacles


def allow_fp16(model: "Model", arm: bool = False) -> list[str]:
    """Allows FP16 arithmetic where the core has it, or returns what forbids it.

    arm: also what saves instructions in FP16, and costs other cores time.
    """
    from convert.flatbuffer import model as fb
    from convert.flatbuffer.maps import zeros_by_concatenation
    from convert.fp16_weights import fp16_obstacles

    obstacles = fp16_obstacles(model)
    if not obstacles:
        fb.set_metadata(model, fb.REDUCED_PRECISION, fb.FP16_ACCUMULATE_FP16)
        if arm:
            zeros_by_concatenation(model)
    return obstacles


def _quantize(
    fp32: bytes, source: "LoadedModel", int8: "Int8Arguments"
) -> "tuple[Model, Quantized, list[str]]":
    """The INT8 form of our FP32 file, and what forbids FP16 in the layers that a static one keeps in float."""
    from convert.fp16_weights import store_fp16_weights
    from convert.int8.quantize import quantize

    images = int8.calibration.prepared() if int8.calibration else ()
    model, quantized = quantize(fp32, int8.recipe, images)
    obstacles = allow_fp16(model, int8.recipe.arm) if int8.recipe.mode == "static" else []
    if int8.recipe.arm and not obstacles:
        store_fp16_weights(model)  # of the float layers, which compute in FP16 there
    _label(model, source, Precision.INT8)
    return model, quantized, obstacles


def _label(model: "Model", source: "LoadedModel", precision: Precision) -> None:
    """Says inside the file what it is."""
    from convert.flatbuffer import model as fb
    from convert.flatbuffer.reader import METADATA_ENTRY
    from convert.output_file import embedded_metadata

    model.description = f"{source.spec.name} {precision}".encode()
    content = embedded_metadata(source.spec, precision, source.checkpoint_sha256)
    fb.set_metadata(model, METADATA_ENTRY, json.dumps(content).encode())
    fb.drop_unused_buffers(model)
