"""Features of photos, and regressors on them: python -m mobileiqa.features write MODEL --data SET PATH --out F.npz.

`write` stores what a model's trunk gives for every image of a set, with scores and sides: of a checkpoint, a model's
name, or `timm:NAME`, such as timm:resnet50, whose pooled features KAN4IQA reads. `fit` trains regressors on such a
file by KAN4IQA's protocol and prints how they do on its test side.
"""

import argparse
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli
from mobileiqa.datasets.core import ALLOW_OUTSIDE, SPLIT_SEED, SPLITS
from mobileiqa.errors import UserError
from mobileiqa.text import table
from mobileiqa.variants import AFFINE_HEAD, HEADS

if TYPE_CHECKING:
    from torch import nn

    from mobileiqa.spec import ModelSpec

TIMM = "timm:"
BASELINES = ("ridge", "svr")
ARRAYS = ("names", "scores", "sides", "features")


@dataclass(frozen=True)
class Features:
    """Of N images: names, scores 0..1, sides of the split, features (N, d) float32."""

    names: NDArray[np.str_]
    scores: NDArray[np.float64]
    sides: NDArray[np.str_]
    features: NDArray[np.float32]


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.features fit features.npz --regressor taylor3 svr --json fits.json",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    write = commands.add_parser("write", help="the features of a set's images, as .npz")
    write.add_argument("model", metavar="MODEL", help=f"checkpoint, model name, or {TIMM}NAME")
    write.add_argument("--data", nargs=2, required=True, metavar=("SET", "PATH"))
    write.add_argument(
        "--init", type=Path, metavar="FILE", help=f"weights of {TIMM}NAME (default: timm's, fetched)"
    )
    write.add_argument(
        "--size", metavar="WxH", help=f"of the images (default: the model's; {TIMM}NAME's own)"
    )
    write.add_argument("--split-seed", type=int, default=SPLIT_SEED, metavar="N", help="as in training")
    write.add_argument("--allow-outside", action="store_true", help=ALLOW_OUTSIDE)
    write.add_argument("--out", type=Path, required=True, metavar="PATH.npz")
    write.add_argument("--force", action="store_true", help="replace --out's file")
    write.set_defaults(command=_write)
    fit = commands.add_parser("fit", help="regressors on such a file, on its test side")
    fit.add_argument("features", type=cli.input_path, metavar="FILE.npz")
    fit.add_argument(
        "--regressor", nargs="+", choices=(*BASELINES, *HEADS), default=[*BASELINES, "taylor2", "taylor3"]
    )
    fit.add_argument(
        "--epochs", type=int, default=500, metavar="N", help="at most, of KAN heads (default 500)"
    )
    fit.add_argument(
        "--seed", type=int, default=42, metavar="S", help="of KAN heads and intervals (default 42)"
    )
    cli.add_json(fit, "the figures")
    fit.add_argument("--force", action="store_true", help="replace --json's file")
    fit.set_defaults(command=_fit)
    return cli.command(parser, lambda args: args.command(args), argv)


def _write(args: argparse.Namespace) -> int:
    if args.out.suffix.lower() != ".npz":
        raise UserError("a path ending in .npz", str(args.out), "correct --out")
    cli.refuse_existing(args.out, args.force)
    name, path = args.data
    content = features_of(
        args.model, name, Path(path), args.init, args.size, args.split_seed, args.allow_outside
    )
    save(args.out, content)
    cli.emit({"out": str(args.out), "images": len(content.names), "features": content.features.shape[1]})
    return 0


def features_of(
    model: str, name: str, path: Path, init: Path | None = None, size: str | None = None,
    split_seed: int = SPLIT_SEED, allow_outside: bool = False,
) -> Features:  # fmt: skip
    """The features of every image of a set. Raises UserError for a model that has no vector of features."""
    import torch

    from mobileiqa.datasets.registry import read
    from mobileiqa.preprocess import prepare

    samples = read(name, path, split_seed, allow_outside).samples
    module, spec = _model(model, init)
    spec = spec if size is None else spec.sized(size)
    rows = []
    for sample in cli.progress(samples, "features", len(samples)):
        inputs = prepare(sample.path, spec)
        with torch.inference_mode():
            row = module(*(torch.from_numpy(inputs[each.name]) for each in spec.inputs))
        if not isinstance(row, torch.Tensor) or row.ndim != 2:
            raise UserError(
                "a model whose features are one vector an image", spec.name, "name another, or timm:resnet50"
            )
        rows.append(row.mean(0).numpy())
    return Features(
        np.array([sample.path.name for sample in samples]), np.array([sample.score for sample in samples]),
        np.array([sample.split for sample in samples]), np.stack(rows),
    )  # fmt: skip


