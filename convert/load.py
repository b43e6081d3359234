"""The model that a command converts, loaded: a checkpoint, a model by name (untrained), or the default."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa.errors import UserError
from mobileiqa.model_source import Form, resolve
from mobileiqa.spec import Fit, ModelSpec, parse_size

if TYPE_CHECKING:
    from torch import nn

RESIZED = "mobilenet-iqa"  # a model whose size is free


@dataclass(frozen=True)
class LoadedModel:
    """A published model (eval mode, float32, CPU), its spec, and the checkpoint it came from, if any."""

    model: "nn.Module"
    spec: ModelSpec
    checkpoint: Path | None

    @property
    def checkpoint_sha256(self) -> str | None:
        """The checkpoint file's SHA-256, or None for seeded weights."""
        from mobileiqa.checkpoint import sha256

        return sha256(self.checkpoint) if self.checkpoint else None


def load_model(text: str | None, size: str | None = None, weights: str | None = None) -> LoadedModel:
    """The model that `text` means: a name, a checkpoint's path, or None or "reference" for the one that ships.

    `size` is WxH, or WxH,WxH for several inputs, or None for the checkpoint's own. A name means
    seeded, untrained weights; `weights` is "raw" or "ema" for a checkpoint that has both. Raises UserError when
    there is no such file or name, the size does not fit, or the model cannot be converted.
    """
    source = resolve(text, weights, tflite=False)
    if source.form is Form.NAME:
        _check_inputs(source.spec())  # before its weights are drawn
    model, spec = source.load()
    _check_inputs(spec)
    return LoadedModel(model, _sized(spec, size, text) if size else spec, source.path)


def _sized(spec: ModelSpec, size: str, text: str | None) -> ModelSpec:
    """The spec at `size`; where it cannot have it and no model is named (text None), the UserError says so."""
    for each in size.split(","):
        parse_size(each)
    try:
        return spec.sized(size)
    except UserError as error:
        if text is not None:
            raise
        actual = f"{error.actual}, of the reference, as no model is named"
        todo = f"name a model, such as --model {RESIZED}; or for the reference, {error.todo}"
        raise UserError(error.expected, actual, todo) from error


def _check_inputs(spec: ModelSpec) -> None:
    """A converted file has inputs of one size, all made of one image."""
    if any(each.fit is Fit.MULTI_SCALE for each in spec.inputs):
        raise UserError(
            "a model whose input has one size",
            f"{spec.name}, whose tokens are as many as the photo has",
            "score with its checkpoint: python -m mobileiqa.score",
        )
    if any(each.of_reference for each in spec.inputs):
        raise UserError(
            "a model of one image", f"{spec.name} with a reference image", "convert it without the reference"
        )
