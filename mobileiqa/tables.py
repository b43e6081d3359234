"""Published tables, each one command: python -m mobileiqa.tables NAME --data SET ROOT --out DIR; `list` names them.

Every row is trained and tested as mobileiqa/evaluation/published.py says; the paper's figures stand beside ours, with
95 % intervals. The same command goes on where it was stopped. `--try` runs every row for one step at a tiny size, on
any set, to see that it works before a GPU is busy for days; its figures say nothing.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileiqa import cli, typed_json
from mobileiqa.errors import UserError
from mobileiqa.evaluation.published import TABLES, Reading, Row, Table
from mobileiqa.spec import ColorSpace
from mobileiqa.text import table as aligned

if TYPE_CHECKING:
    from mobileiqa.training.loop import Settings
    from mobileiqa.training.recipe import Recipe
    from mobileiqa.training.run import Request

RESULT = "result.json"
Metrics = dict[str, list[float]]  # metric -> value, low, high
# In place of models that take a minute a step on a CPU, with --try.
SMALLER = {"mobilenet-iqa": "mobilenet-iqa-small", "mobilevit-iqa": "mobilenet-iqa-small"}
TRY_BATCH, TRY_PX = 2, 64


@dataclass(frozen=True)
class Context:
    """Where the sets lie, where rows are kept, and how rows are run."""

    table: Table
    data: Mapping[str, tuple[str, Path]]  # the set that a table names -> the one that is read, and where
    out: Path
    device: str
    precision: str
    workers: int
    tried: bool
    from_scratch: bool
    init: Path | None


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        __doc__ or "",
        "python -m mobileiqa.tables msliqa.tid2013 --data kadid-10k KADID/ --data tid2013 TID/ --out t/",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="a table that `list` names, or list")
    add(
        "--data",
        nargs=2,
        action="append",
        default=[],
        metavar=("SET", "PATH"),
        help="each set that the table needs",
    )
    add("--out", type=Path, metavar="DIR", help="the rows' runs and figures, and table.txt")
    add(
        "--try",
        dest="tried",
        action="store_true",
        help="one tiny step of each row, on any sets: does it run?",
    )
    add("--from-scratch", action="store_true", help="no pretrained backbones")
    add("--init", type=Path, metavar="FILE", help="the backbone of every row, where timm's cannot be fetched")
    add("--device", default="cpu", help="cpu, cuda, cuda:1... (default %(default)s)")
    add("--precision", default="fp32", choices=("fp32", "bf16", "fp16"), help="mixed, if not fp32")
    add("--workers", type=int, default=0, metavar="N", help="loader processes (default 0)")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    if args.name == "list":
        cli.say(listing())
        cli.emit({"tables": list(TABLES)})
        return 0
    if args.name not in TABLES:
        raise UserError(
            f"one of the tables {', '.join(TABLES)}, or list", repr(args.name), "correct the name"
        )
    if args.out is None:
        raise UserError("--out DIR, a folder for the rows' runs", "none", "add it")
    context = _context(TABLES[args.name], args)
    figures = {row.label: figures_of(row, context) for row in context.table.rows}
    text = report(context.table, figures, args.tried)
    cli.say(text)
    cli.write_text(args.out / "table.txt", text + "\n")
    cli.emit({"table": args.name, "tried": args.tried, "rows": figures, "out": str(args.out)})
    return 0


def listing() -> str:
    """Every table with what it needs."""
    head = [("table", "about", "rows", "sets", "of")]
    rows = [(t.name, t.title, str(len(t.rows)), ", ".join(t.needs), t.source) for t in TABLES.values()]
    return aligned([*head, *rows])


def _context(table: Table, args: argparse.Namespace) -> Context:
    sets = [(name, Path(path)) for name, path in args.data]
    if args.tried:
        if not sets:
            raise UserError("a set to try the table on", "no --data", "add --data SET PATH")
        data = {need: sets[min(i, len(sets) - 1)] for i, need in enumerate(table.needs)}
    else:
        data = {name: (name, path) for name, path in sets}
        if set(data) != set(table.needs):
            needs = " ".join(f"--data {name} PATH" for name in table.needs)
            names = ", ".join(name for name, _ in sets) or "none"
            raise UserError(f"the sets of {table.name}: {needs}", names, "add or correct --data")
    return Context(
        table, data, args.out, args.device, args.precision, args.workers, args.tried,
        args.from_scratch or args.tried, args.init,
    )  # fmt: skip


def figures_of(row: Row, context: Context) -> dict[str, Metrics]:
    """reading -> metric -> value and interval; from the row's folder where it is done already."""
    folder = folder_of(row, context)
    key = {
        "row": dataclasses.asdict(row), "tried": context.tried,
        "data": {need: [name, str(path.resolve())] for need, (name, path) in context.data.items()},
    }  # fmt: skip
    path = folder / RESULT
    if path.exists():
        content = typed_json.parse_object(typed_json.content_of(path), str(path), "remove it")
        if content.get("of") == json.loads(json.dumps(key)):
            return content["figures"]
        raise UserError(f"a row of the same table and sets in {folder}", "another one", "give another --out")
    cli.note(f"{context.table.name}: {row.label}")
    figures = _regressed(row, context) if row.regressor else _trained(row, context, folder)
    cli.write_json(path, {"of": key, "figures": figures})
    return figures


