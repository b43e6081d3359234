"""A model that is loaded for scoring, whatever runs it, and the rows of photos by it.

A .tflite file runs in LiteRT and never imports torch; a checkpoint or a model name runs in PyTorch. Both read the same
prepared inputs, and an image's score is the mean over its crops.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import reasons
from mobileiqa.errors import UserError, one_line
from mobileiqa.files import integrity
from mobileiqa.model_source import Form, ModelSource, resolve
from mobileiqa.photos.loading import Photo, Pixels, read_pixels, size_of
from mobileiqa.photos.sources import content_of, is_uri
from mobileiqa.preprocess import full_size_share, prepare
from mobileiqa.scoring import first_run, litert
from mobileiqa.scoring.checks import score_error
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing
from mobileiqa.scoring.rows import Row
from mobileiqa.scoring.torch_scorer import DEFAULT, VOTES, TorchOptions, at_least, load_torch
from mobileiqa.spec import ModelSpec
from mobileiqa.text import printable
from mobileiqa.zoo import PACKAGED, UNTRAINED

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model, whatever runs it."""

    outputs: litert.OutputsRunner
    spec: ModelSpec
    runtime: str  # "litert" or "torch"
    inputs_of: litert.Prepare | None = (
        None  # an image to `outputs`'s inputs; None: preprocess.prepare by `spec`
    )
    reference: Path | None = None  # the pristine original of every image, for a spec with such an input
    embedded: EmbeddedPreprocessing | None = None  # what a file with embedded preprocessing takes
    module: "nn.Module | None" = None  # of a checkpoint
    ranged: bool = True  # scores lie in the spec's range: not where it is read otherwise than it was trained
    quantile: float | None = None  # also say what all but this share of the viewers see at least
    patches: bool = False  # scores are means over patches of the photo

    def run(self, inputs: litert.Inputs) -> NDArray[np.float64]:
        """The scores (N,) alone."""
        return self.outputs(inputs)[litert.OUTPUT]

    def prepare(self, image: Photo, reference: Path | None = None) -> dict[str, NDArray[Any]]:
        """The inputs of `outputs` for one image; raises UserError for one that cannot be read or does not fit.

        reference: the pristine original of this image, in place of the one of all.
        """
        return (
            self.inputs_of(image)
            if self.inputs_of
            else prepare(image, self.spec, reference or self.reference)
        )

    @property
    def compares(self) -> bool:
        """Whether it scores an image beside its pristine original."""
        return any(each.of_reference for each in self.spec.inputs)

    @property
    def note(self) -> str:
        """What every output must say: of untrained weights, and of a reference image; else empty."""
        notes = [UNTRAINED] if self.spec.untrained else []
        notes += [] if self.reference is None else [f"compared with {printable(str(self.reference))}"]
        notes += ["the mean over patches at three scales"] if self.patches else []
        return "; ".join(notes)

    def require_parts(self) -> None:
        """Raises UserError where the model takes only whole photos of its own sizes, and no parts of them."""
        if self.embedded and not self.embedded.fitted:
            raise UserError(
                "a model that takes parts of a photo",
                f"one of images of {self.embedded}",
                "name its float file",
            )

    def problem(self, score: float) -> str:
        """Why it cannot be a score of this model, an empty string where it can be."""
        return score_error(score, self.spec if self.ranged else replace(self.spec, trained_on=""))


def load_scorer(
    model: str | None = None, threads: int = 1, weights: str | None = None, reference: Path | None = None,
    options: TorchOptions = DEFAULT,
) -> LoadedModel:  # fmt: skip
    """The model in a .tflite file or a checkpoint, or by name (untrained weights); None: the packaged .tflite file.

    weights: "raw" or "ema" of a checkpoint that has both. reference: the images' pristine original, for a model that
    can compare with one. Raises UserError for anything else, for options with a .tflite file, and where PyTorch is
    needed but not installed.
    """
    litert.check_threads(threads)
    source = resolve(model, weights, default=PACKAGED)
    if source.form is Form.TFLITE:
        if reference is not None:
            expected = "a checkpoint or a model name with --reference"
            raise UserError(expected, source.text, "leave --reference out")
        options.refuse(source.text)
        return _litert_scorer(source.text, threads)
    if reference is not None and not reference.is_file():
        raise UserError("a reference image", f"nothing at {reference}", "check --reference")
    scorer = _torch_scorer(
        source, threads, replace(options, reference=options.reference or reference is not None)
    )
    return scorer if reference is None else replace(scorer, reference=reference)


