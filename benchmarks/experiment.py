"""What the training comparisons share: arguments, the same references for all, runs that go on, figures over seeds.

A comparison has variants (ways to train) and seeds. Runs of one seed start from the same weights and see the same
images in the same order wherever their models allow it, so that variants are compared seed by seed: the spread of
the differences is much smaller than that of the figures.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import output
from mobileiqa import cli, typed_json
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.distortions import kadid10k
from mobileiqa.errors import UserError
from mobileiqa.freed_memory import keep_freed_memory
from mobileiqa.spec import ModelSpec
from mobileiqa.training.data_loader import Feed
from mobileiqa.training.distributed import Processes
from mobileiqa.training.initial_weights import initialize
from mobileiqa.training.loop import Settings, Validate, fit
from mobileiqa.training.objective import Task
from mobileiqa.training.pixel_sources import Source, source, synthetic
from mobileiqa.training.validation import validator

ROOT = Path(__file__).resolve().parents[1]
LABELS = (
    "Correlations are with transferred KADID scores (the mean human score of that distortion and level on other "
    "images), never with a MOS of these images."
)


SPLIT_SEED = 0  # of the references' parts; the seeds of the runs never move an image between them


@dataclass(frozen=True)
class Data:
    """The parts of the references, and where a plan's runs are kept; packs, which serve all plans, lie beside."""

    parts: dict[str, tuple[Dataset, tuple[Sample, ...]]]
    folder: Path

    def source(self, part: str, window_px: int) -> Source:
        """The packed windows of a part."""
        return source(*self.parts[part], self.folder.parent / "packs", window_px)

    def samples(self, part: str) -> tuple[Sample, ...]:
        """The labelled images of a part."""
        return self.parts[part][1]

    def scored(self, part: str, spec: ModelSpec) -> Validate:
        """What scores a task on one random crop, of the spec's size, of each of a part's images."""
        return validator(self.source(part, spec.inputs[0].width_px), self.samples(part), spec, CPU)


def divided(
    args: argparse.Namespace, counts: Mapping[str, int], test_references: int, *settings: Any
) -> Data:
    """Parts of `counts` references of one folder, and "test" of the other's; the runs' folder depends on `settings`."""
    table = kadid10k.read_severity(args.severity)
    seen, unseen = (synthetic(f, table, SPLIT_SEED, share=0) for f in (args.pristine, args.test_pristine))
    parts = {name: (seen, samples) for name, samples in by_reference(seen, counts, SPLIT_SEED).items()}
    parts["test"] = (unseen, by_reference(unseen, {"test": test_references}, SPLIT_SEED)["test"])
    names = [sorted({sample.reference for sample in dataset.samples}) for dataset in (seen, unseen)]
    return Data(parts, args.cache / key(*settings, names, sorted(table.items())))


@dataclass(frozen=True)
class Findings:
    """A finished comparison: the page that is committed, and its JSON."""

    page: str
    content: dict[str, Any]


def parser(summary: str, name: str) -> argparse.ArgumentParser:
    """The arguments of a comparison `name`."""
    arguments = "--pristine PRISTINE/train --test-pristine PRISTINE/val --severity severity.csv"
    example = f"python benchmarks/{name}.py {arguments} --minutes 30"
    parser = cli.parser(summary, example)
    add = parser.add_argument
    add("--pristine", type=Path, required=True, metavar="DIR", help="undistorted images")
    add("--test-pristine", type=Path, required=True, metavar="DIR", help="undistorted images of the test")
    add("--severity", type=Path, required=True, metavar="CSV", help="scores of distortions")
    add("--seeds", type=int, default=3, metavar="N", help="runs per variant (default %(default)s)")
    add("--minutes", type=float, default=0.0, metavar="M", help="save and stop after this time")
    add("--cache", type=Path, default=ROOT / ".cache" / name, metavar="DIR", help="packs and runs")
    output.add_output(parser, name)
    return parser


def start_of(encoder: Path | None) -> str:
    """What an encoder's weights start from, for a page and for the name of a folder of runs."""
    return "random weights" if encoder is None else f"`{encoder.name}`"


def start_from(model: nn.Module, encoder: Path | None, frozen: tuple[str, ...]) -> None:
    """Gives `model.backbone` the weights of a file and freezes what begins with `frozen`; None: leaves all as it is."""
    if encoder is None:
        return
    initialize(model, type(model).__name__, (encoder,), from_scratch=False)
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))


