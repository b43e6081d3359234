"""Which model a command works on, answered once: a name of the zoo, with or without variants, or a file.

A name means untrained weights, also where a file has that name. The word `reference`, and nothing at all, mean the
checkpoint that ships, unless a command says otherwise: scoring takes the packaged .tflite file, which the base
install can run.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa.errors import UserError
from mobileiqa.scoring import litert
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, REFERENCE, build_seeded, entry, is_name, refuse_weights

if TYPE_CHECKING:
    from torch import nn

WORD = "reference"  # for the checkpoint that ships


class Form(StrEnum):
    """What stands behind the text that a user typed."""

    NAME = "name"
    TFLITE = "tflite"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class ModelSource:
    """A name of the zoo, or a file that exists; `weights`: "raw" or "ema" of a checkpoint that has both."""

    text: str
    form: Form
    weights: str | None = None

    @property
    def path(self) -> Path | None:
        """The file; None for a name."""
        return None if self.form is Form.NAME else Path(self.text)

    def spec(self) -> ModelSpec:
        """The spec, without PyTorch and without reading weights.

        Raises UserError for a published checkpoint, which only loading recognises, and a file without a spec.
        """
        if self.form is Form.NAME:
            return entry(self.text).spec
        if self.form is Form.TFLITE:
            return litert.load_spec(self.text)
        from mobileiqa import checkpoint  # which scoring a .tflite file never needs

        if not self.text.lower().endswith(checkpoint.OWN_SUFFIX):
            expected = f"a .tflite file, a .safetensors checkpoint or one of {', '.join(MODELS)}"
            raise UserError(expected, self.text, "name the model that this checkpoint is of")
        return checkpoint.load_spec(self.text)

    def load(self) -> "tuple[nn.Module, ModelSpec]":
        """The PyTorch model (eval mode, float32, CPU) and its spec. Raises UserError as checkpoint.load does."""
        if self.form is Form.NAME:
            return build_seeded(self.text), entry(self.text).spec
        from mobileiqa import checkpoint

        return checkpoint.load(self.text, self.weights)


def resolve(
    text: str | None, weights: str | None = None, *, default: Path = REFERENCE, tflite: bool = True
) -> ModelSource:
    """What `text` means; None: `default`. tflite: whether the command takes .tflite files, for the message.

    Raises UserError where nothing of this name is there, and for `weights` of anything but a checkpoint.
    """
    text = str(default if text is None else REFERENCE if text == WORD else text)
    if not is_name(text) and not (text and Path(text).exists()):
        kinds = f"{'a .tflite file, ' if tflite else ''}a checkpoint, `{WORD}` or one of {', '.join(MODELS)}"
        raise UserError(kinds, f"nothing at {text or repr(text)}", "correct the name")
    form = Form.NAME if is_name(text) else Form.CHECKPOINT
    if Path(text).suffix.lower() == ".tflite":
        form = Form.TFLITE
    if form is not Form.CHECKPOINT:
        refuse_weights(weights, text)
    return ModelSource(text, form, weights)
