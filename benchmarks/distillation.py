r"""MobileIQA's distillation at CPU scale: does a student learn more with a teacher, and by which of two losses?

    make backbone
    python benchmarks/distillation.py --pristine PRISTINE/train --test-pristine PRISTINE/val \
        --severity severity.csv --encoder .envs/backbone/lib/python3*/site-packages/*/models/*.pth

Variants: `without` (MSE to the label), `paper` (plus the MSE to the teacher's opinion features, arXiv 2409.01212)
and `code` (plus the MSE to its stacked LDA outputs, as the public code does). One teacher, on the backbone of
the shipped reference model, which has seen far more images than the students will; every variant with the same
seeds, images and steps, from ImageNet's backbone as in the paper. Weights are kept by validation on references
of their own, figures come from references that neither teacher, student nor the reference model has seen.

Left out, because two cores would take weeks: two different backbones (both are Lite0, whose ImageNet weights come
in a package; its first three stages stay as they are), the paper's grid of 22 (4 here, without the head's
pooling, which would leave its 3x3 convolution no room) and its 300 epochs. So this shows whether the losses
work and which way they move the score, not the paper's numbers.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch

from benchmarks import experiment
from benchmarks.experiment import SPLIT_SEED, Data
from benchmarks.table import markdown
from mobileiqa import cli, zoo
from mobileiqa.models.mobile_iqa import MobileIQA, Variant
from mobileiqa.spec import Fit, InputSpec, ModelSpec
from mobileiqa.training.data_loader import Feed, labels_of
from mobileiqa.training.experiments import Result, Spread, figures, figures_json, finish, once
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.recipe import Recipe
from mobileiqa.training.state import FILE

MARGIN = 1.5  # a packed training window's side over the crop's

#                  backbone                 channels of the five levels  pool sigmoid
TEACHER = Variant("efficientnet_lite0", (16, 24, 40, 112, 320), 1, False, grid=4)
STUDENT = Variant("efficientnet_lite0", (16, 24, 40, 112, 320), 1, True, grid=4)
FROZEN = ("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2")  # of both backbones

ALPHA = 2.0  # of the label's MSE, in every student: the paper's


@dataclass(frozen=True)
class Variant:
    """A model and what it is trained against: an objective, its options and losses, as in a Recipe."""

    meaning: str
    objective: str
    options: tuple[tuple[str, float], ...] = ()
    losses: tuple[tuple[str, float], ...] = ()
    group: int = 1


# The teacher's new parts learn by correlation and by ranking levels, too: that is learnt sooner than scores.
LABELS = (("mse", 20.0), ("plcc", 1.0), ("rank", 1.0))
TEACHING = Variant("EfficientNet-Lite0 of the reference, on the labels", "supervised", losses=LABELS, group=5)
VARIANTS = {
    "without": Variant("student, label only", "supervised", losses=(("mse", ALPHA),)),
    "paper": Variant("student, label and opinions", "distill", (("alpha", ALPHA),)),
    "code": Variant(
        "student, label, opinions and LDA outputs", "distill", (("alpha", ALPHA), ("levels", 1.0))
    ),
}


@dataclass(frozen=True)
class Plan:
    """The size of the comparison. Every reference gives all 125 distortions and levels of the severity table."""

    teacher_references: int = 30
    student_references: int = 15  # among the teacher's
    validation_references: int = 4
    test_references: int = 10  # of the other folder
    teacher_epochs: int = 1
    student_epochs: int = 2
    batch: int = 40
    crop_px: int = 112


def main(argv: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """The command; `plan` is for tests."""
    summary = "Compare a student without a teacher, with the paper's distillation and with the public code's."
    parser = experiment.with_encoder(experiment.parser(summary, "distillation"))
    return cli.command(parser, lambda args: compare(args, plan or Plan()), argv)


def compare(args: argparse.Namespace, plan: Plan) -> int:
    """Trains, tests, prints and writes; the same command goes on where a stopped one was."""

    def body(until: float) -> experiment.Findings:
        data = data_of(plan, args)
        teacher, results = trained(plan, data, range(1, args.seeds + 1), until, args.encoder)
        found = figures(results, baseline="without")
        content = as_json(plan, teacher, results, found)
        return experiment.Findings(report(plan, teacher, found, experiment.start_of(args.encoder)), content)

    return experiment.conclude(args, body)


def data_of(plan: Plan, args: argparse.Namespace) -> Data:
    """The references in their parts; "student" is the first of the teacher's."""
    counts = {
        "validation": plan.validation_references,
        "student": plan.student_references,
        "more": plan.teacher_references - plan.student_references,
    }
    start = experiment.start_of(args.encoder)
    data = experiment.divided(args, counts, plan.test_references, settings(plan), start)
    (dataset, student), (_, more) = data.parts["student"], data.parts.pop("more")
    data.parts["teacher"] = (dataset, (*student, *more))
    return data


