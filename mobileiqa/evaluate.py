"""Evaluates models on a labelled set: python -m mobileiqa.evaluate MODEL... --data SET PATH.

SRCC, PLCC, KRCC, RMSE, MAE and, after the logistic fit, PLCC and RMSE, with 95 % intervals; SRCC within each
distortion; pairs of levels. A MODEL is a checkpoint, a .tflite file or a model name; several are compared
side by side, FP32 with FP16 and INT8 for instance. Scores and labels are both brought to 0..1, higher being
better, by their own ranges. A set without official sides is split as it was for the model's training, and images
that a model was trained on are refused. For a cross-dataset figure, name a set that the model was not trained on,
with --split all: MSLIQA trains on kadid-10k and tests on all of tid2013.
"""

import argparse
import importlib.util
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli
from mobileiqa.checkpoint import PUBLISHED_SUFFIXES
from mobileiqa.datasets.core import ALLOW_OUTSIDE, SPLIT_SEED
from mobileiqa.errors import UserError, install_command, one_line
from mobileiqa.evaluation import leakage, report
from mobileiqa.evaluation.report import Comparison, Images, Model
from mobileiqa.evaluation.results import evaluate
from mobileiqa.loaded_model import load_scorer
from mobileiqa.model_source import WORD, resolve
from mobileiqa.photos.loading import load_image
from mobileiqa.scoring.checks import constant_warning
from mobileiqa.scoring.torch_scorer import DEFAULT, TorchOptions, add_torch_options, torch_options
from mobileiqa.spec import ColorManagement, ModelSpec

if TYPE_CHECKING:
    from PIL import Image

    from mobileiqa.datasets.core import Dataset, Sample

NEEDED = ("scipy", "matplotlib")
SPLITS = ("test", "validation", "train", "all")
# Sets numbered as KADID-10k is, unless they name a distortion otherwise. Elsewhere a higher level need not be
# worse: TID2013's contrast gets weaker and stronger in turn.
KADID_NUMBERED = ("kadid-10k", "folder")


