r"""MSLIQA at CPU scale: do zoom levels and patches at test time help with distortions that training has not seen?

    make backbone
    python benchmarks/multi_scale.py --pristine PRISTINE/train --test-pristine PRISTINE/val \
        --severity severity.csv --encoder .envs/backbone/lib/python3*/site-packages/*/models/*.pth

Variants: the zoom levels of mobileiqa.models.msliqa.ZOOMS (`single` is the baseline), each read in two ways:
the best head by validation on the whole image, and the mean over patches (mobileiqa.scoring.patches). KADID-10k's
distortions of odd number train and validate. All of them test, on other images: half of them are new to the
model, as some are in a data set of another origin (arXiv 2408.16879 tests across data sets), and the page also
shows the two halves apart.

Left out, because two cores would take days: most of the epochs and images, the training of the encoder's first
three stages, which stay ImageNet's, and the zoom tables but these two. So this compares zoom levels; it does
not repeat the paper's figures.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks import experiment
from benchmarks.experiment import (
    CPU,
    Result,
    Spread,
    by_reference,
    figures,
    figures_json,
    finish,
    key,
    once,
)
from benchmarks.table import markdown
from mobileiqa import cli, metrics
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.distortions import kadid10k
from mobileiqa.models.msliqa import ZOOMS, MultiScale, Zoom, best_head, head_for, whole
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import patches
from mobileiqa.spec import Fit, InputSpec, ModelSpec
from mobileiqa.training.data_loader import Feed, labels_of
from mobileiqa.training.pixel_sources import Source, source, synthetic
from mobileiqa.training.recipe import Recipe
from mobileiqa.training.state import FILE
from mobileiqa.training.system_objectives import multi_scale_task
from mobileiqa.training.validation import validator

SPLIT_SEED = 0  # of the references' parts and of what is left out of the test
# Of the test images, by the end of a variant's name: what is left of a distortion's number by 2.
HALVES: dict[str, int | None] = {"": None, ", seen": 1, ", unseen": 0}
BASELINE = "single, whole"
MEANING = {
    "single": "the whole image, resized to 224x224",
    "multi-crop": "five crops, 224 px to the whole image",
    "multi-resize": "five sizes, 224 to 512 px",
    "both": "224 and 384 px crops, at two scales each",
}


@dataclass(frozen=True)
class Plan:
    """The size of the comparison; zooms are keys of ZOOMS, the baseline first."""

    zooms: tuple[str, ...] = ("single", "both")
    backbone: str = "efficientnet_lite0"
    frozen: tuple[str, ...] = ("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2")  # not trained
    train_references: int = 12
    validation_references: int = 2
    test_references: int = 20
    test_images: int = 40  # drawn from theirs: 108 patches of each are read by every model
    epochs: int = 1
    batch: int = 16
    window_px: int = 512  # of every image, in training and in test
    patches: bool = True  # also test with patches


@dataclass(frozen=True)
class Part:
    """Some samples and their packed pixels."""

    samples: tuple[Sample, ...]
    pixels: Source

    @property
    def labels(self) -> NDArray[np.float64]:
        """Scores (N,), 0..1."""
        return np.array([sample.score for sample in self.samples], np.float64)


@dataclass(frozen=True)
class Data:
    """What trains, validates and tests, the folder of the runs, and what they start from."""

    train: Part
    validation: Part
    test: Part
    folder: Path
    start: str  # of the encoder's weights


def main(argv: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """The command; `plan` is for tests."""
    summary = "Compare training at one zoom level with training at several, with and without test patches."
    parser = experiment.with_encoder(experiment.parser(summary, "multi_scale"))
    return cli.command(parser, lambda args: compare(args, plan or Plan()), argv)


def compare(args: argparse.Namespace, plan: Plan) -> int:
    """Trains, tests, prints and writes; the same command goes on where a stopped one was."""

    def body(until: float) -> experiment.Findings:
        data = data_of(plan, args)
        seeds = range(1, args.seeds + 1)
        results = [
            r
            for seed in seeds
            for zoom in plan.zooms
            for r in results_of(plan, data, zoom, seed, until, args.encoder)
        ]
        found = figures(results, BASELINE)
        return experiment.Findings(report(plan, found, data.start), as_json(plan, results, found))

    return experiment.conclude(args, body)


def data_of(plan: Plan, args: argparse.Namespace) -> Data:
    """Odd distortions of the training images, all of the test images, `test_images` of them."""
    table = kadid10k.read_severity(args.severity)
    odd = {k: v for k, v in table.items() if k[0] % 2}
    seen = synthetic(args.pristine, odd, SPLIT_SEED, share=0)
    unseen = synthetic(args.test_pristine, table, SPLIT_SEED, share=0)
    counts = {"validation": plan.validation_references, "train": plan.train_references}
    parts = by_reference(seen, counts, SPLIT_SEED)
    test = by_reference(unseen, {"test": plan.test_references}, SPLIT_SEED)["test"]
    drawn = np.random.default_rng(SPLIT_SEED).permutation(len(test))[: plan.test_images]
    test = tuple(test[i] for i in sorted(drawn))
    names = [sorted({s.reference for s in d.samples}) for d in (seen, unseen)]

    def packed(dataset: Dataset, samples: tuple[Sample, ...]) -> Part:
        return Part(samples, source(dataset, samples, args.cache / "packs", plan.window_px))

    start = experiment.start_of(args.encoder)
    folder = args.cache / key(settings(plan), start, names, sorted(table.items()))
    train, validation = (packed(seen, parts[name]) for name in ("train", "validation"))
    return Data(train, validation, packed(unseen, test), folder, start)


def model_of(plan: Plan, zoom: str, encoder: Path | None) -> MultiScale:
    """A variant's model before training, with the plan's stages frozen where they come from a file."""
    model = MultiScale(len(ZOOMS[zoom]), plan.backbone)
    experiment.start_from(model, encoder, plan.frozen)
    return model


def results_of(
    plan: Plan, data: Data, zoom: str, seed: int, until: float, encoder: Path | None
) -> list[Result]:
    """Trains one variant and tests it in every way; what is on disk is not computed again."""
    folder, zooms, spec = data.folder / f"{zoom}-{seed}", ZOOMS[zoom], spec_of(plan)
    cli.note(f"{zoom}, seed {seed}")

    def computed() -> dict[str, Any]:
        torch.manual_seed(seed)
        model = model_of(plan, zoom, encoder)
        feed = Feed(data.train.pixels, labels_of(data.train.samples), spec, recipe_of(plan, zoom, seed))
        validate = validator(data.validation.pixels, data.validation.samples, spec, CPU)
        finish(multi_scale_task(model, zooms, spec), feed, validate, folder, until)
        scores = {"whole": by_best_head(model, data, spec, zooms)}
        if plan.patches:
            scores["patches"] = by_patches(model, zoom, data.test)
        rows = [
            {"variant": f"{zoom}, {how}{half}", "seed": seed, **figures_of(s, data.test, rest)}
            for how, s in scores.items()
            for half, rest in HALVES.items()
        ]
        return {"results": rows}

    rows = once(folder / "result.json", computed)["results"]
    (folder / FILE).unlink(missing_ok=True)  # figures are kept, weights are not
    return [Result(**row) for row in rows]


def figures_of(scores: NDArray[np.float64], part: Part, rest: int | None) -> dict[str, float]:
    """Correlations on a part's images: all, or those of odd (1) or even (0) distortions."""
    wanted = [rest is None or sample.distortion % 2 == rest for sample in part.samples]
    return metrics.correlations(scores[wanted], part.labels[wanted])._asdict()


