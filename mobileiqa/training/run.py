"""From a request to a trained checkpoint: data, starting weights, task, loop, export."""

import ctypes
import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from mobileiqa import checkpoint, cli, metrics, typed_json
from mobileiqa.datasets.core import SPLIT_SEED, Dataset, Sample
from mobileiqa.datasets.registry import read
from mobileiqa.distortions import kadid10k
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.spec import Fit, ModelSpec
from mobileiqa.training import distributed as groups
from mobileiqa.training import records
from mobileiqa.training.data_loader import Feed, labels_of
from mobileiqa.training.initial_weights import initialize
from mobileiqa.training.loop import Settings, fit
from mobileiqa.training.objective import Task
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.pixel_sources import SYNTHETIC, Source, source, synthetic
from mobileiqa.training.recipe import Recipe
from mobileiqa.training.state import FILE, State
from mobileiqa.zoo import build, entry

BEST = "best.safetensors"
PACK_MARGIN = 1.5  # a packed window's side over the crop's: room for other crops in later epochs
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
    try:
        return _train(request, settings, joined)
    finally:
        groups.leave()


def _train(request: Request, settings: Settings, joined: groups.Processes) -> dict[str, Any] | None:
    recipe = request.recipe
    if request.cache is not None and not (recipe.crop_px or recipe.window_px):
        raise UserError(
            "--cache with a recipe that trains on crops (crop_px, window_px)",
            recipe.name,
            "leave --cache out",
        )
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
    cli.note(f"{recipe.name}: {recipe.model} from {origin}{', going on' if resumed else ''}")
    model = groups.with_joint_norms(model, joined)
    task = _compiled(build_task(Setup(recipe, model, spec, len(sets), *_teacher(request))), settings)
    state = fit(
        task, _feed(sets, spec, request), _validator(sets, spec, request, settings), recipe, settings, joined
    )
    return _exported(task, state, recipe, settings) if joined.first else None


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
    return spec


def _initial(model: nn.Module, request: Request) -> str:
    return initialize(model, request.recipe.model, request.init, request.from_scratch)


def _teacher(request: Request) -> tuple[nn.Module, ModelSpec] | tuple[None, None]:
    return checkpoint.load(request.teacher) if request.teacher is not None else (None, None)


def _description(sets: Sequence[Dataset], recipe: Recipe, origin: str) -> str:
    parts = [f"{d.name} ({len(d.of('train'))} images, {d.score_name})" for d in sets]
    return f"{', '.join(parts)}; recipe {recipe.name}, from {origin}"


def _compiled(task: Task, settings: Settings) -> Task:
    if settings.compile:
        task.module.compile()
    return task


def _feed(sets: Sequence[Dataset], spec: ModelSpec, request: Request) -> Feed:
    recipe = request.recipe
    parts = [dataset.of("train") for dataset in sets]
    window = recipe.window_px or round(recipe.crop_px * PACK_MARGIN)
    sources = tuple(
        source(d, p, request.cache, window, spec.color_management) for d, p in zip(sets, parts, strict=True)
    )
    places = tuple((which, i) for which, part in enumerate(parts) for i in range(len(part)))
    samples = [_named(sample, which) for which, part in enumerate(parts) for sample in part]
    return Feed(Joined(sources, places), labels_of(samples, [which for which, _ in places]), spec, recipe)


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
    cache = request.cache if first.name == SYNTHETIC else None
    pixels = source(first, samples, cache, DISTORTED_PX, spec.color_management)
    return validator(pixels, samples, spec, settings.device)


def _some(samples: Sequence[Sample], request: Request) -> Sequence[Sample]:
    """All of them, or validation_limit of them drawn by the split seed."""
    limit = request.recipe.validation_limit
    if not limit or limit >= len(samples):
        return samples
    rows = np.random.default_rng(request.split_seed).permutation(len(samples))[:limit]
    return [samples[i] for i in sorted(rows)]


def _exported(task: Task, state: State, recipe: Recipe, settings: Settings) -> dict[str, Any]:
    """Writes the best checkpoint. Before the first validation there is none."""
    done = {"recipe": recipe.name, "steps": state.step, "epochs": len(state.validation)}
    if state.best is None:
        return {**done, "checkpoint": None}
    task.module.load_state_dict(state.best["weights"])
    model, spec = task.export()
    path = checkpoint.save(settings.out / BEST, model, spec, force=True)
    best = state.validation[state.best["epoch"] - 1]
    return {**done, "best": best, "checkpoint": str(path)}


BATCH = 16


def validator(
    source: Source, samples: Sequence[Sample], spec: ModelSpec, device: torch.device
) -> Callable[[Task], dict[str, float]]:
    """A function that scores all `samples` and returns srcc, plcc, krcc, rmse and mae against their labels."""
    labels = np.array([s.score for s in samples])

    def validate(task: Task) -> dict[str, float]:
        scores = predict(task, source, len(samples), spec, device)
        if (
            np.ptp(scores) == 0
        ):  # a model that has not begun to learn ranks nothing; that must not end the run
            error = scores - labels
            return {**dict.fromkeys(("srcc", "plcc", "krcc"), 0.0),
                    "rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}  # fmt: skip
        correlations = metrics.correlations(scores, labels)
        return {name: float(getattr(correlations, name)) for name in ("srcc", "plcc", "krcc", "rmse", "mae")}

    return validate


@torch.inference_mode()
def predict(task: Task, source: Source, count: int, spec: ModelSpec, device: torch.device) -> np.ndarray:
    """Scores (count,), float64; an image's crops are averaged."""
    scores = []
    for start in range(0, count, BATCH):
        prepared = [
            prepare(Image.fromarray(source(i)), spec) for i in range(start, min(count, start + BATCH))
        ]
        inputs = (
            torch.from_numpy(np.concatenate([p[input_spec.name] for p in prepared])).to(device)
            for input_spec in spec.inputs
        )
        scores_of_crops = task.score(*inputs).double().cpu().numpy()
        scores.append(scores_of_crops.reshape(len(prepared), -1).mean(1))
    return np.concatenate(scores)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_NEVER, _GROWTH_BYTES = -1, 256 << 20  # -1 becomes the largest size_t: an int holds 2 GB at most


def keep_freed_memory() -> bool:
    """glibc's allocator keeps the memory of a training step for the next one. False, nothing changed, elsewhere.

    By default it gives every large block back to the system and asks for it again, zeroed page by page: on two
    cores that took 45 % of the time of a MobileNetV3 step (batch 80, 160 px: 57 images/s, 97 without it).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _GROWTH_BYTES))
    return all(mallopt(key, value) == 1 for key, value in settings)