def main(argv: list[str] | None = None) -> int:
    """The command. Exit 2, with nothing written, when an image cannot be read or a score is not finite."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.evaluate fp32.tflite int8.tflite --data kadid-10k KADID/ --out report",
    )
    add = parser.add_argument
    add(
        "models",
        nargs="*",
        metavar="MODEL",
        help="checkpoint, .tflite file or name; none: the reference model",
    )
    add("--data", nargs=2, required=True, metavar=("SET", "PATH"), help="see python -m mobileiqa.data list")
    add("--split", choices=SPLITS, help="default: test, or validation in a set without a test side")
    add("--split-seed", type=int, metavar="N",
        help=f"draws the sides of sets without official ones (default: as in training, else {SPLIT_SEED})")  # fmt: skip
    add("--seed", type=int, default=0, metavar="S", help="of --limit and intervals (default 0)")
    add("--limit", type=int, metavar="N", help="evaluate N images only, drawn by --seed")
    add("--allow-outside", action="store_true", help=ALLOW_OUTSIDE)
    add("--threads", type=int, default=1, metavar="N", help="CPU threads (default 1)")
    cli.add_weights(parser)
    add_torch_options(parser)
    add(
        "--with-references",
        action="store_true",
        help="of a checkpoint that compares: each image beside its pristine original, as its set has it",
    )
    add("--out", type=Path, metavar="DIR", help=f"write {', '.join(report.FILES)} here")
    cli.add_json(parser, f"{report.FILES[0]}'s content")
    add("--force", action="store_true", help="replace the files that are written")
    add("--skip-unreadable", action="store_true", help="leave out, and list, images that cannot be read")
    add("--skip-trained", action="store_true", help="leave out, and list, images that a model was trained on")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    for name in ("threads", "limit"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f"--{name} of 1 or more", str(value), f"correct --{name}")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the packages {', '.join(NEEDED)}", f"no {', '.join(missing)}", install_command("train")
        )
    outputs = [args.out / name for name in report.FILES] if args.out else []
    for path in [*outputs, args.json] if args.json else outputs:
        cli.refuse_existing(path, args.force)
    options = replace(torch_options(args), reference=args.with_references)
    models = load_models(args.models, args.threads, args.weights, options)
    specs = {model.label: model.scorer.spec for model in models}
    images = read_untrained(
        specs, (args.data[0], Path(args.data[1])), args.split, args.limit, args.seed, args.split_seed,
        args.skip_trained, args.allow_outside,
    )  # fmt: skip
    images, scores = score_images(images, models, args.skip_unreadable)
    _warn_of_constant_scores(images, models, scores)
    evaluations = tuple(evaluate(row, images.samples, images.monotone, args.seed) for row in scores)
    compared = Comparison(images, models, scores, evaluations)
    cli.say(report.text(compared))
    if args.out:
        report.write(compared, args.out)
    if args.json:
        cli.write_json(args.json, report.as_json(compared))
    cli.emit(report.summary(compared, args.out))
    return 0


def read_untrained(
    specs: Mapping[str, ModelSpec],
    data: tuple[str, Path],
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    split_seed: int | None = None,
    skip_trained: bool = False,
    allow_outside: bool = False,
) -> Images:
    """`read_images`, split as in the models' training where no seed is given, with what leaks; specs: by label.

    Raises UserError for images that a model was trained on, unless they are skipped or `split` insists on them.
    """
    from mobileiqa.datasets.registry import read

    name, path = data
    if split_seed is None:
        split_seed = leakage.split_seed(specs, read(name, path, SPLIT_SEED, allow_outside))
    images = read_images(name, path, split, limit, seed, split_seed, allow_outside)
    leaks = leakage.leakages(
        specs, images.dataset, images.samples, lambda other: read(name, path, other, allow_outside)
    )
    if skip_trained and (rows := leakage.refused_rows(leaks, images.split)):
        return _without(images, rows, leaks)
    leakage.refuse(leaks, images.split, [images.name(sample) for sample in images.samples])
    return replace(images, leaks=leaks)


def _without(images: Images, rows: frozenset[int], leaks: tuple[leakage.Leakage, ...]) -> Images:
    """The images without these rows. Raises UserError where none is left."""
    for row in sorted(rows):
        cli.warn(f"left out, as a model was trained on it: {images.name(images.samples[row])}")
    left = tuple(sample for row, sample in enumerate(images.samples) if row not in rows)
    if not left:
        raise UserError(
            "an image that no model was trained on", f"none in {images.split}", "name another set"
        )
    none_left = tuple(replace(leak, train=frozenset(), validation=frozenset()) for leak in leaks)
    return replace(images, samples=left, trained_left_out=len(rows), leaks=none_left)


def read_images(
    name: str,
    path: Path,
    split: str | None,
    limit: int | None,
    seed: int,
    split_seed: int = SPLIT_SEED,
    allow_outside: bool = False,
) -> Images:
    """The images of a side; None: test, or validation where there is no test side, which split_note says.

    Raises UserError when the set cannot be read or the side is empty.
    """
    from mobileiqa.datasets.registry import read

    dataset = read(name, path, split_seed, allow_outside)
    side, note = (split, "") if split else _best_side(dataset, path)
    samples = dataset.samples if side == "all" else dataset.of(side)
    if not samples:
        raise UserError(f"images in the {side} split of {path}", _counts(dataset), "choose another --split")
    if limit is not None and limit < len(samples):
        rows = np.random.default_rng(seed).choice(len(samples), limit, replace=False)
        samples = tuple(samples[i] for i in sorted(rows))
    samples, monotone = _as_kadid(samples) if name in KADID_NUMBERED else (samples, frozenset())
    return Images(dataset, path if path.is_dir() else path.parent, side, samples, monotone, split_note=note)


def _best_side(dataset: "Dataset", path: Path) -> tuple[str, str]:
    """test where there is one, else validation, and what there is to say of that."""
    if dataset.of("test"):
        return "test", ""
    if not dataset.of("validation"):
        raise UserError(
            f"a test or a validation split in {path}", _counts(dataset), "insist with --split train or all"
        )
    return "validation", "there is no test side here"


def _counts(dataset: "Dataset") -> str:
    counts = Counter(sample.split for sample in dataset.samples)
    return ", ".join(f"{count} {side}" for side, count in sorted(counts.items()))


def _as_kadid(samples: "tuple[Sample, ...]") -> "tuple[tuple[Sample, ...], frozenset[int]]":
    """The samples, unnamed distortions named as KADID-10k's, and which numbers stand for its monotone ones."""
    from mobileiqa.distortions.kadid10k import DISTORTIONS

    known = {number: distortion.name for number, distortion in DISTORTIONS.items()}
    named = tuple(
        replace(s, distortion_name=s.distortion_name or known.get(s.distortion, "")) for s in samples
    )
    same = {s.distortion for s in named if s.distortion_name == known.get(s.distortion)}
    return named, frozenset(number for number in same if DISTORTIONS[number].monotone)


