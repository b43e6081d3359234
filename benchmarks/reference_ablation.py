"""What does each idea in the training of `whole-photo` give? One variant without each, at a short schedule.

    python benchmarks/reference_ablation.py PACK --init trunk.safetensors --pristine photos/ large/ \\
        --held-out val/ --severity severity.csv --photos large_val/

PACK is the folder that `python -m tools.train_reference` has made of the photos of --pristine. All variants have the
same start, the same steps and the same batches, but for the one thing that each goes without; `seed` differs from
`everything` by the order of its batches alone: what lies within that difference says nothing. Figures are
whole_photo.py's, on the first photos of each folder that no variant is trained on.

Left out, because two cores would take a day: most of the steps (training takes 1,280 of 30 copies), those at larger
views, and the tuning of the head. What is finished is not trained again; a stopped variant goes on where it was saved.
"""

import argparse
import csv
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch

from benchmarks import output, whole_photo
from benchmarks.experiment import key, once
from benchmarks.table import markdown
from mobileiqa import checkpoint, cli
from mobileiqa.errors import UserError
from mobileiqa.files.integrity import sha256
from mobileiqa.freed_memory import keep_freed_memory
from mobileiqa.models.whole_photo import VIEWS, WIDTH, WholePhoto
from mobileiqa.spec import ModelSpec
from mobileiqa.training import damage_training
from mobileiqa.training.damage import NO_CELL
from mobileiqa.training.damage_batches import Pack
from mobileiqa.training.damage_pack import ROWS
from mobileiqa.training.damage_training import Plan
from tools import train_reference

THREES_SHARE = 0.25  # of the steps: copies in two poses and damaged once more
COPIES = 20  # of a step of the first phase: time goes into steps, not into copies
CURVE_POINTS = 5
CURVES = {"val_srcc": "SRCC", "val_reasons": "first reason right"}


@dataclass(frozen=True)
class Variant:
    """What differs from `everything`."""

    about: str
    plan: Mapping[str, Any] = field(default_factory=dict)  # settings of the Plan
    views: tuple[str, ...] = VIEWS
    full_reference: bool = True  # labels where nobody rated the damage
    large: bool = True  # photos of more than train_reference.LARGE_PX


VARIANTS = {
    "everything": Variant("everything"),
    "fragments": Variant("reads the fragments only", views=("fragments",)),
    "overview": Variant("reads the overview only", views=("overview",)),
    "orders": Variant("without orders", {"order": 0.0}),
    "full-reference": Variant("without full-reference labels", full_reference=False),
    "large": Variant("without large photos", large=False),
    "seed": Variant("everything, batches in another order", {"seed": 2}),
    "poses": Variant("without the loss on poses", {"twins": 0.0}),
}


def main(argv: Sequence[str] | None = None, short: Mapping[str, Any] | None = None) -> int:
    """The command; `short`: settings of the plan, for tests."""
    return cli.command(arguments(), lambda args: compare(args, short or {}), argv)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser(
        __doc__ or "",
        "python benchmarks/reference_ablation.py runs/whole-photo --init trunk.safetensors --pristine photos/ large/ "
        "--held-out val/ --severity severity.csv",
    )
    add = parser.add_argument
    add("pack", type=Path, metavar="PACK", help="folder that tools.train_reference has made")
    add("--init", type=Path, required=True, metavar="PATH", help="weights that it started from")
    add("--pristine", nargs="+", type=Path, required=True, metavar="DIR", help="photos of the pack")
    add("--steps", type=int, default=120, metavar="N", help="of each variant (default %(default)s)")
    add("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="VARIANT",
        help=f"of {', '.join(VARIANTS)} (default: all)")  # fmt: skip
    whole_photo.add_photos(parser, limit=8, workers=2)
    add("--cache", type=Path, default=ROOT / ".cache" / "reference_ablation", metavar="DIR", help="runs")
    output.add_output(parser, "reference_ablation")
    return parser


def compare(args: argparse.Namespace, short: Mapping[str, Any]) -> int:
    """Trains, measures, prints and writes."""
    if args.steps < 2 or not args.held_out or not args.severity:
        raise UserError("two steps or more, --held-out and --severity", "less", "name what to measure on")
    picture = args.out.with_name(f"{args.out.stem}_curve.png")
    output.refuse_existing(args, picture)
    keep_freed_memory()
    args.exclude = []
    start = cache(partial(train_reference.start, args))
    plan = dataclasses.replace(plan_of(args.steps), **short)
    content = {
        "schema": 1,
        "plan": asdict(plan),
        "init_sha256": sha256(args.init),
        "pack_sha256": sha256(args.pack / ROWS),
    }
    folder = args.cache / key(content)
    results = {}
    for number, name in enumerate(args.only, 1):
        cli.note(f"{name}, {number} of {len(args.only)}")
        model = trained(VARIANTS[name], args, plan, folder / name, start)
        results[name] = once(folder / name / f"{key(_asked(args))}.json", partial(_measured, model, args))
    curve_picture({name: folder / name / "curve.csv" for name in results}, picture)
    page = report(plan, args.limit, results, picture.name)
    output.publish(
        args.out, {**content, "photos_of_each_part": args.limit, "results": results}, page, curve=str(picture)
    )
    return 0