@dataclass(frozen=True)
class ModelArguments:
    """What `load_scorer` takes, as worker processes get it: each loads the model itself, once.

    sha256: of the model's file ("" of a name); another one there is a UserError. has_run: the process that sends this
    has run the file of that hash, so that it need not run in a child of every worker first.
    """

    model: str | None = None
    threads: int = 1
    weights: str | None = None
    reference: Path | None = None
    sha256: str = ""
    has_run: bool = False
    options: TorchOptions = DEFAULT
    quantile: float | None = None  # see LoadedModel

    def for_workers(self) -> "ModelArguments":
        """The same for other processes; only once the model is loaded in this one."""
        return replace(self, has_run=bool(self.sha256))

    def with_hash(self) -> "ModelArguments":
        """The same with the hash of the file as it is now."""
        path = resolve(self.model, self.weights, default=PACKAGED).path
        return replace(self, sha256=integrity.sha256(path)) if path is not None and path.is_file() else self

    @cache  # noqa: B019  (one model in a process, or two: they are to stay)
    def loaded(self) -> LoadedModel:
        """The model, which this process loads once."""
        return self.load()

    def load(self) -> LoadedModel:
        """The model, anew."""
        if self.sha256:
            if (digest := self.with_hash().sha256) != self.sha256:
                raise UserError(
                    f"the model file of SHA-256 {self.sha256[:12]}...", f"{digest[:12]}...", "score anew"
                )
            if self.has_run:
                first_run.trust(digest)
        scorer = load_scorer(self.model, self.threads, self.weights, self.reference, self.options)
        return scorer if self.quantile is None else replace(scorer, quantile=self.quantile)


def row_of(photo: str, arguments: ModelArguments) -> Row:
    """The Row of a path or a URI. Raises UserError only where the model does not load."""
    return row_by(photo, arguments.loaded())


def row_by(photo: str, scorer: LoadedModel) -> Row:
    """The Row of a path or a URI, by a model that is loaded."""
    (row,) = score_images([photo], scorer)
    return row


def score_images(
    images: Iterable[Photo], scorer: LoadedModel, names: Iterable[str] | None = None
) -> Iterator[Row]:
    """One Row per image, in order; an unreadable image, or a score that cannot be one, gives its reason.

    An image is also a URI, bytes of a file, a Pillow image or an array; names: what its row calls it.
    """
    for image, name in (
        ((image, str(image)) for image in images) if names is None else zip(images, names, strict=True)
    ):
        try:
            source = content_of(image) if isinstance(image, str) and is_uri(image) else image
            yield score_image(name, read_pixels(source, scorer.spec.color_management), scorer)
        except UserError as error:
            yield Row(name, None, one_line(str(error)))


def score_image(name: str, rgb: Pixels, scorer: LoadedModel) -> Row:
    """The Row of an upright RGB image. Raises UserError where the model does not take it."""
    outputs = scorer.outputs(scorer.prepare(rgb))
    score = float(outputs[litert.OUTPUT].mean())
    if problem := scorer.problem(score):
        return Row(name, None, problem)
    share = 1.0 if scorer.patches else full_size_share(scorer.spec, *size_of(rgb))
    votes = tuple(outputs[VOTES].mean(0)) if VOTES in outputs else ()
    return Row(
        name, score, "", _reasons(outputs, scorer.spec), share, votes, at_least(votes, scorer.quantile)
    )


def _reasons(outputs: litert.Outputs, spec: ModelSpec) -> dict[str, float]:
    """Each reason's probability, the mean over an image's crops; empty for a model that gives none."""
    return reasons.named(outputs[litert.REASONS].mean(0), spec) if litert.REASONS in outputs else {}


def _litert_scorer(model: str, threads: int) -> LoadedModel:
    """All parts of one file: another in its place, between the spec and the weights, is a UserError."""
    if not Path(model).is_file():
        litert.load_spec(model)  # which says what is there
    with integrity.unchanged(model):
        interpreter = litert.open_familiar(model, threads)
        spec = litert.load_spec(model)  # which checks the hash
        run, inputs_of = litert.outputs_runner(model, threads, interpreter), litert.inputs_of(model)
        return LoadedModel(run, spec, "litert", inputs_of, embedded=litert.preprocessing_of(model))


def _torch_scorer(source: ModelSource, threads: int, options: TorchOptions) -> LoadedModel:
    loaded = load_torch(source.load, options)
    import torch

    torch.set_num_threads(threads)
    inputs_of = loaded.prepare if options.patches else None
    own = not options.patches and options.color_space is None
    return LoadedModel(
        loaded.outputs,
        loaded.spec,
        "torch",
        inputs_of,
        module=loaded.module,
        ranged=own,
        patches=options.patches,
    )
