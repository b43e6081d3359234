"""Which model a command works on: a checkpoint file, a model by name (untrained), or the default."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, build_seeded, named, refuse_weights

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Source:
    """A published model (eval mode, float32, CPU), its spec, and the checkpoint it came from, if any."""

    model: "nn.Module"
    spec: ModelSpec
    checkpoint: Path | None

    @property
    def checkpoint_sha256(self) -> str | None:
        """The checkpoint file's SHA-256, or None for seeded weights."""
        from mobileiqa.checkpoint import sha256

        return sha256(self.checkpoint) if self.checkpoint else None


def resolve(text: str | None, size: str | None = None, weights: str | None = None) -> Source:
    """The model that `text` means: a name, a checkpoint's path, or None or "reference" for the one that ships.

    `size` is WxH, or WxH,WxH for several inputs, or None for the checkpoint's own. A name means
    seeded, untrained weights; `weights` is "raw" or "ema" for a checkpoint that has both. Raises UserError when
    there is no such file or name, or the size does not fit.
    """
    source = _source(named(text), weights)
    if size is None:
        return source
    return dataclasses.replace(source, spec=source.spec.sized(size))


def _source(text: str, weights: str | None) -> Source:
    if text in MODELS:
        refuse_weights(weights, text)
        return Source(build_seeded(text), MODELS[text].spec, None)
    path = Path(text)
    if not path.suffix and not path.exists():
        raise UserError(
            f"a checkpoint file, reference, or one of {', '.join(MODELS)}", repr(text), "correct the name"
        )
    from mobileiqa.checkpoint import load

    model, spec = load(path, weights)
    return Source(model, spec, path)
