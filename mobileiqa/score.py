"""Scores photos: python -m mobileiqa.score PHOTO_OR_FOLDER... [--model CHECKPOINT | FILE.tflite | NAME].

Photos are files, folders, patterns ('holiday/**/*.jpg'), lists (.txt, or a column of .csv, .jsonl, .parquet), URIs
(s3://, https://...), and lines of stdin (-). --workers auto uses every core; docs/many.md is about many photos.

A .tflite file runs in LiteRT and never imports torch; a checkpoint or a model name runs in PyTorch. Both read
the same prepared inputs, and an image's score is the mean over its crops. A model that gives reasons names them
beside the score, the likeliest first; what the model reads of a photo is said. A broken image is listed and the
rest goes on; one that was named by itself, not found in a folder or a list, also makes the exit code 2. Rows are
written as they are made: an interrupted run keeps them, of --out PATH in PATH.partial, and the same command
starts anew, or with --resume behind them.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli, reasons
from mobileiqa.errors import UserError, one_line
from mobileiqa.files import integrity
from mobileiqa.files.outputs import STREAM
from mobileiqa.model_source import Form, ModelSource, resolve
from mobileiqa.photos.loading import Photo, Pixels, read_pixels, size_of
from mobileiqa.photos.sources import PhotoList, content_of, is_uri, list_photos, parse_shard
from mobileiqa.preprocess import full_size_share, prepare
from mobileiqa.scoring import first_run, litert, parallel
from mobileiqa.scoring.checks import constant_warning, score_error
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing
from mobileiqa.scoring.row_files import FILE_FORMATS, partial_path, resume, write
from mobileiqa.scoring.rows import Origin, Row, Tally, summary, version
from mobileiqa.scoring.torch_scorer import (
    DEFAULT,
    VOTES,
    TorchOptions,
    add_torch_options,
    at_least,
    load_torch,
    torch_options,
)  # fmt: skip
from mobileiqa.spec import ModelSpec
from mobileiqa.text import printable
from mobileiqa.variants import gives_votes
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
    ranged: bool = True  # scores lie in the spec's range: not where it is read otherwise than it was trained
    quantile: float | None = None  # also say what all but this share of the viewers see at least
    patches: bool = False  # scores are means over patches of the photo

    def run(self, inputs: litert.Inputs) -> NDArray[np.float64]:
        """The scores (N,) alone."""
        return self.outputs(inputs)[litert.OUTPUT]

    def prepare(self, image: Photo) -> dict[str, NDArray[Any]]:
        """The inputs of `outputs` for one image; raises UserError for one that cannot be read or does not fit."""
        return self.inputs_of(image) if self.inputs_of else prepare(image, self.spec, self.reference)

    @property
    def note(self) -> str:
        """What every output must say: of untrained weights, and of a reference image; else empty."""
        notes = [UNTRAINED] if self.spec.untrained else []
        notes += [] if self.reference is None else [f"compared with {printable(str(self.reference))}"]
        notes += ["the mean over patches at three scales"] if self.patches else []
        return "; ".join(notes)

    def problem(self, score: float) -> str:
        """Why it cannot be a score of this model, an empty string where it can be."""
        return score_error(score, self.spec if self.ranged else replace(self.spec, trained_on=""))


def load_scorer(
    model: str | None = None, threads: int = 1, weights: str | None = None, reference: Path | None = None,
    options: TorchOptions = DEFAULT,
) -> Scorer:  # fmt: skip
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
    scorer = _torch_scorer(source, threads, replace(options, reference=reference is not None))
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
    quantile: float | None = None  # see Scorer

    def for_workers(self) -> "ModelArguments":
        """The same for other processes; only once the model is loaded in this one."""
        return replace(self, has_run=bool(self.sha256))

    def with_hash(self) -> "ModelArguments":
        """The same with the hash of the file as it is now."""
        path = resolve(self.model, self.weights, default=PACKAGED).path
        return replace(self, sha256=integrity.sha256(path)) if path is not None and path.is_file() else self

    @cache  # noqa: B019  (one model in a process, or two: they are to stay)
    def load(self) -> Scorer:
        """The model."""
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
    return _row(photo, arguments.load())


def _row(photo: str, scorer: Scorer) -> Row:
    (row,) = score_images([photo], scorer)
    return row


def score_images(
    images: Iterable[Photo], scorer: Scorer, names: Iterable[str] | None = None
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


def score_image(name: str, rgb: Pixels, scorer: Scorer) -> Row:
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


def main(argv: list[str] | None = None) -> int:
    """The command. Exit 2 when no image has a score, or when one that was named by itself has none."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.score holiday/ --out scores.csv",
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="PHOTO_OR_FOLDER",
        help="photos, folders, patterns, lists of photos, URIs; - reads one a line from stdin",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f".tflite file, checkpoint, or untrained weights by name: {', '.join(MODELS)}; "
        "default: the packaged .tflite file of `reference`, whose checkpoint needs PyTorch",
    )
    parser.add_argument(
        "--format",
        choices=FILE_FORMATS,
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
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="CPU threads of a worker (default 1)"
    )
    _add_many(parser)
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="PHOTO",
        help="the pristine original of every image, for a model that compares with one: fr-nr-transformer",
    )
    parser.add_argument(
        "--quantile", type=float, metavar="Q",
        help="of a model of votes: also the quality that all viewers but the share Q see at least, on 0.5..5.5",
    )  # fmt: skip
    add_torch_options(parser)
    cli.add_weights(parser)
    return cli.command(parser, _command, argv)