def _model(text: str, init: Path | None) -> "tuple[Any, ModelSpec]":
    """What gives features, and the spec of its input."""
    if text.startswith(TIMM):
        return _backbone(text.removeprefix(TIMM), init)
    if init is not None:
        raise UserError(f"{TIMM}NAME with --init", text, "leave --init out")
    from mobileiqa.loaded_model import load_scorer

    scorer = load_scorer(text)
    if scorer.module is None:
        raise UserError("a checkpoint, a model name or timm:NAME", text, "name one")
    return scorer.module.forward_features, scorer.spec


def _backbone(name: str, init: Path | None) -> "tuple[nn.Module, ModelSpec]":
    """timm's network without its classifier; photos are resized to its own input size."""
    import timm

    from mobileiqa.spec import InputSpec, ModelSpec, Resample
    from mobileiqa.training.initial_weights import load_backbone, read_backbone, stay_offline_where_closed

    if name not in timm.list_models():
        raise UserError("the name of a timm model", repr(name), "correct it: timm:resnet50")
    if init is None:
        stay_offline_where_closed()
    try:
        model = timm.create_model(name, pretrained=init is None, num_classes=0).eval()
    except (OSError, RuntimeError, ValueError) as error:
        reason = f"they could not be fetched ({type(error).__name__})"
        raise UserError(
            f"timm's pretrained weights of {name}", reason, "give them with --init FILE"
        ) from error
    if init is not None:
        load_backbone(model, read_backbone(init), init.name)
    config = model.pretrained_cfg
    _, height, width = config["input_size"]
    size = InputSpec(
        "image", height, width, resample=Resample.BILINEAR, mean=config["mean"], std=config["std"]
    )
    return model, ModelSpec(f"timm {name}", (size,))


def save(path: Path, content: Features) -> None:
    """Writes the arrays, atomically, without pickle."""
    with cli.atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(content, name) for name in ARRAYS})


def load(path: Path) -> Features:
    """The arrays of a file that `write` made. Raises UserError for another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            content = Features(*(file[name] for name in ARRAYS))
    except FileNotFoundError as error:
        raise UserError("a file of features", f"nothing at {path}", "correct the path") from error
    except (ValueError, LookupError, EOFError, BadZipFile, zlib.error, NotImplementedError) as error:
        raise UserError(
            "a file of `mobileiqa.features write`", f"{path}: {error}", "write it again"
        ) from error
    if content.features.ndim != 2 or len({len(getattr(content, name)) for name in ARRAYS}) != 1:
        raise UserError("as many names, scores and sides as rows of features", str(path), "write it again")
    if not (np.isfinite(content.features).all() and np.isfinite(content.scores).all()):
        raise UserError("finite features and scores", str(path), "write it again")
    return content


def _fit(args: argparse.Namespace) -> int:
    if args.json is not None:
        cli.refuse_existing(args.json, args.force)
    if args.epochs < 1:
        raise UserError("--epochs of 1 or more", str(args.epochs), "correct it")
    results = {}
    content = load(args.features)
    for name in args.regressor:
        if name == AFFINE_HEAD:
            cli.note(
                f"{AFFINE_HEAD} is what was published as TaylorKAN, and an affine map: compare it with ridge"
            )
        results[name] = regress(content, name, args.seed, args.epochs)
    head = [("regressor", "SRCC", "PLCC", "RMSE", "chosen on validation")]
    rows = [
        (name, *(str(r["metrics"][m]) for m in ("srcc", "plcc", "rmse")), str(r["choice"]))
        for name, r in results.items()
    ]
    cli.say(table([*head, *rows]))
    figures = {
        name: {**r, "metrics": {m: e.bounded for m, e in r["metrics"].items()}} for name, r in results.items()
    }
    if args.json is not None:
        cli.write_json(args.json, figures)
    cli.emit({name: r["metrics"]["srcc"][0] for name, r in figures.items()})
    return 0


def regress(content: Features, name: str, seed: int = 42, epochs: int = 500) -> dict[str, Any]:
    """{"choice", "metrics": name -> Estimate on the test side} of a regressor. Raises UserError for an empty side."""
    from mobileiqa import metrics
    from mobileiqa.evaluation.results import Estimate
    from mobileiqa.training.regressors import Side, fit

    sides = {}
    for side in SPLITS:
        rows = content.sides == side
        if rows.sum() < metrics.MIN_ROWS:
            raise UserError(
                f"{metrics.MIN_ROWS} images or more on the {side} side", str(rows.sum()), "write another set"
            )
        sides[side] = Side(content.features[rows].astype(np.float64), content.scores[rows])
    regressor = fit(name, sides["train"], sides["validation"], seed, epochs)
    test = sides["test"]
    scores = regressor.predict(test.features)
    values = metrics.correlations(scores, test.labels)._asdict()
    bounds = metrics.bootstrap(scores, test.labels, seed=seed)
    return {
        "choice": regressor.choice,
        "metrics": {metric: Estimate(value, *bounds[metric]) for metric, value in values.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