def with_encoder(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser, with the file that pretrained encoders start from."""
    parser.add_argument(
        "--encoder", type=Path, metavar="FILE",
        help="ImageNet weights of the encoder, as `make backbone` fetches them (default: random ones)",
    )  # fmt: skip
    return parser


def conclude(args: argparse.Namespace, body: Callable[[float], Findings]) -> int:
    """Runs body(until), prints and writes what it found. Out of time: exit 0, and the last line says so."""
    if args.seeds < 1 or args.minutes < 0:
        actual = f"{args.seeds} seeds, {args.minutes:g} minutes"
        raise UserError("one seed or more, and no negative time", actual, "correct --seeds or --minutes")
    output.refuse_existing(args)
    keep_freed_memory()
    try:
        findings = body(deadline(args.minutes))
    except OutOfTime:
        cli.note("out of time: the same command goes on from here")
        cli.emit({"finished": False})
        return 0
    output.publish(args.out, findings.content, findings.page, finished=True, **findings.content["figures"])
    return 0


CPU = torch.device("cpu")
METRICS = ("srcc", "plcc")


class OutOfTime(Exception):
    """The time that a comparison was given is over; what it reached is on disk, and the next start goes on."""


@dataclass(frozen=True)
class Result:
    """One trained variant on the test images. Correlations in -1..1; rmse and mae in label units (0..1)."""

    variant: str
    seed: int
    srcc: float
    plcc: float
    krcc: float
    rmse: float
    mae: float


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over n seeds; std is None for one seed."""

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f} ± {self.std:.3f}"


def spread(values: Sequence[float]) -> Spread:
    """The Spread of one or more values."""
    return Spread(
        float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values)
    )


def figures(results: Sequence[Result], baseline: str) -> dict[str, dict[str, Any]]:
    """By variant, in order: the Spread of each of METRICS, and "gain", of SRCC over the baseline's, seed by seed.

    Raises ValueError where a variant lacks one of the baseline's seeds: they could not be paired.
    """
    by_variant: dict[str, dict[int, Result]] = {}
    for result in results:
        by_variant.setdefault(result.variant, {})[result.seed] = result
    base, gains = by_variant[baseline], {}
    for variant, by_seed in by_variant.items():
        if by_seed.keys() != base.keys():
            raise ValueError(
                f"expected the seeds {sorted(base)} of variant {variant!r}; found {sorted(by_seed)}"
            )
        gains[variant] = {name: spread([getattr(r, name) for r in by_seed.values()]) for name in METRICS}
        gains[variant]["gain"] = spread([r.srcc - base[seed].srcc for seed, r in by_seed.items()])
    return gains


def figures_json(gains: Mapping[str, Mapping[str, Spread]]) -> dict[str, Any]:
    """`figures` as plain JSON."""
    return {variant: {name: asdict(value) for name, value in row.items()} for variant, row in gains.items()}


def by_reference(dataset: Dataset, counts: Mapping[str, int], seed: int) -> dict[str, tuple[Sample, ...]]:
    """Disjoint parts of a set, each with all samples of `counts[part]` references, drawn by seed.

    The samples keep the set's order. Raises UserError when there are fewer references than are wanted.
    """
    names = sorted({sample.reference for sample in dataset.samples})
    total = sum(counts.values())
    if len(names) < total:
        raise UserError(
            f"{total} pristine images ({', '.join(f'{n} {part}' for part, n in counts.items())})",
            str(len(names)),
            "give a folder with more",
        )
    order = iter(np.random.default_rng(seed).permutation(names).tolist())
    parts = {}
    for part, count in counts.items():
        references = {next(order) for _ in range(count)}
        parts[part] = tuple(s for s in dataset.samples if s.reference in references)
    return parts


def key(*settings: Any) -> str:
    """A short name for a folder of runs that changes with anything they depend on (JSON-ready values)."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def deadline(minutes: float) -> float:
    """time.monotonic() at which to stop; 0 minutes: never."""
    return time.monotonic() + 60 * minutes if minutes else float("inf")


def finish(task: Task, feed: Feed, validate: Validate, out: Path, until: float) -> None:
    """Trains to the recipe's end, from where `out` stands, and leaves the best weights by validation in the task.

    Raises OutOfTime when `until` comes first; the run is saved then.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise OutOfTime(str(out))
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(out, CPU, stop_after_s=0.0 if left == float("inf") else left)
    state = fit(task, feed, validate, feed.recipe, settings, Processes())
    if len(state.validation) < feed.recipe.epochs:
        raise OutOfTime(str(out))
    assert state.best is not None, "every epoch ends with a validation"
    task.module.load_state_dict(state.best["weights"])
    task.module.eval()


def once(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON object at `path`, computed and written where there is none yet."""
    if not path.exists():
        cli.write_json(path, compute())
    return typed_json.parse_object(typed_json.content_of(path), str(path), "remove it: it is computed again")
