"""A rewritten model to an .onnx file, and what such a file says of itself.

Opset 20, where exact GELU is one operator (at 18 it is five). Fixed shapes, inputs named as the spec names
them, outputs too ("score" (N,) first), weights inside the file. The spec travels in the file's metadata, so that ONNX
Runtime users find the preprocessing with the weights. What the exporter notes about each node (stack traces
with paths of the machine) is removed.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.flatbuffer.reader import METADATA_ENTRY
from convert.output_file import embedded_metadata
from mobileiqa import cli, reasons, typed_json
from mobileiqa import spec as specs
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    import onnx

OPSET = 20
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
            reasons.with_outputs(module, spec),
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=[i.name for i in spec.inputs],
            output_names=list(spec.outputs),
            verbose=False,
        )
    model = program.model_proto
    _forget_origins(model)
    onnx.helper.set_model_props(
        model, {METADATA_ENTRY: json.dumps(embedded_metadata(spec, "fp32", checkpoint_sha256))}
    )
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
