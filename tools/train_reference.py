"""Trains the model in the box from pristine photos alone: python -m tools.train_reference PRISTINE... --severity CSV

Four stages in one folder: full-reference labels are calibrated to KADID-10k's human means; every photo is damaged in
many ways and packed as both views of the model; `whole-photo` is trained on them, from a trunk that knows distortions
(--init: a lar-iqa-lite checkpoint); its head is tuned. All but the last are taken up where they were left. Then:
python -m tools.ship_reference OUT/best.safetensors
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mobileiqa import cli
from mobileiqa.datasets.core import SPLIT_SEED
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from mobileiqa.training.damage_pack import Photos
    from mobileiqa.training.full_reference import Cell

MODEL = "whole-photo"
LARGE_PX = 300_000  # a photo with more pixels is damaged more often: fewer have as much to show
HELD_EVERY = 40  # one photo of so many, by name, validates where the start has validated on none
GROUPS = (5, 8)  # of ten copies, of each small and each large photo
CARDS = 20  # groups of pictures with nothing to judge
SETTINGS = "pack.json"
SHORT = {
    "cell_photos": 1,
    "full_size_photos": 1,
    "pristine_photos": 1,
    "groups": 2,
}  # with --steps: to try it


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return cli.command(arguments(), _command, argv)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser(
        __doc__ or "",
        "python -m tools.train_reference photos/ large/ --severity severity.csv --init trunk.safetensors",
    )
    parser.add_argument("pristine", nargs="+", type=Path, metavar="DIR", help="folders of undistorted photos")
    parser.add_argument("--severity", type=Path, required=True, metavar="CSV", help="KADID-10k's mean scores")
    parser.add_argument(
        "--init", type=Path, required=True, metavar="PATH", help="whole-photo or lar-iqa-lite weights"
    )
    parser.add_argument("--exclude", nargs="*", default=[], metavar="NAME", help="photos to leave out")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/whole-photo"), metavar="DIR", help="default %(default)s"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="processes that damage photos (default %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1... (default %(default)s)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="mixed, if not fp32")
    parser.add_argument("--seed", type=int, default=5, help="of damage and order (default %(default)s)")
    parser.add_argument(
        "--steps", type=int, default=0, metavar="N", help="of each phase (default: the plan's)"
    )
    return parser


def _command(args: argparse.Namespace) -> int:
    from mobileiqa import checkpoint
    from mobileiqa.distortions import kadid10k
    from mobileiqa.freed_memory import keep_freed_memory
    from mobileiqa.training import damage_training
    from mobileiqa.training.distributed import usable_device, use_tensor_cores
    from mobileiqa.training.head_features import Counts
    from mobileiqa.training.head_tuning import HeadPlan, tune
    from mobileiqa.training.loop import PRECISIONS
    from mobileiqa.training.validation import Runtime

    keep_freed_memory()
    runtime = Runtime(usable_device(args.device), PRECISIONS[args.precision])
    use_tensor_cores(runtime.device)
    args.out.mkdir(parents=True, exist_ok=True)
    model, spec = start(args)
    plan = damage_training.Plan()
    if args.steps:
        plan = dataclasses.replace(
            plan, phases=tuple(dataclasses.replace(p, steps=args.steps) for p in plan.phases)
        )
    labels, photos = kadid10k.read_labels(args.severity), photos_of(args)
    packed(args, labels, photos)
    damage_training.train(model, args.out, args.out, plan, runtime=runtime)
    tuning = HeadPlan(steps=args.steps, counts=Counts(**SHORT)) if args.steps else HeadPlan()
    figures, count = tune(model, photos, labels, args.out, tuning), len(photos.small) + len(photos.large)
    spec = dataclasses.replace(
        spec,
        trained_on=f"{count} pristine photos, damaged; transferred KADID scores and, where there are none, "
        f"KADID-calibrated full-reference scores; from {args.init.name}",
    )
    path = checkpoint.save(args.out / "best.safetensors", model, spec, force=True)
    curve_picture(args.out / "curve.csv", args.out / "curve.png")
    steps = sum(p.steps for p in plan.phases)
    cli.emit({"checkpoint": str(path), "photos": count, "steps": steps, "head": figures})
    return 0


def curve_picture(table: Path, picture: Path) -> None:
    """Draws curve.csv: what each loss was, and the correlations on photos that are not trained on."""
    import csv

    import matplotlib.pyplot as plt

    with table.open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, names in zip(
        panels, (("mse", "plcc", "reasons", "order"), ("val_srcc", "val_plcc", "val_reasons")), strict=True
    ):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            panel.plot(*zip(*points, strict=True), marker="." if name.startswith("val") else "", label=name)
        panel.set_xlabel("step")
        if panel.lines:
            panel.legend()
    panels[0].set_yscale("log")
    panels[0].set_title("training losses, means of 20 steps")
    panels[1].set_title("copies of photos that are not trained on")
    with cli.atomic(picture) as temporary:
        cli.save_plot(figure, temporary, dpi=90)
    plt.close(figure)


def start(args: argparse.Namespace):  # noqa: ANN201 (torch is imported inside)
    """The model before its first step, and its spec with the record of every image that it will have seen."""
    import torch

    from mobileiqa import checkpoint
    from mobileiqa.training import damage_training, records
    from mobileiqa.training.initial_weights import initialize
    from mobileiqa.training.pixel_sources import synthetic
    from mobileiqa.zoo import build, entry

    torch.manual_seed(damage_training.Plan().seed)
    source, source_spec = checkpoint.load(args.init)
    model, spec = build(MODEL), entry(MODEL).spec
    cli.note(f"{MODEL} from {initialize(model, MODEL, [args.init], from_scratch=False)}")
    if source_spec.name == "lar-iqa-lite":
        model.early.load_state_dict(source.early.state_dict())
    one_score = {(1, 1): 3.0}  # the record does not depend on which distortions there are
    sets = [synthetic(folder, one_score, SPLIT_SEED, 0.0, excluded(args, folder)) for folder in args.pristine]
    record = records.of_sets(sets).with_earlier([(args.init.name, source_spec.training)])
    return model, dataclasses.replace(spec, training=record)


def excluded(args: argparse.Namespace, folder: Path) -> list[str]:
    """Those of --exclude that lie in `folder`. UserError for a name that is in no folder."""
    unknown = [name for name in args.exclude if not any((each / name).is_file() for each in args.pristine)]
    if unknown:
        raise UserError("photos of the given folders to leave out", ", ".join(unknown), "correct --exclude")
    return [name for name in args.exclude if (folder / name).is_file()]


def sorted_by_size(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """The photos of the command: small ones, and large ones."""
    from PIL import Image

    from mobileiqa.photos.search import find_images
    from mobileiqa.training import damage_pack

    small, large = [], []
    for path in [p for p in find_images(args.pristine) if p.name not in args.exclude]:
        with Image.open(path) as image:
            (large if image.width * image.height > LARGE_PX else small).append(path)
    if len(small) < damage_pack.CALIBRATION_PHOTOS:
        expected = f"{damage_pack.CALIBRATION_PHOTOS} photos or more of at most {LARGE_PX} pixels"
        raise UserError(expected, str(len(small)), "name a folder of small pristine photos, too")
    return small, large


def photos_of(args: argparse.Namespace) -> "Photos":
    """The photos of the command. What --init has validated on validates again: nothing was trained on it."""
    from mobileiqa import checkpoint
    from mobileiqa.training import damage_pack
    from mobileiqa.training_record import reference_key

    small, large = sorted_by_size(args)
    record = checkpoint.load_spec(args.init).training
    known = record.keys("validation") if record else frozenset()
    names = sorted(path.name for path in (*small, *large))
    held_back = [name for name in names if reference_key("pristine", name) in known] or names[::HELD_EVERY]
    cli.note(f"{len(held_back)} of {len(names)} photos validate")
    return damage_pack.Photos(tuple(small), tuple(large), frozenset(held_back))


def packed(args: argparse.Namespace, labels: "dict[Cell, float]", photos: "Photos") -> None:
    """Makes the pack, unless this very one is there already."""
    from mobileiqa.training import damage_pack

    jobs = damage_pack.photo_order(photos.small, photos.large, GROUPS, CARDS, args.seed)
    names, held_back = [p.name if p else "" for p in jobs], sorted(photos.held_back)
    settings = {"seed": args.seed, "photos": names, "validate": held_back}
    path = args.out / SETTINGS
    if not path.exists() or json.loads(path.read_text()) != settings:
        (args.out / "state.pt").unlink(missing_ok=True)  # it has read another pack
        figures = damage_pack.calibrate(photos.small, labels, args.out, args.seed)
        cli.note(
            f"full-reference labels on distortions left out: SRCC {figures['srcc']:.3f}, PLCC {figures['plcc']:.3f}"
        )
        damage_pack.pack(jobs, held_back, labels, args.out, args.seed, args.workers)
        cli.write_json(path, settings)


if __name__ == "__main__":
    sys.exit(main())