def trained(
    plan: Plan, data: Data, seeds: Sequence[int], until: float, encoder: Path | None
) -> tuple[Result, list[Result]]:
    """The teacher's figures, and those of every variant and seed; what is on disk is not trained again."""
    torch.manual_seed(SPLIT_SEED)
    teacher = MobileIQA(TEACHER)
    experiment.start_from(teacher, zoo.REFERENCE, FROZEN)
    setup = Setup(recipe_of(plan, "teacher", SPLIT_SEED), teacher, spec_of(plan))
    figure = result_of(plan, data, "teacher", setup, until, keep=True)
    results = []
    for seed in seeds:
        for variant in VARIANTS:
            cli.note(f"student, {variant}, seed {seed}")
            torch.manual_seed(seed)  # the same starting weights for every variant
            student, recipe = MobileIQA(STUDENT), recipe_of(plan, variant, seed)
            experiment.start_from(student, encoder, FROZEN)
            setup = Setup(recipe, student, spec_of(plan), teacher=teacher)
            results.append(result_of(plan, data, variant, setup, until))
    return figure, results


def result_of(plan: Plan, data: Data, variant: str, setup: Setup, until: float, keep: bool = False) -> Result:
    """Trains the setup's model and tests it. keep: the model gets its trained weights even if it was tested before."""
    task, seed = build_task(setup), setup.recipe.seed
    folder, part = data.folder / f"{variant}-{seed}", "teacher" if variant == "teacher" else "student"
    path = folder / "result.json"

    def fitted() -> None:
        pixels = data.source(part, round(MARGIN * plan.crop_px))
        feed = Feed(pixels, labels_of(data.samples(part)), setup.spec, setup.recipe)
        finish(task, feed, data.scored("validation", setup.spec), folder, until)

    def tested() -> dict[str, Any]:
        fitted()
        return {"variant": variant, "seed": seed, **data.scored("test", setup.spec)(task)}

    if keep and path.exists():
        fitted()
    result = Result(**once(path, tested))
    if not keep:
        (folder / FILE).unlink(missing_ok=True)  # 0.4 GB each, and the figures are kept
    return result


def spec_of(plan: Plan) -> ModelSpec:
    """The input that all models here read."""
    size = InputSpec("image", plan.crop_px, plan.crop_px, fit=Fit.CENTER_CROP)
    return ModelSpec("mobilenet-iqa", (size,))


def recipe_of(plan: Plan, name: str, seed: int) -> Recipe:
    """A variant's recipe; students differ in their objective alone."""
    teacher = name == "teacher"
    variant = TEACHING if teacher else VARIANTS[name]
    return Recipe(
        name, "mobilevit-iqa" if teacher else "mobilenet-iqa", variant.objective,
        plan.teacher_epochs if teacher else plan.student_epochs, plan.batch, lr=1e-3, weight_decay=1e-2,
        warmup_epochs=0.25, final_lr=0.01, losses=variant.losses, options=variant.options, group=variant.group,
        crop_px=plan.crop_px, flip_v=True, ema=0.99, clip_norm=5.0, seed=seed,
    )  # fmt: skip


def settings(plan: Plan) -> dict[str, Any]:
    """Everything but the data that the runs depend on."""
    return {
        "plan": asdict(plan),
        "variants": {"teacher": asdict(TEACHER), "student": asdict(STUDENT)},
        "frozen": FROZEN,
        "recipes": [recipe_of(plan, variant, SPLIT_SEED).to_json() for variant in ("teacher", *VARIANTS)],
    }


def report(plan: Plan, teacher: Result, found: dict[str, dict[str, Spread]], start: str) -> str:
    """The page that is committed."""
    head = ["trained", "SRCC", "PLCC", "SRCC gained"]
    rows = [[f"teacher: {TEACHING.meaning}", f"{teacher.srcc:.3f}", f"{teacher.plcc:.3f}", "–"]]
    for variant, row in found.items():
        gain = "–" if variant == "without" else f"{row['gain']}"
        rows.append([f"`{variant}`: {VARIANTS[variant].meaning}", str(row["srcc"]), str(row["plcc"]), gain])
    text = protocol(plan, found["without"]["srcc"].n, start)
    return f"# MobileIQA's distillation, at CPU scale\n\n{text}\n\n{markdown(head, rows)}\n"


def protocol(plan: Plan, seeds: int, start: str) -> str:
    """How to read the table."""
    return (
        f"Made by `python benchmarks/distillation.py`: mean ± standard deviation over {seeds} seeds; the gain is "
        f"over the student without a teacher, seed by seed. {experiment.LABELS}\n\n"
        f"{plan.test_references} unseen references test, {plan.validation_references} pick the epoch, "
        f"{plan.teacher_references} train the teacher and {plan.student_references} of them the students; each "
        f"with 25 distortions at 5 levels, one {plan.crop_px} px crop an image. A student has "
        f"{plan.student_epochs} epochs, its backbone from {start}; the teacher {plan.teacher_epochs}, on that of "
        f"the shipped reference model. MobileIQA's grid "
        f"is {STUDENT.grid} instead of 22: the losses are the paper's, the models are small relatives."
    )


def as_json(
    plan: Plan, teacher: Result, results: Sequence[Result], found: dict[str, dict[str, Spread]]
) -> dict[str, Any]:
    """Everything that was found, without this machine's paths."""
    return {
        "schema": 1,
        **settings(plan),
        "teacher": asdict(teacher),
        "results": [asdict(result) for result in results],
        "figures": figures_json(found),
    }


if __name__ == "__main__":
    sys.exit(main())
