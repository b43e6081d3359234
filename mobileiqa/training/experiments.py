"""Comparing ways to train: the same references for all, runs that go on where they stopped, figures over seeds.

A comparison has variants (ways to train) and seeds. Runs of one seed start from the same weights and see the same
images in the same order wherever their models allow it, so that variants are compared seed by seed: the spread of
the differences is much smaller than that of the figures.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobileiqa import cli, typed_json
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.errors import UserError
from mobileiqa.training.data_loader import Feed
from mobileiqa.training.distributed import Processes
from mobileiqa.training.loop import Settings, Validate, fit
from mobileiqa.training.objective import Task

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
