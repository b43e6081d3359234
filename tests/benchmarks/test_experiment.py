"""Parts without a common reference, runs that go on, figures by hand."""

import dataclasses
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import experiment
from benchmarks.experiment import OutOfTime, Result, by_reference, figures, finish, key, once, spread
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.errors import UserError
from mobileiqa.training.data_loader import Feed, labels_of
from mobileiqa.training.objective import Task
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.recipe import recipe
from mobileiqa.zoo import MODELS

SPEC = MODELS["lar-iqa-single"].spec


def result(variant: str, seed: int, srcc: float) -> Result:
    return Result(variant, seed, srcc, srcc / 2, 0.0, 0.0, 0.0)


def dataset(references: int) -> Dataset:
    samples = tuple(
        Sample(Path(f"{r}.png"), 0.5, 3.0, "train", f"r{r}", 1, level)
        for level in range(1, 4)
        for r in range(references)
    )
    return Dataset("pristine", samples, (1.0, 5.0), "score", "")


def test_spread_is_the_sample_deviation():
    result = spread([1.0, 2.0, 6.0])
    assert (result.mean, result.std, result.n) == (3.0, pytest.approx(math.sqrt((4 + 1 + 9) / 2)), 3)
    assert str(result) == "3.000 ± 2.646"


def test_one_seed_has_no_deviation():
    assert (spread([0.25]).std, str(spread([0.25]))) == (None, "0.250")


def test_gains_are_paired_by_seed_whatever_the_order():
    rows = [result("a", 1, 0.1), result("a", 2, 0.5), result("b", 2, 0.6), result("b", 1, 0.3)]
    actual = figures(rows, "a")
    assert actual["a"]["gain"] == spread([0.0, 0.0])
    assert actual["b"]["gain"].mean == pytest.approx(0.15) and actual["b"]["gain"].std == pytest.approx(
        0.0707, 1e-3
    )
    assert actual["b"]["srcc"].mean == pytest.approx(0.45) and actual["b"]["plcc"].mean == pytest.approx(
        0.225
    )
    assert json.loads(json.dumps(experiment.figures_json(actual)))["b"]["gain"]["n"] == 2


def test_arms_of_other_seeds_are_not_compared():
    with pytest.raises(ValueError, match="variant 'b'"):
        figures([result("a", 1, 0.1), result("b", 2, 0.6)], "a")


def test_parts_share_no_reference_and_hold_all_its_samples():
    inputs = dataset(9)
    parts = by_reference(inputs, {"test": 2, "train": 5}, seed=1)
    names = {part: {s.reference for s in samples} for part, samples in parts.items()}
    assert [len(n) for n in names.values()] == [2, 5] and not names["test"] & names["train"]
    assert [len(samples) for samples in parts.values()] == [6, 15]
    assert parts["train"] == tuple(s for s in inputs.samples if s.reference in names["train"])


def test_parts_follow_the_seed_and_not_the_order_of_the_set():
    inputs = dataset(9)
    turned = dataclasses.replace(inputs, samples=inputs.samples[::-1])
    first, again, other = (
        {s.reference for s in by_reference(d, {"test": 4}, seed)["test"]}
        for d, seed in ((inputs, 1), (turned, 1), (inputs, 2))
    )
    assert first == again and first != other


def test_too_few_references_are_refused():
    with pytest.raises(UserError, match=r"10 pristine images \(2 test, 8 train\).*9"):
        by_reference(dataset(9), {"test": 2, "train": 8}, seed=1)


def test_the_key_changes_with_any_setting():
    keys = {
        key({"a": 1, "b": [2]}),
        key({"b": [2], "a": 1}),
        key({"a": 1, "b": [3]}),
        key({"a": 1}, {"b": [2]}),
    }
    assert len(keys) == 3


def test_once_computes_once(tmp_path: Path):
    calls = []
    for _ in range(2):
        result = once(tmp_path / "run" / "result.json", lambda: calls.append(1) or {"srcc": 0.5})
        assert result == {"srcc": 0.5}
    assert calls == [1]


class Network(nn.Module):
    """Mean colours -> score, by one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image.mean((2, 3))).squeeze(1)


def fitting(epochs: int) -> tuple[Task, Feed]:
    of = dataclasses.replace(
        recipe("reference"), objective="supervised", losses=(("mse", 1.0),), batch=8, group=1, epochs=epochs,
        crop_px=16, lr=0.01, ema=0.0, warmup_epochs=0.0, validation_limit=0,
    )  # fmt: skip
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 20, 3)).astype(np.uint8)
    samples = [Sample(Path(f"{i}.png"), i / 24, 0.0, "train", f"r{i}") for i in range(24)]
    torch.manual_seed(0)
    return build_task(Setup(of, Network(), SPEC)), Feed(lambda i: pixels[i], labels_of(samples), SPEC, of)


def weights(task: Task) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in task.module.parameters()])


def test_the_best_epochs_weights_are_left_in_the_task(tmp_path: Path):
    seen, srcc = [], iter([0.1, 0.7, 0.3])

    def validate(task: Task) -> dict[str, float]:
        seen.append(weights(task))
        return {"srcc": next(srcc), "plcc": 0.0}

    task, feed = fitting(3)
    finish(task, feed, validate, tmp_path, float("inf"))
    assert torch.equal(weights(task), seen[1]) and not torch.equal(seen[1], seen[2])
    assert not task.module.training


def constant(task: Task) -> dict[str, float]:
    return {"srcc": 0.5, "plcc": 0.0}


def test_a_run_that_ran_out_of_time_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, feed = fitting(2)
    finish(whole, feed, constant, tmp_path / "whole", float("inf"))
    with monkeypatch.context() as patched:
        patched.setattr(experiment, "time", SimpleNamespace(monotonic=lambda: 1 - 1e-9))
        for _ in range(6):  # enough for a step each: two epochs of three
            task, feed = fitting(2)
            with pytest.raises(OutOfTime):
                finish(task, feed, constant, tmp_path / "cut", 1.0)
    task, feed = fitting(2)
    before = weights(task)
    finish(task, feed, constant, tmp_path / "cut", float("inf"))
    assert torch.equal(weights(task), weights(whole)) and not torch.equal(weights(task), before)


def test_no_run_starts_when_the_time_is_over(tmp_path: Path):
    task, feed = fitting(1)
    with pytest.raises(OutOfTime):
        finish(task, feed, constant, tmp_path / "run", time.monotonic() - 1)
    assert not (tmp_path / "run").exists()
