"""Scores photos: python -m mobileiqa.score PHOTO_OR_FOLDER... [--model CHECKPOINT | FILE.tflite | NAME].

A .tflite file runs in LiteRT and never imports torch; a checkpoint or a model name runs in PyTorch. Both read
the same prepared inputs, and an image's score is the mean over its crops. A broken image is listed and the
rest goes on; one that was named by itself, not found in a folder, also makes the exit code 2.
"""

import argparse
import csv
import importlib.util
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli, litert
from mobileiqa.errors import UserError, one_line
from mobileiqa.image_search import ImageSearch, search_images
from mobileiqa.preprocess import prepare
from mobileiqa.score_checks import constant_warning, score_error
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import MODELS, UNTRAINED, build_seeded, named, refuse_weights

if TYPE_CHECKING:
    from torch import nn

PROG = "python -m mobileiqa.score"
FORMATS = ("table", "csv", "json")


@dataclass(frozen=True)
class Scorer:
    """A loaded model, whatever runs it."""

    run: litert.Runner
    spec: ModelSpec
    runtime: str  # "litert" or "torch"
    inputs_of: litert.Prepare | None = None  # an image to `run`'s inputs; None: preprocess.prepare by `spec`

    def prepare(self, image: Path) -> dict[str, NDArray[Any]]:
        """The inputs of `run` for one image; raises UserError for one that cannot be read or does not fit."""
        return self.inputs_of(image) if self.inputs_of else prepare(image, self.spec)

    @property
    def note(self) -> str:
        """What every output must say about untrained weights; empty for trained ones."""
        return UNTRAINED if self.spec.untrained else ""


@dataclass(frozen=True)
class Row:
    """One image's score, or the reason why it has none."""

    image: str
    score: float | None
    error: str = ""


def load_scorer(model: str | None = None, threads: int = 1, weights: str | None = None) -> Scorer:
    """The model in a .tflite file or a checkpoint, or by name (untrained weights); None: the reference model.

    weights: "raw" or "ema" of a checkpoint that has both. Raises UserError for anything else, and where
    PyTorch is needed but not installed.
    """
    litert.check_threads(threads)
    model = named(model)
    if Path(model).suffix.lower() == ".tflite":
        refuse_weights(weights, model)
        spec = litert.load_spec(model)
        return Scorer(litert.runner(model, threads), spec, "litert", litert.inputs_of(model))
    if model not in MODELS and not Path(model).exists():
        raise UserError(
            f"a .tflite file, a checkpoint or one of {', '.join(MODELS)}",
            f"nothing at {model}",
            "check --model",
        )
    return _torch_scorer(model, threads, weights)


def score_images(images: Iterable[Path], scorer: Scorer) -> Iterator[Row]:
    """One Row per image, in order; an unreadable image, or a score that cannot be one, gives its reason."""
    for image in images:
        try:
            inputs = scorer.prepare(image)
        except UserError as error:
            yield Row(str(image), None, one_line(str(error)))
            continue
        score = float(scorer.run(inputs).mean())
        reason = score_error(score, scorer.spec)
        yield Row(str(image), None, reason) if reason else Row(str(image), score)


def main(argv: list[str] | None = None) -> int:
    """The command. Exit 2 when no image has a score, or when one that was named by itself has none."""
    parser = cli.parser(
        PROG,
        __doc__ or "",
        "python -m mobileiqa.score holiday/ --model reference_fp16.tflite --out scores.csv",
    )
    parser.add_argument("images", nargs="+", metavar="PHOTO_OR_FOLDER", help="images, folders of images")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f".tflite file, checkpoint, or untrained weights by name: {', '.join(MODELS)}; "
        "default: the trained reference model, which needs PyTorch",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="default: by --out's suffix, else table; "
        "csv and json leave stdout to the data (the summary of csv goes to stderr)",
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="write the scores here instead of to stdout")
    parser.add_argument("--force", action="store_true", help="replace --out's file")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default 1)")
    cli.add_weights(parser)
    args = parser.parse_args(argv)
    return cli.run(PROG, lambda: _command(args))


