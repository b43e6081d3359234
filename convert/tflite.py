"""`python -m convert.tflite`: from a checkpoint to a parity-checked .tflite file.

checkpoint -> rewrite -> export (litert-torch, or ONNX and onnx2tf) -> FP32 -> FP16 weights or INT8 -> parity
(-> with --input uint8, preprocessing in the graph -> agreement with the float file)
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.pipeline import Converted, Precision, Via, convert, default_path
from convert.rewrites.approximations import APPROXIMATIONS, checked
from convert.stage_times import StageClock, recording, stage
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, UNTRAINED

if TYPE_CHECKING:
    from convert.comparison.compare import ParityReport
    from convert.comparison.stages import Images
    from convert.int8.arguments import Int8Arguments
    from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing

INPUTS = ("float", "uint8")  # what a file takes; the first is the default

# Generated ones when --images is not given; INT8 is judged by how it ranks them.
PARITY_IMAGES = {"fp32": 4, "fp16": 4, "int8": 24}


def report(
    converted: Converted,
    reports: "list[ParityReport]",
    path: Path,
    embedded: "EmbeddedPreprocessing | None" = None,
    clock: StageClock | None = None,
) -> dict[str, Any]:
    """Prints what was done and is at `path` now, for people; returns the same for machines."""
    from convert.comparison.stages import first_failing_stage
    from convert.parity import table

    spec, precision, size_mb = converted.source.spec, converted.precision, path.stat().st_size / 1e6
    sites = ", ".join(f"{a.name} x{a.sites}" for a in converted.rewrites.applied)
    refused = [f"{a.name}: {reason}" for a in converted.rewrites.applied for reason in a.refused]
    takes = f", {embedded.described}" if embedded else ""
    cli.say(f"{path}: {size_mb:.1f} MB, {precision}{takes}, in {converted.seconds:.0f} s")
    cli.say(f"rewrites, exact: {sites or 'none'}")
    for name in converted.approximations:
        cli.say(f"approximation, not exact: {name}: {APPROXIMATIONS[name].meaning}")
    if fp16 := converted.fp16_weights:
        cli.say(f"FP16 weights: {fp16.rounded:,}; kept FP32: {fp16.float32:,} (fan-in <= {fp16.fan_in})")
    if q := converted.quantized:
        images = f", ranges ({q.recipe.ranges}) of {q.images} images" if q.images else ""
        mode = f"{q.recipe.mode} for ARM" if q.recipe.arm else q.recipe.mode
        cli.say(
            f"INT8 {mode}: {q.static} operators in 8 bits, {q.dynamic} with 8-bit weights and inputs "
            f"quantized at run time, {q.weights} with 8-bit weights alone{images}"
        )
    for line in [*(f"not rewritten: {r}" for r in refused),
                 *(f"FP16 arithmetic not allowed: {o}" for o in converted.obstacles)]:  # fmt: skip
        cli.say(line)
    for line in [*table(reports), *(clock.table() if clock else ())]:
        cli.say(line)
    if spec.untrained:
        cli.say(f"{spec.name} is {UNTRAINED}")
    bad = first_failing_stage(reports)
    return {
        "path": str(path), "size_mb": round(size_mb, 2), "precision": str(precision),
        "seconds": round(converted.seconds, 1), "stages": clock.to_json() if clock else [],
        "untrained": spec.untrained, "refused": refused,
        "fp16_arithmetic_allowed": converted.fp16_arithmetic_allowed, "approximations": converted.approximations,
        "input": "uint8" if embedded else "float", "sizes": [str(s) for s in embedded.sizes] if embedded else [],
        "passed": bad is None, "parity": [r.to_json() for r in reports],
    }  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "Converts a checkpoint to a .tflite file and checks that the score did not move. Exit 1 when it did:"
        " the file is then kept as NAME.failed.tflite.",
        "python -m convert.tflite --model mobilenet-iqa --fp16 --size 317x205",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("checkpoint", nargs="?", help="checkpoint file; default: the reference model")
    source.add_argument(
        "--model", type=cli.model_name, metavar="NAME", help=f"untrained weights: {', '.join(MODELS)}"
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp32", dest="precision", action="store_const", const=Precision.FP32)
    precision.add_argument("--fp16", dest="precision", action="store_const", const=Precision.FP16,
                           help="FP16 weights, FP16 arithmetic allowed (default)")  # fmt: skip
    precision.add_argument("--int8", nargs="*", metavar="WHAT",
                           help="static (default), dynamic, weights, a recipe's JSON, or auto, which finds the "
                           "fastest recipe; and a folder that calibration.select wrote")  # fmt: skip
    parser.add_argument("--max-srcc-drop", type=float, metavar="D",
                        help="of --int8 auto: how far SRCC with FP32 may be from 1 (0.005)")  # fmt: skip
    parser.add_argument("--arm", action="store_true",
                        help="with --fp16 or static --int8: fewest instructions on ARM cores that compute in FP16; "
                        "slower on x86")  # fmt: skip
    parser.add_argument("--approximate", nargs="+", default=[], metavar="NAME",
                        help=f"with --int8: changes that are not exact: {', '.join(APPROXIMATIONS)}")  # fmt: skip
    parser.add_argument(
        "--size", metavar="WxH", help="input size, WxH,WxH for two; default: the checkpoint's"
    )
    parser.add_argument("--input", choices=INPUTS, default=INPUTS[0],
                        help="float: prepared arrays (default); uint8: the app's RGB image")  # fmt: skip
    parser.add_argument("--input-size", metavar="WxH",
                        help="of uint8: the app's, WxH,WxH for portrait and landscape; default: --size")  # fmt: skip
    parser.add_argument("--via", choices=[str(v) for v in Via], default=str(Via.LITERT),
                        help="converter; onnx2tf needs `make onnx2tf` once")  # fmt: skip
    parser.add_argument(
        "--images",
        type=cli.input_path,
        metavar="DIR",
        help="images for parity, and to judge the recipes of --int8 auto; default: generated ones",
    )
    parser.add_argument(
        "--out", type=Path, help="output path; default: NAME_WxH_PRECISION[_camera].tflite here"
    )
    cli.add_weights(parser)
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.set_defaults(precision=Precision.FP16)
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    return cli.command(_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    from mobileiqa.freed_memory import keep_freed_memory

    keep_freed_memory()  # a fifth of a large conversion was the system's: pages given back, and asked for again
    _sleep_while_waiting()
    with recording("converting") as clock:
        return _convert(arguments, clock)


def _sleep_while_waiting() -> None:
    """Lets PyTorch's threads sleep where one waits for the other; GNU OpenMP reads this once, when PyTorch is loaded.

    By default they spin: on two cores that others use too, a forward pass at 1907x1231 took 6.2 s of CPU, 2.0 so.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _convert(arguments: argparse.Namespace, clock: StageClock) -> int:
    from convert.comparison.stages import check
    from convert.int8.search.pareto_front import OverBudgetError
    from convert.int8.search.session import note_measurements, publish_results, report_over_budget
    from convert.load import load_model
    from convert.output_file import staged
    from convert.packaging.publish import publish

    text = arguments.checkpoint or arguments.model
    with stage("loading the model"):
        source = load_model(text, arguments.size, arguments.weights, for_phones=True)
    precision = arguments.precision if arguments.int8 is None else Precision.INT8
    approximations = _approximations(arguments.approximate, precision)
    _check_arm(arguments, precision)
    sizes = _image_sizes(arguments, source.spec)
    path = arguments.out or _default(source.spec, precision, sizes is not None)
    if path.suffix.lower() != ".tflite":
        raise UserError("an output ending in .tflite", str(path), "correct --out")
    cli.refuse_existing(path, arguments.force)
    int8 = _int8(arguments, source.spec, path)
    images = _images(arguments, precision, int8)
    with staged(path) as unproven:
        try:
            converted = convert(
                source, precision, Via(arguments.via), unproven, int8, approximations, arguments.arm
            )
        except OverBudgetError as error:
            cli.emit(report_over_budget(error, path))
            return 1
        reports = check(
            source.model,
            source.spec,
            [unproven],
            images,
            ("litert",),
            converted.module,
            converted.approximate,
        )
        target, reports, embedded = publish(converted, reports, path, images, sizes)
    result = report(converted, reports, target, embedded, clock)
    if int8 and int8.search:
        result |= (publish_results if result["passed"] else note_measurements)(int8.search, target)
    cli.emit(result)
    return 0 if result["passed"] else 1


