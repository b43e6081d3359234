"""`python -m convert.tflite`: from a checkpoint to a parity-checked .tflite file.

checkpoint -> rewrite -> export (litert-torch, or ONNX and onnx2tf) -> FP32 -> FP16 weights or INT8 -> parity
"""

import argparse
import dataclasses
import tempfile
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.finish import Precision, finish, quantize
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, UNTRAINED

if TYPE_CHECKING:
    from torch import nn

    from convert.compare import ParityReport
    from convert.deploy import RewriteReport
    from convert.half import Choice
    from convert.int8.quantize import Quantized
    from convert.int8.request import Request
    from convert.source import Source

# Generated ones when --images is not given; INT8 is judged by how it ranks them.
PARITY_IMAGES = {"fp32": 4, "fp16": 4, "int8": 24}


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
    half: "Choice | None"  # which weights an FP16 file keeps in float32
    seconds: float
    quantized: "Quantized | None" = None
    calibration_sha256: str | None = None


def default_path(spec: ModelSpec, precision: Precision) -> Path:
    """NAME_WxH_PRECISION.tflite here; models of several inputs leave the size out."""
    size = f"_{spec.inputs[0].width_px}x{spec.inputs[0].height_px}" if len(spec.inputs) == 1 else ""
    return Path(f"{spec.name}{size}_{precision}.tflite")


def convert(
    source: "Source", precision: Precision, via: Via, path: Path, int8: "Request | None" = None
) -> Converted:
    """Writes `path`, atomically, and no sidecar. INT8 needs `int8`. UserError for what the user can mend."""
    from convert.deploy import deployable
    from convert.half import choose

    start = time.perf_counter()
    steps = iter(cli.progress(["rewrite", "export", "finish"], f"converting {source.spec.name}"))
    next(steps)
    module, rewrites = deployable(source.model, source.spec)
    half = choose(module, source.spec) if precision is Precision.FP16 else None
    next(steps)
    with tempfile.TemporaryDirectory() as folder:
        raw = _export(module, source.spec, via, Path(folder))
        next(steps)
        with cli.atomic(path) as temporary:
            obstacles = finish(raw, temporary, source, half)
            quantized = quantize(temporary, source, int8) if int8 else None
    next(steps, None)
    return Converted(
        path, precision, via, source, module, rewrites, half is not None and not obstacles, tuple(obstacles),
        half, time.perf_counter() - start, quantized, int8.calibration_sha256 if int8 else None,
    )  # fmt: skip


def _export(module: "nn.Module", spec: ModelSpec, via: Via, folder: Path) -> Path:
    """The converter's own FP32 .tflite in `folder`."""
    from convert import litert, onnx, onnx2tf

    raw = folder / "raw.tflite"
    if via is Via.LITERT:
        return litert.export_tflite(module, spec, raw)
    exported = folder / "model.onnx"
    onnx.export_onnx(module, spec, exported)
    return onnx2tf.export_tflite(exported, raw)


def deliver(done: Converted, reports: "list[ParityReport]", path: Path) -> "tuple[Path, list[ParityReport]]":
    """Moves the staged file to `path`, or to its failed name; returns that, and the reports that name it."""
    from convert.artifact import place
    from convert.edges import culprit

    target = place(
        done.path, path, culprit(reports) is None,
        precision=str(done.precision), via=str(done.via), spec=done.source.spec,
        calibration_sha256=done.calibration_sha256,
        checkpoint_sha256=done.source.checkpoint_sha256, rewrites=done.rewrites.to_json(),
        fp16_arithmetic_allowed=done.fp16_arithmetic_allowed,
    )  # fmt: skip

    def named(text: str) -> str:
        return text.replace(str(done.path), str(target))

    return target, [
        dataclasses.replace(r, candidate=named(r.candidate), reason=named(r.reason)) for r in reports
    ]


