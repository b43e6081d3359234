"""One row of a published table: trained, or fitted on features, then tested. What is done is kept, and found again.

A run's folder is named after everything that decides its weights. So rows of several tables that are trained alike
share one run where the tables share --out: MobileIQA's teacher is trained once for four of them. Each reading is kept
in the run's folder. A run that is at its end loses its state, the largest of its files.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobileiqa import cli, typed_json
from mobileiqa.errors import UserError
from mobileiqa.evaluation.published import BACKBONES, Reading, Row, Table
from mobileiqa.files.claims import claim, in_folder
from mobileiqa.spec import ColorSpace

if TYPE_CHECKING:
    from mobileiqa.training.recipe import Recipe
    from mobileiqa.training.run import Request

Metrics = dict[str, list[float]]  # metric -> value, low, high
TRAINED = "trained.json"  # says that a run is at its end
# In place of models that take a minute a step on a CPU, with --try.
SMALLER = {"mobilenet-iqa": "mobilenet-iqa-small", "mobilevit-iqa": "mobilenet-iqa-small"}
TRY_BATCH, TRY_PX = 2, 64
TRY_SHARE = 16  # of a row's own size: 1271x820 is tried at 80x64


@dataclass(frozen=True)
class Context:
    """Where the sets lie, where rows are kept, and how they are run."""

    table: Table
    data: Mapping[str, tuple[str, Path]]  # the set that a table names -> the one that is read, and where
    out: Path
    device: str = "cpu"
    precision: str = "fp32"
    workers: int = 0
    tried: bool = False
    from_scratch: bool = False
    init: Path | None = None
    cache: Path | None = None

    def place(self, name: str) -> list[str]:
        """The set that is read for the table's set `name`, and where it lies."""
        read, path = self.data[name]
        return [read, str(path.resolve())]


def figures_of(row: Row, context: Context) -> dict[str, Metrics]:
    """reading -> metric -> value and interval; of what is done already, from its file."""
    if row.regressor:
        return {context.table.readings[0].name: _regressed(row, context)}
    folder = trained(row, context)
    return {reading.name: _kept_reading(folder, reading, context) for reading in context.table.readings}


def trained(row: Row, context: Context) -> Path:
    """The folder of the row's run, trained to its end."""
    from mobileiqa.training.distributed import usable_device
    from mobileiqa.training.loop import Settings
    from mobileiqa.training.run import BEST, train
    from mobileiqa.training.state import FILE

    request = request_of(row, context)
    folder = context.out / run_name(row, context)
    if (folder / TRAINED).is_file() and (folder / BEST).is_file():
        return folder
    device = usable_device(context.device)
    folder.mkdir(parents=True, exist_ok=True)
    claim(in_folder(folder))
    train(request, Settings(folder, device, context.precision, context.workers))
    cli.write_json(folder / TRAINED, {"plan": _plan(row, context)})
    (folder / FILE).unlink(missing_ok=True)
    return folder


def run_name(row: Row, context: Context) -> str:
    """The name of the row's run: its recipe, and a digest of all that decides its weights."""
    return f"{row.recipe}-{_digest(_plan(row, context))}"


def _plan(row: Row, context: Context) -> dict[str, Any]:
    request = request_of(row, context)
    return {
        "recipe": request.recipe.to_json(), "size": request.size, "color_space": request.color_space,
        "data": [context.place(name) for name in context.table.train],
        "teacher": run_name(_teacher(row, context), context) if row.teacher else None,
        "init": [str(path.resolve()) for path in request.init], "from_scratch": request.from_scratch,
    }  # fmt: skip


