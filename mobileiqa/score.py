"""Scores photos: python -m mobileiqa.score PHOTO_OR_FOLDER... [--model CHECKPOINT | FILE.tflite | NAME].

A .tflite file runs in LiteRT and never imports torch; a checkpoint or a model name runs in PyTorch. Both read
the same prepared inputs, and an image's score is the mean over its crops. A model that gives reasons names them
beside the score, the likeliest first; what the model reads of a photo is said. A broken image is listed and the
rest goes on; one that was named by itself, not found in a folder, also makes the exit code 2. Rows are written as
they are made: an interrupted run keeps them, of --out PATH in PATH.partial, and the same command
starts anew.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli, reasons
from mobileiqa.errors import UserError, install_command, one_line
from mobileiqa.files import integrity
from mobileiqa.files.outputs import STREAM
from mobileiqa.model_source import Form, ModelSource, resolve
from mobileiqa.photos.loading import Photo, Pixels, read_pixels, size_of
from mobileiqa.photos.search import search_images
from mobileiqa.preprocess import full_size_share, prepare
from mobileiqa.scoring import litert
from mobileiqa.scoring.checks import constant_warning, score_error
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing
from mobileiqa.scoring.rows import FORMATS, Origin, Row, summary, write
from mobileiqa.spec import ModelSpec
from mobileiqa.text import printable
from mobileiqa.zoo import MODELS, PACKAGED, UNTRAINED

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Scorer:
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

    def run(self, inputs: litert.Inputs) -> NDArray[np.float64]:
        """The scores (N,) alone."""
        return self.outputs(inputs)[litert.OUTPUT]

    def prepare(self, image: Photo) -> dict[str, NDArray[Any]]:
        """The inputs of `outputs` for one image; raises UserError for one that cannot be read or does not fit."""
        return self.inputs_of(image) if self.inputs_of else prepare(image, self.spec, self.reference)

    @property
    def note(self) -> str:
        """What every output must say: of untrained weights, and of a reference image; else empty."""
        compared = [] if self.reference is None else [f"compared with {printable(str(self.reference))}"]
        return "; ".join(([UNTRAINED] if self.spec.untrained else []) + compared)


def load_scorer(
    model: str | None = None, threads: int = 1, weights: str | None = None, reference: Path | None = None
) -> Scorer:
    """The model in a .tflite file or a checkpoint, or by name (untrained weights); None: the packaged .tflite file.

    weights: "raw" or "ema" of a checkpoint that has both. reference: the images' pristine original, for a model that
    can compare with one. Raises UserError for anything else, and where
    PyTorch is needed but not installed.
    """
    litert.check_threads(threads)
    source = resolve(model, weights, default=PACKAGED)
    if source.form is Form.TFLITE:
        if reference is not None:
            expected = "a checkpoint or a model name with --reference"
            raise UserError(expected, source.text, "leave --reference out")
        return _litert_scorer(source.text, threads)
    if reference is not None and not reference.is_file():
        raise UserError("a reference image", f"nothing at {reference}", "check --reference")
    scorer = _torch_scorer(source, threads, reference is not None)
    return scorer if reference is None else replace(scorer, reference=reference)


def score_images(images: Iterable[Path], scorer: Scorer) -> Iterator[Row]:
    """One Row per image, in order; an unreadable image, or a score that cannot be one, gives its reason."""
    for image in images:
        try:
            yield score_image(str(image), read_pixels(image, scorer.spec.color_management), scorer)
        except UserError as error:
            yield Row(str(image), None, one_line(str(error)))


def score_image(name: str, rgb: Pixels, scorer: Scorer) -> Row:
    """The Row of an upright RGB image. Raises UserError where the model does not take it."""
    outputs = scorer.outputs(scorer.prepare(rgb))
    score = float(outputs[litert.OUTPUT].mean())
    if problem := score_error(score, scorer.spec):
        return Row(name, None, problem)
    share = full_size_share(scorer.spec, *size_of(rgb))
    return Row(name, score, "", _reasons(outputs, scorer.spec), share)


def _reasons(outputs: litert.Outputs, spec: ModelSpec) -> dict[str, float]:
    """Each reason's probability, the mean over an image's crops; empty for a model that gives none."""
    return reasons.named(outputs[litert.REASONS].mean(0), spec) if litert.REASONS in outputs else {}


def main(argv: list[str] | None = None) -> int:
    """The command. Exit 2 when no image has a score, or when one that was named by itself has none."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.score holiday/ --out scores.csv",
    )
    parser.add_argument("images", nargs="+", metavar="PHOTO_OR_FOLDER", help="images, folders of images")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f".tflite file, checkpoint, or untrained weights by name: {', '.join(MODELS)}; "
        "default: the packaged .tflite file of `reference`, whose checkpoint needs PyTorch",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="default: by --out's suffix, else table; csv, json and jsonl leave stdout to the data "
        "(the summary of csv and jsonl goes to stderr); json comes at the end, the others row by row",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="write the scores here, not to stdout (-); PATH.partial until all are there",
    )
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="as --format json")
    parser.add_argument("--force", action="store_true", help="replace --out's file")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default 1)")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="PHOTO",
        help="the pristine original of every image, for a model that compares with one: fr-nr-transformer",
    )
    cli.add_weights(parser)
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    litert.check_threads(args.threads)
    if args.out is not None:
        cli.refuse_existing(args.out, args.force)
    search = search_images(args.images)
    scorer = load_scorer(args.model, args.threads, args.weights, args.reference)
    origin = Origin(scorer.spec, scorer.runtime, scorer.note, search.left_out)
    form = _format(args.format, args.out)
    rows = write(
        _shown(score_images(search.images, scorer), len(search.images), args.out), origin, form, args.out
    )
    _end(rows, origin, form, args.out)
    if search.left_out:
        cli.warn(f"{search}")
    failed = [row for row in rows if row.score is None]
    scored = [(row.score, Path(row.image)) for row in rows if row.score is not None]
    if warning := constant_warning([s for s, _ in scored], [p for _, p in scored], scorer.spec):
        cli.warn(f"warning: {warning}")
    named = {str(Path(path)) for path in args.images}
    return 2 if len(failed) == len(rows) or any(row.image in named for row in failed) else 0