def report(done: Converted, reports: "list[ParityReport]", path: Path) -> dict[str, Any]:
    """Prints what was done and is at `path` now, for people; returns the same for machines."""
    from convert.edges import culprit
    from convert.parity import table

    spec, precision, size_mb = done.source.spec, done.precision, path.stat().st_size / 1e6
    sites = ", ".join(f"{a.name} x{a.sites}" for a in done.rewrites.applied)
    refused = [f"{a.name}: {reason}" for a in done.rewrites.applied for reason in a.refused]
    cli.say(f"{path}: {size_mb:.1f} MB, {precision}, in {done.seconds:.0f} s")
    cli.say(f"rewrites, exact: {sites or 'none'}")
    if done.half:
        cli.say(
            f"FP16 weights: {done.half.rounded:,}; kept FP32: {done.half.kept:,} (fan-in <= {done.half.fan_in})"
        )
    if q := done.quantized:
        images = f", ranges ({q.recipe.ranges}) of {q.images} images" if q.images else ""
        cli.say(
            f"INT8 {q.recipe.mode}: {q.static} operators in 8 bits, {q.dynamic} with 8-bit weights and inputs "
            f"quantized at run time, {q.weights} with 8-bit weights alone{images}"
        )
    for line in [*(f"not rewritten: {r}" for r in refused),
                 *(f"FP16 arithmetic not allowed: {o}" for o in done.obstacles)]:  # fmt: skip
        cli.say(line)
    for line in table(reports):
        cli.say(line)
    if spec.untrained:
        cli.say(f"{spec.name} is {UNTRAINED}")
    bad = culprit(reports)
    return {
        "path": str(path), "size_mb": round(size_mb, 2), "precision": str(precision),
        "seconds": round(done.seconds, 1), "untrained": spec.untrained, "refused": refused,
        "fp16_arithmetic_allowed": done.fp16_arithmetic_allowed,
        "passed": bad is None, "parity": [r.to_json() for r in reports],
    }  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "convert.tflite",
        "Converts a checkpoint to a .tflite file and checks that the score did not move. Exit 1 when it did:"
        " the file is then kept as NAME.failed.tflite.",
        "python -m convert.tflite --model mobilenet-iqa --fp16 --size 317x205",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("checkpoint", nargs="?", help="checkpoint file; default: the reference model")
    source.add_argument("--model", choices=MODELS, help="a model by name, with untrained weights")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp32", dest="precision", action="store_const", const=Precision.FP32)
    precision.add_argument("--fp16", dest="precision", action="store_const", const=Precision.FP16,
                           help="FP16 weights, FP16 arithmetic allowed (default)")  # fmt: skip
    precision.add_argument("--int8", nargs="*", metavar="WHAT",
                           help="static (default), dynamic, weights or a recipe's JSON, and a folder that "
                           "calibration.select wrote")  # fmt: skip
    parser.add_argument("--size", metavar="WxH", help="input size; default: the checkpoint's")
    parser.add_argument("--via", choices=[str(v) for v in Via], default=str(Via.LITERT),
                        help="converter; onnx2tf needs `make onnx2tf` once")  # fmt: skip
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="images for parity; default: generated ones"
    )
    parser.add_argument("--out", type=Path, help="output path; default: NAME_WxH_PRECISION.tflite here")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.set_defaults(precision=Precision.FP16)
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    arguments = _parser().parse_args(argv)
    return cli.run("convert.tflite", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    from convert.artifact import staged
    from convert.edges import check
    from convert.parity import parity_images
    from convert.source import resolve

    source = resolve(arguments.checkpoint or arguments.model, arguments.size)
    precision = arguments.precision if arguments.int8 is None else Precision.INT8
    path = arguments.out or default_path(source.spec, precision)
    if path.suffix != ".tflite":
        raise UserError("an output ending in .tflite", str(path), "correct --out")
    cli.refuse_existing(path, arguments.force)
    int8 = _int8(arguments.int8, source.spec)
    images = parity_images(arguments.images, PARITY_IMAGES[precision])
    with staged(path) as unproven:
        done = convert(source, precision, Via(arguments.via), unproven, int8)
        reports = check(source.model, source.spec, [unproven], images, ("litert",), rewritten=done.module)
        target, reports = deliver(done, reports, path)
    result = report(done, reports, target)
    cli.emit(result)
    return 0 if result["passed"] else 1


def _int8(words: list[str] | None, spec: ModelSpec) -> "Request | None":
    from convert.int8.request import request

    return None if words is None else request(words, spec)


if __name__ == "__main__":
    raise SystemExit(main())