def load_models(
    names: Sequence[str], threads: int, weights: str | None = None, options: TorchOptions = DEFAULT
) -> tuple[Model, ...]:
    """The models, each with a label of its own: its file's name, or its whole path where names are equal.

    weights: "raw" or "ema", for those that are published checkpoints. With options, all must be checkpoints.
    """
    if doubled := [name for name, n in Counter(names).items() if n > 1]:
        raise UserError("different models", f"{doubled[0]} more than once", "name each once")
    files = Counter(Path(name).name for name in names)
    models = []
    for name in names or [None]:
        published = name is not None and name.lower().endswith(PUBLISHED_SUFFIXES)
        own_weights = weights if published or len(names) < 2 else None
        scorer = load_scorer(name or WORD, threads, own_weights, None, options)
        path = resolve(name).path
        label = "reference" if name is None else Path(name).name if files[Path(name).name] == 1 else name
        models.append(Model(label, path, scorer))
    return tuple(models)


def score_images(images: Images, models: Sequence[Model], skip: bool) -> tuple[Images, np.ndarray]:
    """Every model's scores, float64 (models, images), 0..1 by the models' own ranges, and the images scored.

    An image that cannot be read, or that a model does not take, is left out and listed with `skip`; without,
    UserError names them all once the rest is done. Raises UserError, too, for a score that is not finite.
    """
    rows, scored, broken = [], [], []
    managements = {model.scorer.spec.color_management for model in models}
    originals = images.dataset.reference_files
    _check_originals(images, models)
    for sample in cli.progress(images.samples, "scoring", len(images.samples)):
        try:
            pictures = {colors: load_image(sample.path, colors) for colors in managements}
            inputs = prepared(pictures, models, originals.get(sample.reference))
        except UserError as error:
            broken.append((images.name(sample), one_line(str(error))))
            continue
        rows.append(_scores(inputs, models, images.name(sample)))
        scored.append(sample)
    for name, reason in broken:
        cli.warn(f"no score for {name}: {reason}")
    if broken and not skip:
        raise UserError(
            f"{len(images.samples)} images that can be read",
            f"{len(broken)} that cannot ({broken[0][0]}{', ...' if len(broken) > 1 else ''})",
            "copy them again, or leave them out with --skip-unreadable",
        )
    scores = np.array(rows, np.float64).reshape(-1, len(models)).T
    return replace(images, samples=tuple(scored), skipped=tuple(broken)), scores


def _check_originals(images: Images, models: Sequence[Model]) -> None:
    """Raises UserError where a model compares with originals that the set does not have."""
    compares = [model.label for model in models if model.scorer.compares]
    without = [s for s in images.samples if s.reference not in images.dataset.reference_files]
    if compares and without:
        raise UserError(
            f"each image's pristine original in {images.root} for {compares[0]}",
            f"none of {images.name(without[0])} and {len(without) - 1} more",
            "name a set that has them, such as kadid-10k, or leave --with-references out",
        )


def _warn_of_constant_scores(images: Images, models: Sequence[Model], scores: np.ndarray) -> None:
    """One line on stderr for each model that scores all of the images alike."""
    paths = [sample.path for sample in images.samples]
    for model, row in zip(models, scores, strict=True):
        unit = replace(model.scorer.spec, score_range=(0.0, 1.0))
        if warning := constant_warning(list(row), paths, unit):
            cli.warn(f"warning: {model.label}: {warning}")


def prepared(
    pictures: "Mapping[ColorManagement, Image.Image]", models: Sequence[Model], original: Path | None = None
) -> list[Mapping[str, NDArray[Any]]]:
    """The inputs of each model, which those of equal inputs and colours share; original: of one that compares.

    Raises UserError for a photo of a size that a file with embedded preprocessing does not take.
    """
    inputs: dict[Any, Mapping[str, NDArray[Any]]] = {}
    rows = []
    for scorer in (model.scorer for model in models):
        spec = scorer.spec
        key = spec.color_management, spec.inputs, scorer.embedded, scorer.patches
        if key not in inputs:
            inputs[key] = scorer.prepare(
                pictures[spec.color_management], original if scorer.compares else None
            )
        rows.append(inputs[key])
    return rows


def _scores(inputs: Sequence[Mapping[str, NDArray[Any]]], models: Sequence[Model], name: str) -> list[float]:
    """One score per model, 0..1."""
    scores = []
    for model, arrays in zip(models, inputs, strict=True):
        spec = model.scorer.spec
        score = float(model.scorer.run(arrays).mean())
        if reason := model.scorer.problem(score):
            raise UserError(f"a score in the range of {model.label}", f"{name}: {reason}", "check the model")
        scores.append(_unit(score, spec))
    return scores


def _unit(score: float, spec: ModelSpec) -> float:
    """The score in 0..1, higher being better, by the model's own range."""
    low, high = spec.score_range
    share = (score - low) / (high - low)
    return share if spec.higher_is_better else 1 - share


if __name__ == "__main__":
    sys.exit(main())
