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
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.files.outputs import STREAM
from mobileiqa.loaded_model import (  # most of it for who imports it from here
    LoadedModel,
    ModelArguments,
    load_scorer,
    row_by,
    row_of,
    score_image,
    score_images,
)
from mobileiqa.photos.sources import PhotoList, is_uri, list_photos, parse_shard
from mobileiqa.scoring import litert, parallel
from mobileiqa.scoring.checks import constant_warning
from mobileiqa.scoring.row_files import FILE_FORMATS, partial_path, refuse_other_settings, resume, write
from mobileiqa.scoring.rows import Origin, Row, Tally, summary, version
from mobileiqa.scoring.torch_scorer import add_torch_options, torch_options
from mobileiqa.text import printable
from mobileiqa.variants import gives_votes
from mobileiqa.zoo import MODELS

__all__ = ["LoadedModel", "ModelArguments", "load_scorer", "main", "row_of", "score_image", "score_images"]


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


def _check_quantile(scorer: LoadedModel, share: float | None) -> None:
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
    if _is_finished(args, form):
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
    scorer = arguments.load()
    _check_quantile(scorer, args.quantile)
    left_out = listed.search.left_out
    origin = Origin(
        scorer.spec,
        scorer.runtime,
        scorer.note,
        left_out,
        arguments.sha256,
        version(),
        args.quantile,
        _settings(args),
    )
    unfinished = resume(listed.photos, origin, form, args.out) if args.resume else None
    photos = listed.photos[unfinished.tally.images :] if unfinished else listed.photos
    elsewhere = partial(row_of, arguments=arguments.for_workers())
    if args.engine:
        rows = parallel.ray_rows(photos, elsewhere, args.address)
    else:
        rows = parallel.rows(photos, elsewhere if workers > 1 else partial(row_by, scorer=scorer), workers)
    tally = write(_shown(rows, len(photos), args.out), origin, form, args.out, unfinished)
    _end(tally, origin, form, args.out)
    return _exit_code(tally, listed, origin)


def _settings(args: argparse.Namespace) -> str:
    """How the model is run, where that is not its own way: what decides a score beside the model and the photo."""
    values = {
        "color_space": args.color_space,
        "quantile": args.quantile,
        "reference": args.reference and integrity.sha256(args.reference)[:12],
        "weights": args.weights,
    }
    parts = [f"{name}={value}" for name, value in values.items() if value is not None]
    return "; ".join([*parts, *(["tta"] if args.tta else [])])


def _is_finished(args: argparse.Namespace, form: str) -> bool:
    """Claims --out; whether --resume finds it whole."""
    if args.resume and args.out in (None, STREAM):
        raise UserError(
            "--out PATH with --resume", "none", "name the file that the interrupted run was to write"
        )
    if args.resume and args.out.is_file() and not partial_path(args.out).exists() and not args.force:
        refuse_other_settings(args.out, form, _settings(args))
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


if __name__ == "__main__":
    sys.exit(main())