def _shown(rows: Iterator[Row], total: int, out: Path | None) -> Iterator[Row]:
    """With progress, unless the rows themselves run down the terminal."""
    on_terminal = out in (None, STREAM) and sys.stdout is not None and sys.stdout.isatty()
    return rows if on_terminal else cli.progress(rows, "scoring", total)


def _format(name: str | None, out: Path | None) -> str:
    suffix = out.suffix.lower().removeprefix(".") if out is not None else ""
    return name or (suffix if suffix in FORMATS else "table")


def _end(rows: list[Row], origin: Origin, form: str, out: Path | None) -> None:
    """The summary: the last line on stdout, or on stderr where stdout is data; then what has no score."""
    result = summary(rows, origin)
    if out is not None and out != STREAM:
        cli.emit({**result, "out": str(out)})
    elif form == "table":
        cli.emit(result, shown=True)
    elif form in ("csv", "jsonl"):
        cli.note(json.dumps(result, separators=(",", ":"), allow_nan=False))
    for row in rows:
        if row.score is None:
            cli.warn(f"no score for {printable(row.image)}: {row.error}")


def _litert_scorer(model: str, threads: int) -> Scorer:
    """All parts of one file: another in its place, between the spec and the weights, is a UserError."""
    if not Path(model).is_file():
        litert.load_spec(model)  # which says what is there
    with integrity.unchanged(model):
        interpreter = litert.open_familiar(model, threads)
        spec = litert.load_spec(model)  # which checks the hash
        run, inputs_of = litert.outputs_runner(model, threads, interpreter), litert.inputs_of(model)
        return Scorer(run, spec, "litert", inputs_of, embedded=litert.preprocessing_of(model))


def _torch_scorer(source: ModelSource, threads: int, full_reference: bool) -> Scorer:
    missing = [name for name in ("torch", "timm", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            "PyTorch, timm and safetensors for a checkpoint or a model name",
            f"no {', '.join(missing)}",
            f"{install_command('train')}, or name a .tflite file with --model, or none",
        )
    import torch

    module, spec = source.load()
    if full_reference and not any(each.of_reference for each in spec.inputs):
        spec = spec.with_reference()
    torch.set_num_threads(threads)

    def run(inputs: Mapping[str, NDArray[np.float32]]) -> litert.Outputs:
        outputs = reasons.torch_outputs(module, spec, inputs)
        return {name: output.astype(np.float64) for name, output in outputs.items()}

    return Scorer(run, spec, "torch", module=module)


if __name__ == "__main__":
    sys.exit(main())