def _image_sizes(arguments: argparse.Namespace, spec: ModelSpec) -> "list[tuple[int, int]] | None":
    """Of the app's image, empty for the model's own; None for float inputs. UserError before any conversion."""
    from convert.packaging.preprocessing import image_sizes, parse_sizes

    sizes = parse_sizes(arguments.input_size)
    if arguments.input == INPUTS[0]:
        if sizes:
            raise UserError("--input-size with --input uint8", "float inputs", "add --input uint8")
        return None
    image_sizes(spec, sizes)
    return sizes


def _default(spec: ModelSpec, precision: Precision, packaged: bool) -> Path:
    """The name without --out."""
    path = default_path(spec, precision)
    return path.with_stem(f"{path.stem}_camera") if packaged else path


def _approximations(names: list[str], precision: Precision) -> tuple[str, ...]:
    """The names, checked; UserError where only exact changes are allowed."""
    if names and precision is not Precision.INT8:
        raise UserError("--approximate with --int8", f"it with {precision}, which is exact", "leave it out")
    return checked(names)


def _int8(arguments: argparse.Namespace, spec: ModelSpec, path: Path) -> "Int8Arguments | None":
    from convert.int8.arguments import AUTO, automatic, parse_arguments
    from convert.int8.search.session import results_of

    words, drop = arguments.int8, arguments.max_srcc_drop
    if words is not None and AUTO in words:
        for result in results_of(path):
            cli.refuse_existing(result, arguments.force)
        return automatic(words, spec, path, arguments.images, drop)
    if drop is not None:
        raise UserError(f"--max-srcc-drop with --int8 {AUTO}", f"{drop} without it", "leave it out")
    if words is None:
        return None
    int8 = parse_arguments(words, spec)
    recipe = dataclasses.replace(int8.recipe, arm=arguments.arm or int8.recipe.arm)
    return dataclasses.replace(int8, recipe=recipe)


def _check_arm(arguments: argparse.Namespace, precision: Precision) -> None:
    """UserError where there is nothing that --arm could choose."""
    words = arguments.int8 or []
    if arguments.arm and (precision is Precision.FP32 or {"auto", "dynamic", "weights"} & set(words)):
        actual = f"it with {precision} {' '.join(words)}".rstrip()
        raise UserError("--arm with --fp16 or static --int8", actual, "leave it out")


def _images(arguments: argparse.Namespace, precision: Precision, int8: "Int8Arguments | None") -> "Images":
    """Those that judged the recipes of a search, else those named, else generated ones."""
    from convert.int8.search.validation_split import spread_evenly
    from convert.parity import parity_images

    if int8 and int8.search:
        return spread_evenly(int8.search.split.validation, PARITY_IMAGES[precision])
    return parity_images(arguments.images, PARITY_IMAGES[precision])


if __name__ == "__main__":
    raise SystemExit(main())
