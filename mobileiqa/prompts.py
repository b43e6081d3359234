"""Visual prompts on a frozen vision-language model: python -m mobileiqa.prompts --model DIR --data SET PATH --out RUN.

Trains the prompt on the set's training side, keeps the best epoch by validation, and scores the test side. DIR is a
local model that transformers reads (LLaVA-like); only the prompt is trained and saved (visual_prompt.safetensors).
Sides are drawn by reference where a set has references; --split-by image draws them by image, as the released code
does on KADID-10k: all references are then on every side, and its figures are not comparable with honest ones.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa import cli
from mobileiqa.datasets.core import ALLOW_OUTSIDE, SPLIT_SEED, SPLITS, Sample, draw_split
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from mobileiqa.models.visual_prompts import VisualPrompt

KINDS = ("padding", "patch", "patch-top-left", "full")
FILE = "visual_prompt.safetensors"


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.prompts --model llava/ --data kadid-10k KADID/ --prompt padding --out run",
    )
    add = parser.add_argument
    add(
        "--model",
        type=cli.input_path,
        required=True,
        metavar="DIR",
        help="a vision-language model, never fetched",
    )
    add("--data", nargs=2, required=True, metavar=("SET", "PATH"), help="see python -m mobileiqa.data list")
    add("--prompt", choices=KINDS, default="padding", help="where the pattern is (default %(default)s)")
    add(
        "--prompt-size",
        type=int,
        default=30,
        metavar="PX",
        help="of a border or a patch (default %(default)s)",
    )
    add("--split-by", choices=("reference", "image"), default="reference", help="(default %(default)s)")
    add("--split-seed", type=int, default=SPLIT_SEED, metavar="N", help="draws the sides")
    add("--allow-outside", action="store_true", help=ALLOW_OUTSIDE)
    add(
        "--normalization",
        choices=("imagenet", "clip"),
        default="imagenet",
        help="the released code's, or CLIP's",
    )
    add("--lr", type=float, default=60.0, help="of SGD (default %(default)s)")
    add("--epochs", type=int, default=25, metavar="N", help="at most (default %(default)s)")
    add("--batch", type=int, default=4, metavar="N", help="images (default %(default)s)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1... (default %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="the run's folder; the same command goes on")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    from mobileiqa import metrics
    from mobileiqa.models.visual_prompts import VisualPrompt
    from mobileiqa.training.prompt_tuning import Tuning, load_scorer, predict, tune

    if not (args.lr > 0 and min(args.epochs, args.batch) > 0):
        raise UserError(
            "--lr, --epochs and --batch above 0", f"{args.lr}, {args.epochs}, {args.batch}", "correct them"
        )
    sides = sides_of(args)
    import torch

    scorer = load_scorer(args.model, args.normalization).to(args.device)
    torch.manual_seed(Tuning.seed)
    prompt = VisualPrompt(args.prompt, args.prompt_size, scorer.side).to(args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    tuning = Tuning(args.lr, args.epochs, args.batch)
    validation = tune(prompt, scorer, sides["train"], sides["validation"], tuning, args.out)
    _save(args.out / FILE, prompt, args)
    scores = predict(prompt, scorer, sides["test"], args.batch)
    figures = metrics.correlations(scores, [sample.score for sample in sides["test"]])
    trained = sum(p.numel() for p in prompt.parameters())
    cli.say(
        f"test, {len(scores)} images, sides by {args.split_by}: SRCC {figures.srcc:.4f}, PLCC {figures.plcc:.4f}"
    )
    cli.emit({
        "prompt": args.prompt, "parameters": trained, "split_by": args.split_by, "best": validation,
        "test": figures._asdict(), "checkpoint": str(args.out / FILE),
    })  # fmt: skip
    return 0


def sides_of(args: argparse.Namespace) -> dict[str, list[Sample]]:
    """Side -> samples. Raises UserError for a side with fewer than three images."""
    from mobileiqa.datasets.registry import read

    name, path = args.data
    samples = read(name, Path(path), args.split_seed, args.allow_outside).samples
    if args.split_by == "image":
        if any(sample.reference for sample in samples):
            cli.warn("sides by image: the same originals are on every side, and figures are too good")
        drawn = draw_split((str(sample.path) for sample in samples), args.split_seed)
        samples = tuple(dataclasses.replace(s, split=drawn[str(s.path)]) for s in samples)
    sides = {side: [s for s in samples if s.split == side] for side in SPLITS}
    for side, members in sides.items():
        if len(members) < 3:
            raise UserError(f"three or more images on the {side} side", str(len(members)), "name another set")
    return sides


def _save(path: Path, prompt: "VisualPrompt", args: argparse.Namespace) -> None:
    """The prompt alone, under the public code's keys; what it is stands in the header."""
    from safetensors.torch import save_file

    about = {"prompt": args.prompt, "size": str(args.prompt_size), "normalization": args.normalization}
    with cli.atomic(path) as temporary:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in prompt.state_dict().items()},
            temporary,
            metadata=about,
        )


if __name__ == "__main__":
    sys.exit(main())
