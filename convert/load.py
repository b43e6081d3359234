"""The model that a command converts, loaded: a checkpoint, a model by name (untrained), or the default."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa.checkpoint import OWN_SUFFIX
from mobileiqa.errors import UserError
from mobileiqa.model_source import Form, resolve
from mobileiqa.spec import Fit, ModelSpec, parse_size

if TYPE_CHECKING:
    from torch import nn

RESIZED = "mobilenet-iqa"  # a model whose size is free
NOT_FOR_PHONES = {
    "fr-nr-transformer": "113 GMACs for a photo and its original, 80 for a photo alone, 84 million parameters"
}


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


def load_model(
    text: str | None,
    size: str | None = None,
    weights: str | None = None,
    *,
    converted: Path | None = None,
    for_phones: bool = False,
) -> LoadedModel:
    """The model that `text` means: a name, a checkpoint's path, or None or "reference" for the one that ships.

    `size` is WxH, or WxH,WxH for several inputs, or None for the checkpoint's own. A name means
    seeded, untrained weights; `weights` is "raw" or "ema" for a checkpoint that has both. A model of tokens becomes
    one of photos of one size: `size`, or that of the file `converted`. Raises UserError when
    there is no such file or name, the size does not fit or is missing, or the model cannot be converted, or
    (for_phones) no phone can run it.
    """
    source = resolve(text, weights, tflite=False)
    if source.form is Form.NAME or (for_phones and (text or "").lower().endswith(OWN_SUFFIX)):
        _check(source.spec(), size or converted, for_phones)  # before its weights are drawn or read
    model, spec = source.load()
    _check(spec, size or converted, for_phones)
    if of_tokens(spec):
        return LoadedModel(*of_photos(model, spec, size, converted), source.path)
    return LoadedModel(model, _sized(spec, size, text) if size else spec, source.path)


def of_tokens(spec: ModelSpec) -> bool:
    """Whether the model takes as many tokens as a photo has."""
    return any(each.fit is Fit.MULTI_SCALE for each in spec.inputs)


def of_photos(
    model: "nn.Module", spec: ModelSpec, size: str | None, converted: Path | None = None
) -> "tuple[nn.Module, ModelSpec]":
    """The model of tokens as one of photos of a size, that of `converted` where `size` is None."""
    from convert.comparison.converted_file import read_converted_file
    from convert.rewrites.fixed_tokens import PhotoModel, photo_spec
    from mobileiqa.models.musiq import MUSIQ

    assert isinstance(model, MUSIQ), "the only model of tokens"
    if size:
        width, height = parse_size(size)
    else:
        assert converted is not None, "one of the two is there"
        image = read_converted_file(converted).spec.inputs[0]
        width, height = image.width_px, image.height_px
    return PhotoModel(model, spec.inputs[0]).eval(), photo_spec(spec, width, height)


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


def _check(spec: ModelSpec, size: str | Path | None, for_phones: bool) -> None:
    """A converted file has inputs of one size, all made of one image, and MACs that its device can do."""
    if for_phones and (reason := NOT_FOR_PHONES.get(spec.name)):
        raise UserError(
            "a model that a phone can run",
            f"{spec.name}: {reason}",
            "score with its checkpoint on a computer: python -m mobileiqa.score",
        )
    if of_tokens(spec) and not size:
        raise UserError(
            f"the size of the photos for {spec.name}, whose tokens are as many as the photo has",
            "no --size",
            "add it, such as --size 512x384: photos are resized to it",
        )
    if any(each.of_reference for each in spec.inputs):
        raise UserError(
            "a model of one image", f"{spec.name} with a reference image", "convert it without the reference"
        )