def folder_of(row: Row, context: Context) -> Path:
    """Where a row's run is."""
    return context.out / re.sub(r"[^\w.-]+", "-", row.label).strip("-").lower()


def _trained(row: Row, context: Context, folder: Path) -> dict[str, Metrics]:
    from mobileiqa.training.run import BEST, train

    folder.mkdir(parents=True, exist_ok=True)
    train(_request(row, context), _settings(context, folder))
    readings = context.table.readings
    return {reading.name: _tested(folder / BEST, reading, context) for reading in readings}


def _settings(context: Context, folder: Path) -> "Settings":
    from mobileiqa.training.distributed import local_device
    from mobileiqa.training.loop import Settings

    return Settings(folder, local_device(context.device), context.precision, context.workers)


def _request(row: Row, context: Context) -> "Request":
    from mobileiqa.training.run import Request

    recipe, size = recipe_of(row, context.tried), row.size
    if context.tried:
        size = _tiny_size(recipe.model)
    own = next(r for r in context.table.rows if r.label == row.teacher) if row.teacher else None
    return Request(
        recipe,
        tuple(context.data[name] for name in context.table.train),
        size=size,
        init=() if context.init is None else (context.init,),
        from_scratch=context.from_scratch,
        teacher=folder_of(own, context) / "best.safetensors" if own else None,
        color_space=ColorSpace(row.color_spaces[0]) if row.color_spaces else None,
    )


def recipe_of(row: Row, tried: bool) -> "Recipe":
    """The row's recipe; with `tried`, one step of a smaller model."""
    from mobileiqa import variants
    from mobileiqa.training.recipe import recipe, with_overrides

    base = with_overrides(recipe(row.recipe), list(row.settings))
    model = SMALLER.get(base.model, base.model) if tried else base.model
    spaces = row.color_spaces if len(row.color_spaces) > 1 else ()
    model = variants.combined(model, row.head, row.mals, row.votes)
    base = dataclasses.replace(base, model=model, color_spaces=spaces)
    if not tried:
        return base
    batch = 1 if base.objective == "fr-nr" else TRY_BATCH  # 113 GMACs a pair
    return dataclasses.replace(
        base, epochs=1, batch=batch, group=1, accumulate=1, warmup_epochs=0.0, epoch_images=batch,
        validation_limit=3,
    )  # fmt: skip


def _tiny_size(model: str) -> str | None:
    """The smallest useful size of a model's inputs; None where its layers fix it."""
    from mobileiqa.zoo import entry

    inputs = entry(model).spec.inputs
    if any(each.fixed_size or each.scales_px for each in inputs):
        return None
    side = 96 if model.startswith("koncept512") else TRY_PX  # InceptionResNetV2 has no room below 75
    return ",".join([f"{side}x{side}"] * len(inputs))


def _tested(checkpoint: Path, reading: Reading, context: Context) -> Metrics:
    from mobileiqa import evaluate
    from mobileiqa.evaluation.results import evaluate as estimates
    from mobileiqa.scoring.torch_scorer import TorchOptions

    space = ColorSpace(reading.color_space) if reading.color_space else None
    options = TorchOptions(context.device, space, reading.patches)
    models = evaluate.load_models([str(checkpoint)], 1, None, options)
    split = None if context.tried and reading.split == "test" else reading.split
    crossed = reading.data not in context.table.train
    images = evaluate.read_untrained(
        {model.label: model.scorer.spec for model in models}, context.data[reading.data],
        "test" if context.tried and split == "all" else split, skip_trained=crossed,
    )  # fmt: skip
    images, scores = evaluate.score_images(images, models, skip=False)
    metrics = estimates(scores[0], images.samples, images.monotone).metrics
    return {name: e.bounded for name, e in metrics.items()}


def _regressed(row: Row, context: Context) -> dict[str, Metrics]:
    from mobileiqa import features

    path, (name, root) = context.out / "features.npz", context.data[context.table.train[0]]
    if not path.exists():
        model, size = ("lar-iqa-single", "64x64") if context.tried else ("timm:resnet50", None)
        context.out.mkdir(parents=True, exist_ok=True)
        features.save(path, features.features_of(model, name, root, context.init, size))
    result = features.regress(features.load(path), row.regressor, epochs=2 if context.tried else 500)
    metrics = {metric: e.bounded for metric, e in result["metrics"].items()}
    return {context.table.readings[0].name: metrics}


def report(table: Table, figures: Mapping[str, Mapping[str, Any]], tried: bool) -> str:
    """The paper's figures and ours, row by row."""
    lines: list[tuple[str, ...]] = [
        ("", "", *(f"{m} {who}" for m in table.metrics for who in ("paper", "ours")))
    ]
    for row in table.rows:
        for reading in table.readings:
            cells = []
            for metric in table.metrics:
                paper = row.paper.get(reading.name, {}).get(metric)
                value, low, high = figures[row.label][reading.name][metric]
                cells += ["-" if paper is None else f"{paper:.3f}", f"{value:.3f} [{low:.3f}, {high:.3f}]"]
            lines.append((row.label, reading.name, *cells))
    notes = [table.note] if table.note else []
    notes += ["Tried: one step at a tiny size. These figures say nothing."] if tried else []
    return "\n".join([f"{table.name}: {table.title} ({table.source})", *notes, aligned(lines)])


if __name__ == "__main__":
    sys.exit(main())
