"""Trains a model: python -m mobileiqa.train --recipe NAME --data SET PATH --out RUN.

The same command goes on where a killed run stopped, and ends with the same weights. RUN holds the best
checkpoint by validation (best.safetensors), the state, CSV and TensorBoard logs and a learning curve. With
torchrun, several processes share the work and give the result of one.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa import cli, variants
from mobileiqa.datasets.core import ALLOW_OUTSIDE, SPLIT_SEED
from mobileiqa.errors import UserError
from mobileiqa.files.claims import claim, in_folder, refuse_read
from mobileiqa.spec import ColorSpace
from mobileiqa.variants import HEADS

if TYPE_CHECKING:
    from mobileiqa.training.loop import Settings
    from mobileiqa.training.recipe import Recipe


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.train --recipe lar-iqa-branch --data koniq-10k KONIQ/ --data spaq SPAQ/ --out run",
    )
    _add_inputs(parser)
    _add_execution(parser)
    return cli.command(parser, _command, argv)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, metavar="NAME", help="see mobileiqa/training/recipe.py")
    parser.add_argument(
        "--data", nargs=2, action="append", required=True, metavar=("SET", "PATH"),
        help="a set of `python -m mobileiqa.data list`, or `pristine` and a folder: distorted while training; "
        "again for multi-task training",
    )  # fmt: skip
    parser.add_argument(
        "--split-seed", type=int, default=SPLIT_SEED, metavar="N",
        help="draws the sides of sets without official ones; `--set seed=N` does not move them (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--allow-outside", action="store_true", help=ALLOW_OUTSIDE)
    parser.add_argument("--severity", type=Path, metavar="CSV", help="scores of distortions, for `pristine`")
    parser.add_argument(
        "--exclude", nargs="*", default=[], metavar="NAME", help="`pristine` images to leave out"
    )
    parser.add_argument(
        "--size", metavar="WxH", help="the model's input size, WxH,WxH for two inputs (default: its own)"
    )
    parser.add_argument(
        "--init", type=Path, nargs="+", default=[], metavar="FILE",
        help="start from a checkpoint, a timm backbone, or two branches (default: timm's pretrained weights)",
    )  # fmt: skip
    parser.add_argument("--from-scratch", action="store_true", help="start from random weights")
    parser.add_argument("--teacher", type=Path, metavar="CKPT", help="for distillation")
    parser.add_argument(
        "--head", choices=HEADS, help="a LAR-IQA model with another KAN basis as its score head"
    )
    parser.add_argument("--mals", type=int, choices=range(4), help="MobileIQA's MALs (default 3)")
    parser.add_argument(
        "--votes", action="store_true", help="predict the votes 1 to 5; the score is their mean"
    )
    parser.add_argument(
        "--color-space", nargs="+", choices=[space.value for space in ColorSpace], default=[], metavar="SPACE",
        help=f"of {', '.join(ColorSpace)}: what the model reads; of several, training draws one for each image",
    )  # fmt: skip
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="change the recipe: lr=1e-4, alpha=2, losses=mse:1,rank:0.5",
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="decode (and distort) once, and keep it here"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1... (default %(default)s)")
    parser.add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16", "fp16"), help="mixed, if not fp32"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="loader processes (default 0)")
    parser.add_argument("--save-every", type=float, default=120.0, metavar="S", help="seconds (default 120)")
    parser.add_argument("--compile", action="store_true", help="torch.compile; pays on a GPU")
    parser.add_argument(
        "--checkpointing", action="store_true", help="recompute the backbone for gradients: less memory"
    )
    parser.add_argument(
        "--minutes", type=float, default=0.0, metavar="M", help="save and stop after this time"
    )


def _command(args: argparse.Namespace) -> int:
    from mobileiqa.training.recipe import recipe, with_overrides

    recipe_ = _varied(with_overrides(recipe(args.recipe), args.set), args)
    refuse_read(args.out / "best.safetensors")
    args.out.mkdir(parents=True, exist_ok=True)
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes, which share the folder, the first one
        claim(in_folder(args.out))
    content = {name for name in os.listdir(args.out) if not name.startswith(".")}
    if content and "recipe.json" not in content:
        raise UserError(
            f"an empty folder or a training run at {args.out}", "other files", "give another --out"
        )
    from mobileiqa.training.run import Request, train

    request = Request(
        recipe_, tuple((name, Path(path)) for name, path in args.data), args.severity, args.size,
        tuple(args.init), args.from_scratch, args.teacher, args.cache,
        tuple(args.exclude), args.split_seed, args.allow_outside,
        ColorSpace(args.color_space[0]) if args.color_space else None,
    )  # fmt: skip
    result = train(request, _settings(args))
    if result is not None:  # the first process speaks for all
        cli.emit(result)
    return 0


def _varied(recipe: "Recipe", args: argparse.Namespace) -> "Recipe":
    """The recipe for the variant of its model, and the colour spaces, that the arguments ask for."""
    model = variants.combined(recipe.model, args.head, args.mals, args.votes)
    drawn = tuple(args.color_space) if len(args.color_space) > 1 else ()
    try:
        return dataclasses.replace(recipe, model=model, color_spaces=drawn)
    except ValueError as error:
        raise UserError("settings that fit together", str(error), "correct --color-space") from error


def _settings(args: argparse.Namespace) -> "Settings":
    from mobileiqa.training.distributed import usable_device
    from mobileiqa.training.loop import Settings

    return Settings(
        args.out,
        usable_device(args.device),
        args.precision,
        args.workers,
        args.save_every,
        compile=args.compile,
        checkpointing=args.checkpointing,
        stop_after_s=60 * args.minutes,
    )


if __name__ == "__main__":
    sys.exit(main())
