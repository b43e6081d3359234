"""From a request to a trained checkpoint: data, starting weights, task, loop, export."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobileiqa import checkpoint, cli, typed_json
from mobileiqa.datasets.core import SPLIT_SEED, Dataset, Sample
from mobileiqa.datasets.registry import read
from mobileiqa.distortions import kadid10k
from mobileiqa.errors import UserError
from mobileiqa.freed_memory import keep_freed_memory
from mobileiqa.photos.loading import load_image
from mobileiqa.scoring.checks import RANGE_MARGIN
from mobileiqa.spec import ColorSpace, Fit, ModelSpec
from mobileiqa.training import distributed as groups
from mobileiqa.training import records
from mobileiqa.training.data_loader import Feed, labels_of
from mobileiqa.training.initial_weights import initialize
from mobileiqa.training.loop import Settings, fit
from mobileiqa.training.objective import Task
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.pixel_sources import SYNTHETIC, Source, source, synthetic
from mobileiqa.training.recipe import Recipe, ranks_only
from mobileiqa.training.state import FILE, State
from mobileiqa.training.validation import Runtime, on_label_scale, predict, validator
from mobileiqa.variants import AFFINE_HEAD, gives_votes
from mobileiqa.zoo import build, entry

BEST = "best.safetensors"
PACK_MARGIN = 1.5  # a packed window's side over the crop's: room for other crops in later epochs
FIRST_IMAGES = 16  # whose scores say where random weights begin
VALIDATION_SHARE = 0.06  # of pristine images, where the recipe has none of its own
DISTORTED_PX = 512  # KADID-10k's images are 512x384; distortions are made at that scale


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    recipe: Recipe
    data: tuple[tuple[str, Path], ...]
    severity: Path | None = None
    size: str | None = None
    init: tuple[Path, ...] = ()
    from_scratch: bool = False
    teacher: Path | None = None
    cache: Path | None = None
    exclude: tuple[str, ...] = ()  # names of pristine images to leave out
    split_seed: int = SPLIT_SEED  # who trains, validates and tests, where a set does not say
    allow_outside: bool = False  # the labels of a `folder` may name images elsewhere
    color_space: ColorSpace | None = None  # that the checkpoint expects; None: the model's own


@dataclass(frozen=True)
class Joined:
    """Several sources as one: (source, index in it) for each index."""

    sources: tuple[Source, ...]
    places: tuple[tuple[int, int], ...]

    def __call__(self, index: int) -> Any:
        """The pixels of image `index`."""
        which, place = self.places[index]
        return self.sources[which](place)


def train(request: Request, settings: Settings) -> dict[str, Any] | None:
    """Runs the request to its end. The first process returns what was reached and where it is, others None."""
    keep_freed_memory()
    joined = groups.join(settings.device)
    groups.use_tensor_cores(settings.device)
    try:
        return _train(request, settings, joined)
    finally:
        groups.leave()


def _train(request: Request, settings: Settings, joined: groups.Processes) -> dict[str, Any] | None:
    recipe = request.recipe
    sets = [_dataset(name, path, request) for name, path in request.data]
    _check_batch(recipe, joined)
    resumed = (settings.out / FILE).exists()
    spec = _spec(request)
    if len(recipe.input_px) not in (0, len(spec.inputs)):
        sides = f"{len(spec.inputs)} inputs of {spec.name}"
        raise UserError(f"a recipe with input_px for {sides}", str(recipe.input_px), "choose another recipe")
    torch.manual_seed(recipe.seed)
    model = build(recipe.model)
    origin = _recorded_origin(settings.out) if resumed else _initial(model, request)
    spec = dataclasses.replace(spec, trained_on=_description(sets, recipe, origin))
    if joined.first and not resumed:  # the first file of all: it says that the folder is a run
        cli.write_json(settings.out / "recipe.json", _about(request, origin))
    if joined.first:  # the process that writes the checkpoint
        started_from = (*request.init, *((request.teacher,) if request.teacher else ()))
        spec = dataclasses.replace(spec, training=records.of_run(settings.out, sets, started_from))
    _say_of_variants(recipe, sets)
    if joined.first:
        cli.note(f"{recipe.name}: {recipe.model} from {origin}{', going on' if resumed else ''}")
    model = groups.with_joint_norms(model, joined)
    task = build_task(Setup(recipe, model, spec, len(sets), *_teacher(request)))
    if request.from_scratch and not resumed:
        _begin_at_labels(task, sets[0], spec)
    task = _executed(task, settings)
    state = fit(
        task, _feed(sets, spec, request), _validator(sets, spec, request, settings), recipe, settings, joined
    )
    if not joined.first:
        return None
    return _exported(task, state, recipe, settings, lambda: _mapped(task, sets[0], request, settings))


def _say_of_variants(recipe: Recipe, sets: Sequence[Dataset]) -> None:
    """What a user should know of a variant before hours of training. UserError for votes that no set has."""
    if AFFINE_HEAD in recipe.model.split("+"):
        cli.warn(f"{AFFINE_HEAD} is what was published as TaylorKAN, and an affine map; taylor3 is not")
    if gives_votes(recipe.model) and not any(s.votes for d in sets for s in d.of("train")):
        raise UserError(
            "a set with votes (koniq-10k, or a folder whose labels have c1 to c5) for --votes",
            ", ".join(d.name for d in sets), "leave --votes out",
        )  # fmt: skip


def _mapped(task: Task, first: Dataset, request: Request, settings: Settings) -> ModelSpec:
    """The exported spec; where the losses only rank, with the linear map to labels, fitted on the training images."""
    model, spec = task.export()
    if not ranks_only(request.recipe):
        return spec
    samples = first.of("train")
    pixels = source(first, samples, None, DISTORTED_PX, spec.color_management)
    model.eval()
    scores = predict(task, pixels, len(samples), spec, _runtime(settings))
    return on_label_scale(spec, scores, np.array([s.score for s in samples]))


def _begin_at_labels(task: Task, first: Dataset, spec: ModelSpec) -> None:
    """The mean score of the first training images becomes that of their labels, where the task can shift scores."""
    samples = first.of("train")[:FIRST_IMAGES]
    if task.shift is None or not samples:
        return
    pixels = source(first, samples, None, DISTORTED_PX, spec.color_management)
    task.module.eval()
    scores = predict(task, pixels, len(samples), spec, torch.device("cpu"))
    task.shift(float(np.mean([s.score for s in samples]) - scores.mean()))


def _recorded_origin(folder: Path) -> str:
    """What the run in `folder` started from, which its checkpoint says whether it was interrupted or not."""
    path = folder / "recipe.json"
    source, todo = f'"started_from", a text, in {path}', "train into another folder"
    content = typed_json.parse_object(typed_json.content_of(path), source, todo)
    origin = content.get("started_from")
    if not isinstance(origin, str):
        raise UserError(source, typed_json.shortened(repr(origin), 80), todo)
    return origin


def _about(request: Request, origin: str) -> dict[str, Any]:
    return {"recipe": request.recipe.to_json(), "started_from": origin, "split_seed": request.split_seed}


def _dataset(name: str, path: Path, request: Request) -> Dataset:
    if name != SYNTHETIC:
        return read(name, path, request.split_seed, request.allow_outside)
    if request.severity is None:
        raise UserError(
            "--severity CSV beside `--data pristine`", "none",
            "make one from KADID-10k: python -m mobileiqa.data severity KADID_PATH --out severity.csv",
        )  # fmt: skip
    share = request.recipe.option("validation_share", VALIDATION_SHARE)
    table = kadid10k.read_severity(request.severity)
    return synthetic(path, table, request.split_seed, share, request.exclude)


def _check_batch(recipe: Recipe, joined: groups.Processes) -> None:
    unit = recipe.accumulate * recipe.group * joined.world
    if recipe.batch % unit:
        raise UserError(
            f"a batch that {joined.world} processes can share: a multiple of {unit}", str(recipe.batch),
            "correct --set batch=N",
        )  # fmt: skip


def _spec(request: Request) -> ModelSpec:
    """The model's spec at the wanted size. A model trained on crops at native scale reads a centre crop."""
    spec = entry(request.recipe.model).spec
    if request.size is not None:
        spec = spec.sized(request.size)
    if request.recipe.crop_px:
        spec = dataclasses.replace(
            spec, inputs=tuple(dataclasses.replace(i, fit=Fit.CENTER_CROP) for i in spec.inputs)
        )
    return spec if request.color_space is None else spec.in_color_space(request.color_space)


