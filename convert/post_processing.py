"""The converter's .tflite file into ours: operators that XNNPACK takes, weights in FP16 or INT8, metadata."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model
    from convert.fp16_weights import Fp16Weights
    from convert.int8.arguments import Request
    from convert.int8.quantize import Quantized
    from convert.load import Source


class Precision(StrEnum):
    """How weights are stored."""

    FP32 = "fp32"
    FP16 = "fp16"  # and FP16 arithmetic is allowed where the processor has it
    INT8 = "int8"  # and 8-bit arithmetic, by a recipe


def finish(raw: Path, path: Path, source: "Source", half: "Fp16Weights | None") -> list[str]:
    """Edits the converter's file into ours: FP16 with `half`, else FP32. Returns what forbids FP16 arithmetic."""
    from convert.flatbuffer import model as fb
    from convert.flatbuffer.passes import PASSES
    from convert.fp16_weights import fp16_obstacles, store_fp16_weights

    model = fb.read(raw)
    for edit in PASSES:
        edit(model)
    fb.name_signature(model, [i.name for i in source.spec.inputs])
    obstacles: list[str] = []
    precision = Precision.FP16 if half else Precision.FP32
    if half:
        store_fp16_weights(model, half.fan_in)
        obstacles = fp16_obstacles(model)
        if not obstacles:
            fb.set_metadata(model, fb.REDUCED_PRECISION, fb.FP16_ACCUMULATE_FP16)
    _label(model, source, precision)
    fb.write(model, path)
    return obstacles


def _label(model: "Model", source: "Source", precision: Precision) -> None:
    """Says inside the file what it is."""
    from convert.flatbuffer import model as fb
    from convert.flatbuffer.reader import METADATA_ENTRY
    from convert.output_file import inside

    model.description = f"{source.spec.name} {precision}".encode()
    content = inside(source.spec, precision, source.checkpoint_sha256)
    fb.set_metadata(model, METADATA_ENTRY, json.dumps(content).encode())
    fb.drop_unused_buffers(model)


def quantize(path: Path, source: "Source", int8: "Request") -> "Quantized":
    """Replaces the FP32 file at `path` by its INT8 form."""
    from convert.flatbuffer import model as fb
    from convert.int8.quantize import quantize as to_int8

    images = int8.calibration.prepared() if int8.calibration else ()
    quantized = to_int8(path, int8.recipe, images, path)
    model = fb.read(path)
    _label(model, source, Precision.INT8)
    fb.write(model, path)
    return quantized