def by_best_head(
    model: MultiScale, data: Data, spec: ModelSpec, zooms: tuple[Zoom, ...]
) -> NDArray[np.float64]:
    """Scores (N,) of the whole test images, by the head that ranks the whole validation images best."""
    head = best_head(by_heads(model, data.validation, spec, zooms), data.validation.labels)
    return by_heads(model, data.test, spec, zooms)[:, head]


@torch.inference_mode()
def by_heads(model: MultiScale, part: Part, spec: ModelSpec, zooms: tuple[Zoom, ...]) -> NDArray[np.float64]:
    """Scores (N, heads) of whole images."""
    model.eval()
    scores = [
        whole(model, torch.from_numpy(prepare(Image.fromarray(part.pixels(i)), spec)["image"]), zooms)
        for i in cli.progress(range(len(part.samples)), "whole images")
    ]
    return torch.cat(scores).double().numpy()


def by_patches(model: MultiScale, zoom: str, part: Part) -> NDArray[np.float64]:
    """Scores (N,): the mean over the distinct patches of each image, each by the head of its size."""
    model.eval()

    @torch.inference_mode()
    def predict(images: NDArray[np.float32]) -> NDArray[np.floating]:
        return model.score(torch.from_numpy(images), head_for(ZOOMS[zoom], images.shape[-1])).numpy()

    score = partial(patches.score, predict=predict)
    images = cli.progress(range(len(part.samples)), "patches")
    return np.array([score(Image.fromarray(part.pixels(i))).score for i in images])