def _initial(model: nn.Module, request: Request) -> str:
    return initialize(model, request.recipe.model, request.init, request.from_scratch)


def _teacher(request: Request) -> tuple[nn.Module, ModelSpec] | tuple[None, None]:
    return checkpoint.load(request.teacher) if request.teacher is not None else (None, None)


def _description(sets: Sequence[Dataset], recipe: Recipe, origin: str) -> str:
    parts = [f"{d.name} ({len(d.of('train'))} images, {d.score_name})" for d in sets]
    return f"{', '.join(parts)}; recipe {recipe.name}, from {origin}"


def _executed(task: Task, settings: Settings) -> Task:
    """The task, compiled and checkpointed as the settings say; what the loss calls, the teacher included."""
    if settings.checkpointing:
        switches = [
            m.set_grad_checkpointing for m in task.module.modules() if hasattr(m, "set_grad_checkpointing")
        ]
        if not switches:
            raise UserError("a model whose backbone can recompute", "none", "leave --checkpointing out")
        for switch in switches:
            switch(True)
    if settings.compile:
        for module in task.called or (task.module,):
            module.compile()
    return task


def _runtime(settings: Settings) -> Runtime:
    # In float32 whatever trains: half precision moves scores by 0.01, which is more than epochs differ by.
    return Runtime(settings.device, workers=settings.workers)


