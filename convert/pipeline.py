"""One conversion: checkpoint -> (approximations) -> rewrites -> export -> FP32 -> FP16 weights or INT8."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from convert.post_processing import Precision, finish, quantize
from mobileiqa import cli
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from convert.fp16_weights import Fp16Weights
    from convert.int8.arguments import Request
    from convert.int8.quantize import Quantized
    from convert.load import Source
    from convert.rewrites.apply import RewriteReport


class Via(StrEnum):
    """Which converter writes the flatbuffer."""

    LITERT = "litert"
    ONNX2TF = "onnx2tf"


@dataclass(frozen=True)
class Converted:
    """A written file, and the published model beside its rewritten form, for parity."""

    path: Path
    precision: Precision
    via: Via
    source: "Source"
    module: "nn.Module"
    rewrites: "RewriteReport"
    fp16_arithmetic_allowed: bool
    obstacles: tuple[str, ...]  # why FP16 arithmetic is not allowed, if it is not
    half: "Fp16Weights | None"  # which weights an FP16 file keeps in float32
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
    source: "Source",
    precision: Precision,
    via: Via,
    path: Path,
    int8: "Request | None" = None,
    approximations: Sequence[str] = (),
) -> Converted:
    """Writes `path`, atomically, and no sidecar. INT8 needs `int8`. UserError for what the user can mend.

    OverBudgetError where `int8` is to find a recipe and there is none.
    """
    from convert.fp16_weights import choose_fp16_weights
    from convert.rewrites.apply import deployable
    from convert.rewrites.approximations import approximated

    start = time.perf_counter()
    steps = iter(cli.progress(["rewrite", "export", "finish"], f"converting {source.spec.name}"))
    next(steps)
    approximate = approximated(source.model, approximations) if approximations else None
    module, rewrites = deployable(approximate or source.model, source.spec)
    half = choose_fp16_weights(module, source.spec) if precision is Precision.FP16 else None
    next(steps)
    with tempfile.TemporaryDirectory() as folder:
        raw = _export(module, source.spec, via, Path(folder))
        next(steps)
        with cli.atomic(path) as temporary:
            obstacles = finish(raw, temporary, source, half)
            settled = int8.settled(temporary, source.spec) if int8 else None
            quantized = quantize(temporary, source, settled) if settled else None
    next(steps, None)
    return Converted(
        path, precision, via, source, module, rewrites, half is not None and not obstacles, tuple(obstacles),
        half, time.perf_counter() - start, quantized,
        int8.calibration_sha256 if int8 and quantized and quantized.images else None,
        tuple(approximations), approximate,
    )  # fmt: skip


def _export(module: "nn.Module", spec: ModelSpec, via: Via, folder: Path) -> Path:
    """The converter's own FP32 .tflite in `folder`."""
    from convert.export import onnx2tf, onnx_file, tflite_file

    raw = folder / "raw.tflite"
    if via is Via.LITERT:
        return tflite_file.export_tflite(module, spec, raw)
    exported = folder / "model.onnx"
    onnx_file.export_onnx(module, spec, exported)
    return onnx2tf.export_tflite(exported, raw)
