"""The default route: PyTorch program -> flatbuffer with litert-torch; no TensorFlow, no ONNX.

litert-torch talks a lot (progress, MLIR warnings) and its C++ parts write to the file descriptors themselves,
so both streams go to a log while it runs; the log's end becomes part of the error when it fails.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from convert.stage_times import stage
from mobileiqa import reasons
from mobileiqa.errors import UserError, one_line
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


def export_tflite(module: "nn.Module", spec: ModelSpec) -> bytes:
    """The bytes of a float32 .tflite file of `module` (rewritten, float32) with the inputs of `spec`, shapes fixed.

    Input names are InputSpec.name, float32 NCHW; the outputs are those of `spec`, in its order. Raises UserError
    with the end of the converter's log when it fails.
    """
    import torch

    inputs = {i.name: torch.zeros(i.shape) for i in spec.inputs}
    with _quiet() as log:
        try:
            return _convert(reasons.with_outputs(module, spec), inputs)
        except (RuntimeError, ValueError, TypeError, KeyError, NotImplementedError) as error:
            reason = one_line(str(error))[:300] or type(error).__name__
            tail = one_line(_tail(log))[-300:]
            raise UserError(
                f"litert-torch to convert {spec.name}",
                f"{reason} [{tail}]",
                "report this, or try --via onnx2tf",
            ) from error


def _convert(module: "nn.Module", inputs: "dict[str, torch.Tensor]") -> bytes:
    """The file's bytes: litert_torch.convert in its two halves, each a stage.

    The converter's own writer would end the process, in silence, when the disk is full.
    """
    import torch

    with stage("export"):
        from litert_torch._convert import core, litert_converter
        from litert_torch._convert.signature import Signature
        from litert_torch.model import DEFAULT_SIGNATURE_NAME

        from convert.export.shortcuts import shortcuts
        from convert.rewrites.core import compact

        signature = Signature(DEFAULT_SIGNATURE_NAME, module.eval(), None, inputs)
        with compact(module), torch.no_grad(), shortcuts():
            program = core._run_convert_passes(core.export_torch_signature(signature))
    with stage("lowering"), torch.no_grad(), shortcuts():
        return litert_converter.exported_programs_to_flatbuffer([program], [signature]).to_bytes()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-2000:]


@contextmanager
def _quiet() -> Iterator[IO[bytes]]:
    """Sends file descriptors 1 and 2 to a temporary file for the duration."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as log:
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield log
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, descriptor in enumerate(saved, start=1):
                os.dup2(descriptor, target)
                os.close(descriptor)
