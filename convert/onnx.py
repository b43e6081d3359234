"""A rewritten model to an .onnx file (export/onnx_file.py), checked in ONNX Runtime: `python -m convert.onnx`."""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from convert.comparison.compare import ParityReport, ParityStage, compare
from convert.export.onnx_file import OPSET, export_onnx, load_spec
from convert.load import load_model
from convert.output_file import place, staged
from convert.runtimes.runners import RUNTIMES, torch_runner
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.photos.generated_images import sample_images
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, UNTRAINED

if TYPE_CHECKING:
    from torch import nn

__all__ = ["export_onnx", "load_spec", "main"]

PARITY_IMAGES = 4


def parity(module: "nn.Module", spec: ModelSpec, path: Path) -> ParityReport:
    """The module in torch against its file in ONNX Runtime, on generated images."""
    images = sample_images(PARITY_IMAGES)
    batch = [prepare(image, spec) for _, image in images]
    run = torch_runner(module, spec)
    reference = [run(inputs) for inputs in cli.progress(batch, "torch")]
    low, high = spec.score_range
    stage = ParityStage("onnx", "rewritten module", str(path), "ort")
    return compare(stage, reference, RUNTIMES["ort"](path, batch), [name for name, _ in images], high - low)


def default_path(spec: ModelSpec) -> Path:
    """NAME_WxH.onnx here; models of several inputs leave the size out."""
    size = f"_{spec.inputs[0].width_px}x{spec.inputs[0].height_px}" if len(spec.inputs) == 1 else ""
    return Path(f"{spec.name}{size}.onnx")


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "Writes a model as one .onnx file (opset 20, fixed size), checked in ONNX Runtime. Exit 1 when the check"
        " fails: the file is then kept as NAME.failed.onnx.",
        "python -m convert.onnx --model lar-iqa-single --out lar.onnx",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("checkpoint", nargs="?", help="checkpoint file; default: the reference model")
    source.add_argument(
        "--model", type=cli.model_name, metavar="NAME", help=f"untrained weights: {', '.join(MODELS)}"
    )
    parser.add_argument(
        "--size", metavar="WxH", help="input size, WxH,WxH for two inputs; default: the checkpoint's"
    )
    parser.add_argument("--out", type=Path, help="output path; default: NAME_WxH.onnx here")
    cli.add_weights(parser)
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    from convert.rewrites.apply import apply_rewrites

    source = load_model(arguments.checkpoint or arguments.model, arguments.size, arguments.weights)
    spec = source.spec
    path = arguments.out or default_path(spec)
    if path.suffix.lower() != ".onnx":
        raise UserError("an output ending in .onnx", str(path), "correct --out")
    cli.refuse_existing(path, arguments.force)
    module, rewrites = apply_rewrites(source.model, spec)
    with staged(path) as unproven:
        export_onnx(module, spec, unproven, source.checkpoint_sha256)
        report = parity(module, spec, unproven)
        path = place(
            unproven,
            path,
            report.passed,
            precision="fp32",
            via="torch",
            spec=spec,
            checkpoint_sha256=source.checkpoint_sha256,
            calibration_sha256=None,
            fp16_arithmetic_allowed=False,
            rewrites=rewrites.to_json(),
        )
    report = dataclasses.replace(report, candidate=str(path))
    cli.say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    cli.say(f"ONNX Runtime against torch, {report.n} generated images: {report.verdict}")
    if spec.untrained:
        cli.say(f"{spec.name} is {UNTRAINED}")
    cli.emit({"path": str(path), "untrained": spec.untrained, "parity": report.to_json()})
    return 0 if report.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