def _add_many(parser: argparse.ArgumentParser) -> None:
    """The flags for many photos."""
    parser.add_argument(
        "--workers", default="1", metavar="N", help="processes, or auto: one a core (default 1, this one)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on behind the rows that an interrupted run left in --out's .partial",
    )
    parser.add_argument("--engine", choices=("ray",), help="a Ray cluster's cores in place of --workers")
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="of --engine's cluster (default: one started here)"
    )
    parser.add_argument("--shard", metavar="I/N", help="score the photos I, I+N, I+2N... only, such as 3/64")


def _check_quantile(scorer: Scorer, share: float | None) -> None:
    if share is not None and not 0 < share < 1:
        raise UserError("--quantile between 0 and 1", f"{share:g}", "correct it: 0.1 is what nine of ten see")
    if share is not None and not (gives_votes(scorer.spec.name) and not scorer.patches):
        raise UserError(
            "a model of votes for --quantile", scorer.spec.name, "train one with --votes, or leave it out"
        )


def _command(args: argparse.Namespace) -> int:
    litert.check_threads(args.threads)
    workers, form = parallel.count_of(args.workers, args.threads), _format(args.format, args.out)
    if (args.engine and workers > 1) or (args.address and not args.engine):
        flags = "--workers with --engine" if args.engine else "--address without --engine"
        raise UserError("--workers, or --engine with --address", flags, "leave one of them out")
    if _is_finished(args):
        return 0
    listed = list_photos(args.images)
    if args.shard is not None:
        listed = listed.shard(*parse_shard(args.shard))
    _refuse_memory(listed, 2 if args.engine else workers)
    arguments = ModelArguments(
        args.model,
        args.threads,
        args.weights,
        args.reference,
        options=torch_options(args),
        quantile=args.quantile,
    ).with_hash()
    scorer = load_scorer(args.model, args.threads, args.weights, args.reference, arguments.options)
    _check_quantile(scorer, args.quantile)
    scorer = scorer if args.quantile is None else replace(scorer, quantile=args.quantile)
    left_out = listed.search.left_out
    origin = Origin(
        scorer.spec, scorer.runtime, scorer.note, left_out, arguments.sha256, version(), args.quantile
    )
    unfinished = resume(listed.photos, origin, form, args.out) if args.resume else None
    photos = listed.photos[unfinished.tally.images :] if unfinished else listed.photos
    elsewhere = partial(row_of, arguments=arguments.for_workers())
    if args.engine:
        rows = parallel.ray_rows(photos, elsewhere, args.address)
    else:
        rows = parallel.rows(photos, elsewhere if workers > 1 else partial(_row, scorer=scorer), workers)
    tally = write(_shown(rows, len(photos), args.out), origin, form, args.out, unfinished)
    _end(tally, origin, form, args.out)
    return _exit_code(tally, listed, origin)