def plan_of(steps: int) -> Plan:
    """The plan with its first and last phases in so many steps, and the curve's points evenly among them."""
    first, _, threes = Plan().phases
    last = max(1, round(steps * THREES_SHARE))
    phases = tuple(
        dataclasses.replace(phase, steps=count, batch=batch, warmup=min(phase.warmup, max(1, count // 4)))
        for phase, count, batch in ((first, steps - last, COPIES), (threes, last, threes.batch))
    )
    return dataclasses.replace(Plan(), phases=phases, validate_every=max(1, steps // CURVE_POINTS))


def trained(
    variant: Variant,
    args: argparse.Namespace,
    plan: Plan,
    folder: Path,
    start: Callable[[], tuple[WholePhoto, ModelSpec]],
) -> Path:
    """The checkpoint of a variant, trained unless it is there."""
    path = folder / "model.safetensors"
    if path.exists():
        return path
    torch.set_num_threads(args.workers)  # measuring has set it to 1
    whole, spec = start()
    model = OneView(variant.views) if variant.views != VIEWS else WholePhoto()
    model.load_state_dict(whole.state_dict())
    large = set() if variant.large else {path.name for path in train_reference.sorted_by_size(args)[1]}
    torch.manual_seed(plan.seed)  # of the cells' classifier
    plan = dataclasses.replace(plan, **variant.plan)
    damage_training.train(model, args.pack, folder, plan, partial(LesserPack, variant, large))
    model.hidden.weight.data[:, unread(variant.views)] = 0
    checkpoint.save(path, model, spec)
    (folder / "state.pt").unlink()
    return path


class OneView(WholePhoto):
    """A whole photo of which one view is read: the features of the other are 0."""

    def __init__(self, views: tuple[str, ...]) -> None:
        super().__init__()
        self.views = views

    def forward_features(self, overview: torch.Tensor, fragments: torch.Tensor) -> torch.Tensor:
        """Features (N, 768)."""
        pixels = {"overview": overview, "fragments": fragments}
        nothing = overview.new_zeros(len(overview), WIDTH // len(VIEWS))
        return torch.cat(
            [self.view_features(v, self.maps(pixels[v])) if v in self.views else nothing for v in VIEWS], 1
        )


def unread(views: tuple[str, ...]) -> torch.Tensor:
    """Of the 768 features, True for those of the other views."""
    return torch.tensor([view not in views for view in VIEWS]).repeat_interleave(WIDTH // len(VIEWS))


class LesserPack(Pack):
    """A pack of which a variant trains on less; what draws the curve stays."""

    def __init__(self, variant: Variant, large: set[str], folder: Path) -> None:
        super().__init__(folder)
        self.train = [row for row in self.train if row["photo"] not in large]
        if not variant.full_reference:
            self.train = [_human(row) for row in self.train]


def _human(row: dict) -> dict:
    """The row with the labels of its single distortions alone: all others have no cell, and full-reference labels."""
    if not row["photo"]:  # cards: their label is a constant
        return row
    pairs = zip(row["score"], row["cell"], strict=True)
    return {**row, "score": [float("nan") if cell == NO_CELL else score for score, cell in pairs]}


def _asked(args: argparse.Namespace) -> list[Any]:
    """What the figures depend on besides the weights."""
    return [
        [str(path) for path in args.photos],
        str(args.held_out),
        sha256(args.severity),
        args.blur,
        args.limit,
    ]


def _measured(model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Figures of whole_photo.py, by name."""
    checks, _ = whole_photo.checked(str(model), args)
    return {check.name: {"figure": round(check.figure, 4), "cases": check.count} for check in checks}


def curve_picture(tables: Mapping[str, Path], picture: Path) -> None:
    """Draws SRCC and first reasons right on the pack's photos that are not trained on, of every variant."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    for name, table in tables.items():
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["val_srcc"]]
        steps = [int(row["step"]) for row in rows]
        for panel, (column, title) in zip(panels, CURVES.items(), strict=True):
            panel.plot(steps, [float(row[column]) for row in rows], marker=".", label=VARIANTS[name].about)
            panel.set(xlabel="step", title=title)
    panels[1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    with cli.atomic(picture) as temporary:
        cli.save_plot(figure, temporary, dpi=90)
    plt.close(figure)


def report(plan: Plan, limit: int, results: Mapping[str, Mapping[str, Any]], picture: str) -> str:
    """The page that is committed."""
    rows = []
    for check in next(iter(results.values())):
        figures, cases = zip(*(result[check].values() for result in results.values()), strict=True)
        count = "–".join(str(each) for each in sorted({min(cases), max(cases)}))
        rows.append([check, *(f"{figure:.4g}" for figure in figures), count])
    one, threes = (phase.steps for phase in plan.phases)
    noise = "Nothing was trained twice (`--only seed`), so small differences say nothing."
    if "seed" in results:
        noise = f"'{VARIANTS['seed'].about}': what two runs differ by; smaller differences say nothing."
    return (
        "# What each idea in the reference's training gives\n\n"
        "Made by `python benchmarks/reference_ablation.py`. "
        f"A short schedule: {one} steps of {COPIES} copies and {threes} in which ten copies come in two poses each and "
        "damaged once more (the reference: 860 and 80 of 30 copies, and 150), one seed, and no tuning of the head. "
        f"Measured as `whole_photo.py` does, on the first {limit} photos of each folder; no variant is trained on "
        f"them. {noise}\n\n"
        f"{markdown(['', *(VARIANTS[name].about for name in results), 'cases'], rows)}\n\n"
        f"![SRCC and first reasons right while training]({picture})\n"
    )


if __name__ == "__main__":
    sys.exit(main())
