"""Which model a command works on: a checkpoint file, a model by name (untrained), or the default."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa.errors import UserError
from mobileiqa.spec import Fit, ModelSpec
from mobileiqa.zoo import MODELS, build_seeded, named, refuse_weights

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSource:
    """A published model (eval mode, float32, CPU), its spec, and the checkpoint it came from, if any."""

    model: "nn.Module"
    spec: ModelSpec
    checkpoint: Path | None

    @property
    def checkpoint_sha256(self) -> str | None:
        """The checkpoint file's SHA-256, or None for seeded weights."""
        from mobileiqa.checkpoint import sha256

        return sha256(self.checkpoint) if self.checkpoint else None


def load_model(text: str | None, size: str | None = None, weights: str | None = None) -> ModelSource:
    """The model that `text` means: a name, a checkpoint's path, or None or "reference" for the one that ships.

    `size` is WxH, or WxH,WxH for several inputs, or None for the checkpoint's own. A name means
    seeded, untrained weights; `weights` is "raw" or "ema" for a checkpoint that has both. Raises UserError when
    there is no such file or name, the size does not fit, or the model cannot be converted.
    """
    source = _load(named(text), weights)
    if size is None:
        return source
    return dataclasses.replace(source, spec=source.spec.sized(size))


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


def _load(text: str, weights: str | None) -> ModelSource:
    if text in MODELS:
        refuse_weights(weights, text)
        _check_inputs(MODELS[text].spec)
        return ModelSource(build_seeded(text), MODELS[text].spec, None)
    path = Path(text)
    if not path.suffix and not path.exists():
        raise UserError(
            f"a checkpoint file, reference, or one of {', '.join(MODELS)}", repr(text), "correct the name"
        )
    from mobileiqa.checkpoint import load

    model, spec = load(path, weights)
    _check_inputs(spec)
    return ModelSource(model, spec, path)