def _is_finished(args: argparse.Namespace) -> bool:
    """Claims --out; whether --resume finds it whole."""
    if args.resume and args.out in (None, STREAM):
        raise UserError(
            "--out PATH with --resume", "none", "name the file that the interrupted run was to write"
        )
    if args.resume and (args.quantile is not None or torch_options(args) != DEFAULT):
        flags = "--quantile, --tta, --color-space or --device"
        raise UserError(f"--resume without {flags}, which its rows do not say", "one of them", "score anew")
    if args.resume and args.out.is_file() and not partial_path(args.out).exists() and not args.force:
        cli.note(f"{printable(str(args.out))} is whole: nothing is left to score")
        cli.emit({"out": str(args.out), "scored": 0})
        return True
    if args.out is not None:
        cli.refuse_existing(args.out, args.force)
    return False


def _refuse_memory(listed: PhotoList, workers: int) -> None:
    """memory:// is this process's own."""
    if workers > 1 and any(photo.startswith("memory://") for photo in listed.photos):
        raise UserError(
            "--workers 1 with memory://, which no other process sees", f"{workers}", "leave it out"
        )


def _exit_code(tally: Tally, listed: PhotoList, origin: Origin) -> int:
    """2 where no photo has a score, or one that was named by itself has none."""
    if listed.search.left_out:
        cli.warn(f"{listed.search}")
    pictures = [Path(photo) for photo in tally.first if not is_uri(photo)]
    if warning := constant_warning(tally.scores, pictures, origin.spec):
        cli.warn(f"warning: {warning}")
    return (
        2 if tally.failed and (not tally.scores or any(r.image in listed.named for r in tally.failed)) else 0
    )


def _shown(rows: Iterator[Row], total: int, out: Path | None) -> Iterator[Row]:
    """With progress, unless the rows themselves run down the terminal."""
    on_terminal = out in (None, STREAM) and sys.stdout is not None and sys.stdout.isatty()
    return rows if on_terminal else cli.progress(rows, "scoring", total)


def _format(name: str | None, out: Path | None) -> str:
    suffix = out.suffix.lower().removeprefix(".") if out is not None else ""
    return name or (suffix if suffix in FILE_FORMATS else "table")


def _end(tally: Tally, origin: Origin, form: str, out: Path | None) -> None:
    """The summary: the last line on stdout, or on stderr where stdout is data; then what has no score."""
    result = summary(tally, origin)
    if out is not None and out != STREAM:
        cli.emit({**result, "out": str(out)})
    elif form == "table":
        cli.emit(result, shown=True)
    elif form in ("csv", "jsonl"):
        cli.note(json.dumps(result, separators=(",", ":"), allow_nan=False))
    for row in tally.failed:
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


def _torch_scorer(source: ModelSource, threads: int, options: TorchOptions) -> Scorer:
    loaded = load_torch(source.load, options)
    import torch

    torch.set_num_threads(threads)
    inputs_of = loaded.prepare if options.patches else None
    own = not options.patches and options.color_space is None
    return Scorer(
        loaded.outputs,
        loaded.spec,
        "torch",
        inputs_of,
        module=loaded.module,
        ranged=own,
        patches=options.patches,
    )


if __name__ == "__main__":
    sys.exit(main())
