"""Does a student learn more when it also imitates a trained teacher, at CPU scale?

    python benchmarks/stage_distillation.py --pristine PRISTINE/train --test-pristine PRISTINE/val \\
        --severity severity.csv

The student is LAR-IQA's branch, MobileNetV3-Large from random weights; the teacher is the earlier
reference, trunk.safetensors. Variants: `without` (the label's losses alone) and `imitate` (the same losses, and the
teacher's maps and features, as
the recipe `reference-branch`). Both have the same seeds, starting weights, images and steps; the epoch is picked on
references of its own, and figures come from references that neither of them nor the reference model has seen.

This is how the INT8 evaluation models were trained.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch

from benchmarks import experiment
from benchmarks.experiment import (
    SPLIT_SEED,
    Data,
    Result,
    Spread,
    figures,
    figures_json,
    finish,
    once,
)
from benchmarks.table import markdown
from mobileiqa import checkpoint, cli, zoo
from mobileiqa.spec import Fit, ModelSpec
from mobileiqa.training.data_loader import Feed, labels_of
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.recipe import Recipe, recipe
from mobileiqa.training.state import FILE

MARGIN = 1.5  # a packed training window's side over the crop's
STUDENT = "lar-iqa-single"
VARIANTS = {
    "without": ("supervised", "the label alone"),
    "imitate": ("imitate", "the label, and the reference's maps and features"),
}


@dataclass(frozen=True)
class Plan:
    """The size of the comparison. Every reference gives all 125 distortions and levels of the severity table."""

    train_references: int = 30
    validation_references: int = 4
    test_references: int = 10  # of the other folder
    epochs: int = 2
    batch: int = 32
    crop_px: int = 96


def main(argv: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """The command; `plan` is for tests."""
    summary = "Compare a student that imitates the reference model with one that sees labels alone."
    parser = experiment.parser(summary, "stage_distillation")
    return cli.command(parser, lambda args: compare(args, plan or Plan()), argv)


def compare(args: argparse.Namespace, plan: Plan) -> int:
    """Trains, tests, prints and writes; the same command goes on where a stopped one was."""

    def body(until: float) -> experiment.Findings:
        data = data_of(plan, args)
        results = [
            result_of(plan, data, variant, seed, until)
            for seed in range(1, args.seeds + 1)
            for variant in VARIANTS
        ]
        spreads = figures(results, baseline="without")
        return experiment.Findings(report(plan, spreads), as_json(plan, results, spreads))

    return experiment.conclude(args, body)


def data_of(plan: Plan, args: argparse.Namespace) -> Data:
    """Training and validation references of one folder, test references of the other."""
    counts = {"validation": plan.validation_references, "train": plan.train_references}
    return experiment.divided(args, counts, plan.test_references, settings(plan))


def result_of(plan: Plan, data: Data, variant: str, seed: int, until: float) -> Result:
    """Trains a student and tests it; what is on disk is not trained again."""
    cli.note(f"{variant}, seed {seed}")
    folder = data.folder / f"{variant}-{seed}"

    def tested() -> dict[str, Any]:
        setup = setup_of(plan, variant, seed)
        task = build_task(setup)
        pixels = data.source("train", round(MARGIN * plan.crop_px))
        feed = Feed(pixels, labels_of(data.samples("train")), setup.spec, setup.recipe)
        finish(task, feed, data.scored("validation", setup.spec), folder, until)
        return {"variant": variant, "seed": seed, **data.scored("test", setup.spec)(task)}

    record = once(folder / "result.json", tested)
    (folder / FILE).unlink(missing_ok=True)  # figures are kept, weights are not
    return Result(**record)


def setup_of(plan: Plan, variant: str, seed: int) -> Setup:
    """A student of random weights, the same for every variant, beside the reference model."""
    torch.manual_seed(seed)
    student = zoo.build(STUDENT)
    teacher, spec = checkpoint.load(zoo.TRUNK)
    return Setup(recipe_of(plan, variant, seed), student, spec_of(plan), teacher=teacher, teacher_spec=spec)


def spec_of(plan: Plan) -> ModelSpec:
    """The student's, on crops of the plan."""
    spec = zoo.MODELS[STUDENT].spec
    size = dataclasses.replace(
        spec.inputs[0], height_px=plan.crop_px, width_px=plan.crop_px, fit=Fit.CENTER_CROP
    )
    return dataclasses.replace(spec, inputs=(size,))


def recipe_of(plan: Plan, variant: str, seed: int) -> Recipe:
    """`reference-branch` at the plan's size, with the variant's objective."""
    return dataclasses.replace(
        recipe("reference-branch"), name=variant, objective=VARIANTS[variant][0], epochs=plan.epochs, batch=plan.batch,
        crop_px=plan.crop_px, window_px=0, ema=0.99, validation_limit=0, seed=seed,
    )  # fmt: skip


def settings(plan: Plan) -> dict[str, Any]:
    """Everything but the data that the runs depend on."""
    return {
        "plan": asdict(plan),
        "recipes": [recipe_of(plan, variant, SPLIT_SEED).to_json() for variant in VARIANTS],
        "teacher_sha256": checkpoint.sha256(zoo.TRUNK),
    }


def report(plan: Plan, spreads: dict[str, dict[str, Spread]]) -> str:
    """The page that is committed."""
    rows = [
        [f"`{name}`: {VARIANTS[name][1]}", *(str(row[one]) for one in ("srcc", "plcc")),
         "–" if name == "without" else str(row["gain"])]
        for name, row in spreads.items()
    ]  # fmt: skip
    table = markdown(["trained on", "SRCC", "PLCC", "SRCC gained"], rows)
    return (
        "# A student of the reference model, at CPU scale\n\n"
        "Made by `python benchmarks/stage_distillation.py`: mean ± standard deviation over "
        f"{spreads['without']['srcc'].n} seeds; the gain is over the student without a teacher, seed by seed. "
        f"{experiment.LABELS}\n\n"
        f"MobileNetV3-Large from random weights, {plan.epochs} epochs on {plan.train_references} references; "
        f"{plan.validation_references} more pick the epoch, {plan.test_references} unseen ones test; each with 25 "
        f"distortions at 5 levels, one {plan.crop_px} px crop an image. "
        "The teacher is the earlier reference, trunk.safetensors.\n\n"
        f"{table}\n"
    )


def as_json(plan: Plan, results: Sequence[Result], spreads: dict[str, dict[str, Spread]]) -> dict[str, Any]:
    """Everything that was measured, without this machine's paths."""
    rows = [asdict(result) for result in results]
    return {"schema": 1, **settings(plan), "results": rows, "figures": figures_json(spreads)}


if __name__ == "__main__":
    sys.exit(main())