def spec_of(plan: Plan) -> ModelSpec:
    """Whole packed windows: the views are made from them."""
    size = InputSpec("image", plan.window_px, plan.window_px, fit=Fit.CENTER_CROP)
    return ModelSpec("multi-scale", (size,))


def recipe_of(plan: Plan, zoom: str, seed: int) -> Recipe:
    """The same for every variant; `multi_scale_loss` is the objective."""
    return Recipe(
        zoom, "multi-scale", "multi-scale", plan.epochs, plan.batch, lr=1e-3, weight_decay=1e-2,
        warmup_epochs=0.25, final_lr=0.01, ema=0.99, clip_norm=5.0, crop_px=plan.window_px, seed=seed,
    )  # fmt: skip


def settings(plan: Plan) -> dict[str, Any]:
    """Everything but the data that the runs depend on."""
    return {"plan": asdict(plan), "recipes": [recipe_of(plan, zoom, 1).to_json() for zoom in plan.zooms]}


def report(plan: Plan, found: dict[str, dict[str, Spread]], start: str) -> str:
    """The page that is committed."""
    rows = []
    for variant in (variant for variant in found if variant.count(", ") == 1):
        zoom, how = variant.split(", ")
        row, halves = found[variant], [str(found[f"{variant}{half}"]["srcc"]) for half in HALVES if half]
        gain = "–" if variant == BASELINE else str(row["gain"])
        rows.append([f"`{zoom}`: {MEANING[zoom]}", how, str(row["srcc"]), str(row["plcc"]), gain, *halves])
    head = ["trained on", "read", "SRCC", "PLCC", "SRCC gained", "seen distortions", "unseen ones"]
    table = markdown(head, rows)
    seeds = found[BASELINE]["srcc"].n
    return f"# Zoom levels and test patches, at CPU scale\n\n{protocol(plan, seeds, start)}\n\n{table}\n"


def protocol(plan: Plan, seeds: int, start: str) -> str:
    """How to read the table."""
    return (
        f"Made by `python benchmarks/multi_scale.py`: mean ± standard deviation over {seeds} seeds; the gain is "
        f"over `{BASELINE}`, seed by seed. {experiment.LABELS}\n\n"
        f"{plan.backbone} from {start}, epochs: {plan.epochs}, on {plan.train_references} references with "
        f"the 13 distortions of odd number at 5 levels; {plan.validation_references} more pick the epoch and the "
        f"best head. Tested on {plan.test_images} images of {plan.test_references} other references with all 25, of "
        "which 12 were unseen in training; the last two columns are SRCC within each half. "
        f'"whole": the best head reads the whole {plan.window_px} px image (the baseline resizes it to 224x224); '
        f'"patches": the mean over the {patches.count((plan.window_px,) * 2)} distinct ones of {patches.COUNT} '
        "patches."
    )


def as_json(plan: Plan, results: Sequence[Result], found: dict[str, dict[str, Spread]]) -> dict[str, Any]:
    """Everything that was found, without this machine's paths."""
    rows = [asdict(result) for result in results]
    return {"schema": 1, **settings(plan), "results": rows, "figures": figures_json(found)}


if __name__ == "__main__":
    sys.exit(main())