def _command(args: argparse.Namespace) -> int:
    litert.check_threads(args.threads)
    if args.out is not None:
        cli.refuse_existing(args.out, args.force)
    search = search_images(args.images)
    scorer = load_scorer(args.model, args.threads, args.weights)
    rows = list(cli.progress(score_images(search.images, scorer), "scoring", total=len(search.images)))
    _report(rows, scorer, _format(args.format, args.out), args.out, search)
    if search.left_out:
        cli.note(f"{PROG}: {search}")
    failed = [row for row in rows if row.score is None]
    for row in failed:
        cli.note(f"{PROG}: no score for {row.image}: {row.error}")
    scored = [(row.score, Path(row.image)) for row in rows if row.score is not None]
    if warning := constant_warning([s for s, _ in scored], [p for _, p in scored], scorer.spec):
        cli.note(f"{PROG}: warning: {warning}")
    named = {str(Path(path)) for path in args.images}
    return 2 if len(failed) == len(rows) or any(row.image in named for row in failed) else 0


def _format(wanted: str | None, out: Path | None) -> str:
    suffix = out.suffix.lower().removeprefix(".") if out is not None else ""
    return wanted or (suffix if suffix in FORMATS else "table")


def _report(rows: list[Row], scorer: Scorer, form: str, out: Path | None, search: ImageSearch) -> None:
    """The scores, to `out` or to stdout; then the summary, on stderr where it would spoil CSV on stdout."""
    summary = {**_summary(rows, scorer), "left_out": search.left_out}
    text = _json(rows, summary) if form == "json" else {"table": _table, "csv": _csv}[form](rows, scorer)
    if out is not None:
        with cli.atomic(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
        cli.emit({**summary, "out": str(out)})
        return
    sys.stdout.write(text)
    if form == "table":
        cli.emit(summary)
    elif form == "csv":
        cli.note(_compact(summary))


def _summary(rows: list[Row], scorer: Scorer) -> dict[str, Any]:
    scores = [row.score for row in rows if row.score is not None]
    return {
        "model": scorer.spec.name,
        "runtime": scorer.runtime,
        "note": scorer.note,
        "score_range": scorer.spec.score_range,
        "higher_is_better": scorer.spec.higher_is_better,
        "images": len(rows),
        "scored": len(scores),
        "mean": math.fsum(scores) / len(scores) if scores else None,
        "failed": [{"image": row.image, "error": row.error} for row in rows if row.score is None],
    }


def _json(rows: list[Row], summary: dict[str, Any]) -> str:
    """One compact object: the summary and the results."""
    results = [{"image": row.image, "score": row.score} for row in rows if row.score is not None]
    return _compact({**summary, "results": results}) + "\n"


def _csv(rows: list[Row], scorer: Scorer) -> str:
    """image,score,error,note: every row says when the weights are untrained, since rows get copied around."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "score", "error", "note"))
    writer.writerows((row.image, row.score, row.error, scorer.note) for row in rows)
    return text.getvalue()


def _table(rows: list[Row], scorer: Scorer) -> str:
    low, high = scorer.spec.score_range
    better = "higher" if scorer.spec.higher_is_better else "lower"
    lines = [f"{scorer.spec.name}: score {low:g}..{high:g}, {better} is better"]
    if scorer.note:
        lines.append(scorer.note)
    lines.append(f"{'score':>9}  image")
    for row in rows:
        lines.append(f"{'-' if row.score is None else format(row.score, '.4f'):>9}  {row.image}")
    return "\n".join(lines) + "\n"


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _torch_scorer(model: str, threads: int, weights: str | None) -> Scorer:
    missing = [name for name in ("torch", "timm", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            "PyTorch, timm and safetensors for a checkpoint or a model name",
            f"no {', '.join(missing)}",
            'pip install "mobileiqa[train]", or name a .tflite file with --model',
        )
    import torch

    module, spec = _load_module(model, weights)
    torch.set_num_threads(threads)

    def run(inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        with torch.inference_mode():
            scores = module(*(torch.from_numpy(inputs[wanted.name]) for wanted in spec.inputs))
        return scores.double().numpy()

    return Scorer(run, spec, "torch")


def _load_module(model: str, weights: str | None) -> "tuple[nn.Module, ModelSpec]":
    from mobileiqa import checkpoint

    if model in MODELS:
        refuse_weights(weights, model)
        return build_seeded(model), MODELS[model].spec
    return checkpoint.load(model, weights)


if __name__ == "__main__":
    sys.exit(main())
