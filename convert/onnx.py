"""A deployable module to an .onnx file: `python -m convert.onnx`.

Opset 20, where exact GELU is one operator (at 18 it is five). Fixed shapes, inputs named as the spec names
them, one output "score" (N,), weights inside the file. The spec travels in the file's metadata, so that ONNX
Runtime users find the preprocessing with the weights. What the exporter notes about each node (stack traces
with paths of the machine) is removed.
"""

import argparse
import dataclasses
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.artifact import METADATA_ENTRY, inside, place, staged
from convert.compare import Edge, ParityReport, compare
from convert.runners import RUNTIMES, torch_runner
from convert.samples import sample_images
from convert.source import resolve
from mobileiqa import cli, typed_json
from mobileiqa import spec as specs
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, UNTRAINED

if TYPE_CHECKING:
    from torch import nn

    import onnx

OPSET = 20
OUTPUT = "score"
PARITY_IMAGES = 4
_EXPORT = "export the model with `python -m convert.onnx`"


def export_onnx(
    module: "nn.Module", spec: ModelSpec, path: Path | str, checkpoint_sha256: str | None = None
) -> Path:
    """Writes `module` (eval mode, float32 NCHW inputs in `spec`'s order, output (N,)); returns the path.

    The file is checked with onnx.checker, shapes included, before it gets its name.
    """
    import torch

    import onnx

    path = Path(path)
    arguments = tuple(torch.zeros(i.shape) for i in spec.inputs)
    with _quiet():
        program = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=[i.name for i in spec.inputs],
            output_names=[OUTPUT],
            verbose=False,
        )
    model = program.model_proto
    _forget_origins(model)
    onnx.helper.set_model_props(model, {METADATA_ENTRY: json.dumps(inside(spec, "fp32", checkpoint_sha256))})
    with cli.atomic(path) as temporary:
        onnx.save(model, temporary)
        onnx.checker.check_model(str(temporary), full_check=True)
    return path


def read_model(path: Path | str) -> "onnx.ModelProto":
    """The file's content; UserError when it is not ONNX."""
    from google.protobuf.message import DecodeError

    import onnx

    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise UserError(f"an ONNX file at {path}", str(error), _EXPORT) from error


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The JSON that `export_onnx` put into the file; UserError when it is not ONNX or has no such entry."""
    content = next((p.value for p in read_model(path).metadata_props if p.key == METADATA_ENTRY), None)
    if content is None:
        raise UserError(f"a {METADATA_ENTRY!r} entry in the metadata of {path}", "none", _EXPORT)
    return typed_json.parse_object(content, f"the metadata of {path}", _EXPORT)


def load_spec(path: Path | str) -> ModelSpec:
    """The ModelSpec inside an .onnx file that `export_onnx` wrote."""
    return specs.from_json(read_metadata(path).get("spec"), str(path))


def _forget_origins(model: "onnx.ModelProto") -> None:
    """Removes what the exporter notes about where nodes and values came from."""
    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output, *graph.initializer)
    for entry in (*graph.node, *values, *model.functions):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    graph.ClearField("metadata_props")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's remarks about its own internals (deprecations, opset notes) from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def parity(module: "nn.Module", spec: ModelSpec, path: Path) -> ParityReport:
    """The module in torch against its file in ONNX Runtime, on generated images."""
    images = sample_images(PARITY_IMAGES)
    batch = [prepare(image, spec) for _, image in images]
    run = torch_runner(module, spec)
    reference = [run(inputs) for inputs in cli.progress(batch, "torch")]
    low, high = spec.score_range
    edge = Edge("onnx", "rewritten module", str(path), "ort")
    return compare(edge, reference, RUNTIMES["ort"](path, batch), [name for name, _ in images], high - low)


def default_path(spec: ModelSpec) -> Path:
    """NAME_WxH.onnx here; models of several inputs leave the size out."""
    size = f"_{spec.inputs[0].width_px}x{spec.inputs[0].height_px}" if len(spec.inputs) == 1 else ""
    return Path(f"{spec.name}{size}.onnx")


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "convert.onnx",
        "Writes a model as one .onnx file (opset 20, fixed size), checked in ONNX Runtime. Exit 1 when the check"
        " fails: the file is then kept as NAME.failed.onnx.",
        "python -m convert.onnx --model lar-iqa-single --out lar.onnx",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("checkpoint", nargs="?", help="checkpoint file; default: the reference model")
    source.add_argument("--model", choices=MODELS, help="a model by name, with untrained weights")
    parser.add_argument(
        "--size", metavar="WxH", help="input size, WxH,WxH for two inputs; default: the checkpoint's"
    )
    parser.add_argument("--out", type=Path, help="output path; default: NAME_WxH.onnx here")
    cli.add_weights(parser)
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    arguments = parser.parse_args(argv)
    return cli.run("convert.onnx", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    from convert.deploy import deployable

    source = resolve(arguments.checkpoint or arguments.model, arguments.size, arguments.weights)
    spec = source.spec
    path = arguments.out or default_path(spec)
    if path.suffix.lower() != ".onnx":
        raise UserError("an output ending in .onnx", str(path), "correct --out")
    cli.refuse_existing(path, arguments.force)
    module, rewrites = deployable(source.model, spec)
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