def _feed(sets: Sequence[Dataset], spec: ModelSpec, request: Request) -> Feed:
    recipe = request.recipe
    parts = [dataset.of("train") for dataset in sets]
    window = recipe.window_px or round(recipe.crop_px * PACK_MARGIN)
    if recipe.option("fr_share"):
        window = 0  # images are cropped with their originals: whole ones
    sources = tuple(
        source(d, p, request.cache, window, spec.color_management) for d, p in zip(sets, parts, strict=True)
    )
    places = tuple((which, i) for which, part in enumerate(parts) for i in range(len(part)))
    samples = [_named(sample, which) for which, part in enumerate(parts) for sample in part]
    labels = labels_of(samples, [which for which, _ in places])
    references = _originals(sets, parts, spec, request) if recipe.option("fr_share") else None
    return Feed(Joined(sources, places), labels, spec, recipe, references)


@dataclass(frozen=True)
class Originals:
    """The pristine original of each image, where its set has the file."""

    paths: tuple[Path | None, ...]
    spec: ModelSpec

    def __call__(self, index: int) -> Any:
        """The original of image `index`, or None."""
        path = self.paths[index]
        return None if path is None else np.asarray(load_image(path, self.spec.color_management))


def _originals(
    sets: Sequence[Dataset], parts: Sequence[Sequence[Sample]], spec: ModelSpec, request: Request
) -> Originals:
    """Raises UserError where no set has any."""
    paths = tuple(
        d.reference_files.get(s.reference) for d, part in zip(sets, parts, strict=True) for s in part
    )
    if not any(paths):
        raise UserError(
            f"a set with its pristine originals for {request.recipe.name}",
            ", ".join(d.name for d in sets), "add one, such as kadid-10k, or --set fr_share=0",
        )  # fmt: skip
    return Originals(paths, spec)


def _named(sample: Sample, which: int) -> Sample:
    """References of different sets are different, whatever their names."""
    return (
        dataclasses.replace(sample, reference=f"{which}/{sample.reference}") if sample.reference else sample
    )


def _validator(sets: Sequence[Dataset], spec: ModelSpec, request: Request, settings: Settings) -> Any:
    """Validates on the first set: the exported model has its head and its scale."""
    first = sets[0]
    samples = _some(first.of("validation"), request)
    if len(samples) < 3:
        raise UserError(f"three or more validation images in {first.name}", str(len(samples)), "add some")
    window = DISTORTED_PX if first.name == SYNTHETIC else 0  # 0: whole images
    pixels = source(first, samples, request.cache, window, spec.color_management)
    return validator(pixels, samples, spec, _runtime(settings))


def _some(samples: Sequence[Sample], request: Request) -> Sequence[Sample]:
    """All of them, or validation_limit of them drawn by the split seed."""
    limit = request.recipe.validation_limit
    if not limit or limit >= len(samples):
        return samples
    rows = np.random.default_rng(request.split_seed).permutation(len(samples))[:limit]
    return [samples[i] for i in sorted(rows)]


def _exported(
    task: Task, state: State, recipe: Recipe, settings: Settings, mapped: Callable[[], ModelSpec]
) -> dict[str, Any]:
    """Writes the best checkpoint, its spec as `mapped` gives it. Before the first validation there is none."""
    summary = {"recipe": recipe.name, "steps": state.step, "epochs": len(state.validation)}
    if state.best is None:
        return {**summary, "checkpoint": None}
    task.module.load_state_dict(state.best["weights"])
    model, _ = task.export()
    path = checkpoint.save(settings.out / BEST, model, mapped(), force=True)
    best = state.validation[state.best["epoch"] - 1]
    if not ranks_only(recipe) and best["rmse"] > 1 + RANGE_MARGIN:
        cli.warn(
            f"scores are {best['rmse']:.3g} of the labels' range from the labels: hardly trained; score and evaluate "
            "refuse such scores"
        )
    return {**summary, "best": best, "checkpoint": str(path)}