def _digest(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _teacher(row: Row, context: Context) -> Row:
    return next(other for other in context.table.rows if other.label == row.teacher)


def request_of(row: Row, context: Context) -> "Request":
    """What is trained for the row. A setting that the model has anyway is left out: equal rows are one run."""
    from mobileiqa.training.run import BEST, Request
    from mobileiqa.zoo import entry

    recipe, size = recipe_of(row, context.tried), row.size
    if context.tried:
        size = _tiny_size(recipe.model, row.size)
    spec = entry(recipe.model).spec
    size = None if size is not None and spec.sized(size).inputs == spec.inputs else size
    space = ColorSpace(row.color_spaces[0]) if row.color_spaces else None
    space = None if space is None or spec.in_color_space(space).inputs == spec.inputs else space
    scratch = context.from_scratch or recipe.model.split("+")[0] not in BACKBONES
    return Request(
        recipe,
        tuple(context.data[name] for name in context.table.train),
        size=size,
        init=() if context.init is None or scratch else (context.init,),
        from_scratch=scratch,
        teacher=context.out / run_name(_teacher(row, context), context) / BEST if row.teacher else None,
        cache=context.cache,
        color_space=space,
    )


def recipe_of(row: Row, tried: bool) -> "Recipe":
    """The row's recipe; with `tried`, one step of a smaller model."""
    from mobileiqa import variants
    from mobileiqa.training.recipe import recipe, with_overrides

    base = with_overrides(recipe(row.recipe), list(row.settings))
    model = row.model or base.model
    model = SMALLER.get(model, model) if tried else model
    spaces = row.color_spaces if len(row.color_spaces) > 1 else ()
    base = dataclasses.replace(
        base, model=variants.combined(model, row.head, row.mals, row.votes), color_spaces=spaces
    )
    if not tried:
        return base
    batch = 1 if base.objective == "fr-nr" else TRY_BATCH  # 113 GMACs a pair
    return dataclasses.replace(
        base, epochs=1, batch=batch, group=1, accumulate=1, warmup_epochs=0.0, epoch_images=batch,
        validation_limit=3,
    )  # fmt: skip


def _tiny_size(model: str, size: str | None) -> str | None:
    """A tiny size of a model's inputs, of the shape of `size`; None where its layers fix it."""
    from mobileiqa.zoo import entry

    inputs = entry(model).spec.inputs
    if any(each.fixed_size or each.scales_px for each in inputs):
        return None
    least = 96 if model.startswith("koncept512") else TRY_PX  # InceptionResNetV2 has no room below 75
    sides = [int(side) // TRY_SHARE // 8 * 8 for side in (size or "0x0").split("x")]
    width, height = (max(least, side) for side in sides)
    return ",".join([f"{width}x{height}"] * len(inputs))


def _kept_reading(folder: Path, reading: Reading, context: Context) -> Metrics:
    from mobileiqa.training.run import BEST

    key = {**dataclasses.asdict(reading), "data": context.place(reading.data)}
    path = folder / f"{_slug(reading.name)}-{_digest(key)}.json"
    return _kept(path, lambda: _tested(folder / BEST, reading, context))


def _kept(path: Path, compute: Any) -> Metrics:
    """The figures in `path`, or those that `compute` gives, which then are there."""
    if not path.exists():
        cli.write_json(path, compute())
    content = typed_json.parse_object(typed_json.content_of(path), str(path), "remove it")
    numbers = (int, float)
    for metric, values in content.items():
        if not (isinstance(values, list) and len(values) == 3 and all(type(v) in numbers for v in values)):
            raise UserError(f"value, low and high of {metric} in {path}", repr(values)[:60], "remove it")
    return content


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower()


def _tested(checkpoint: Path, reading: Reading, context: Context) -> Metrics:
    from mobileiqa import evaluate
    from mobileiqa.evaluation.results import evaluate as estimates
    from mobileiqa.scoring.torch_scorer import TorchOptions

    space = ColorSpace(reading.color_space) if reading.color_space else None
    options = TorchOptions(context.device, space, reading.patches, reference=reading.reference)
    (model,) = evaluate.load_models([str(checkpoint)], 1, None, options)
    # A row's own network, whatever it learnt, is no damaged file: scores far out of the range are figures, too.
    model = dataclasses.replace(model, scorer=dataclasses.replace(model.scorer, ranged=False))
    split = None if context.tried and reading.split == "test" else reading.split
    crossed = reading.data not in context.table.train
    images = evaluate.read_untrained(
        {model.label: model.scorer.spec}, context.data[reading.data],
        "test" if context.tried and split == "all" else split, skip_trained=crossed,
    )  # fmt: skip
    images, scores = evaluate.score_images(images, (model,), skip=False)
    metrics = estimates(scores[0], images.samples, images.monotone).metrics
    return {name: e.bounded for name, e in metrics.items()}


def _regressed(row: Row, context: Context) -> Metrics:
    from mobileiqa import features

    name, root = context.data[context.table.train[0]]
    model, size = ("lar-iqa-single", "64x64") if context.tried else ("timm:resnet50", None)
    key = _digest([model, size, context.place(context.table.train[0]), str(context.init)])
    path = context.out / f"features-{key}.npz"

    def fitted() -> Metrics:
        if not path.exists():
            context.out.mkdir(parents=True, exist_ok=True)
            features.save(path, features.features_of(model, name, root, context.init, size))
        result = features.regress(features.load(path), row.regressor, epochs=2 if context.tried else 500)
        return {metric: e.bounded for metric, e in result["metrics"].items()}

    return _kept(context.out / f"{row.regressor}-{key}.json", fitted)
