"""The loop's own promises: averaged weights, accumulation, KAN layers, precision, what it refuses."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobileiqa.datasets.core import Sample
from mobileiqa.errors import UserError
from mobileiqa.layers.kan import KANLinear, uniform_grid
from mobileiqa.training.data_loader import Feed, batches, labels_of
from mobileiqa.training.distributed import Processes
from mobileiqa.training.loop import Run, Settings, fit
from mobileiqa.training.objective import Task
from mobileiqa.training.objectives import Setup, build_task
from mobileiqa.training.recipe import Recipe, recipe
from mobileiqa.training.run import _executed
from mobileiqa.zoo import MODELS, build

CPU, ALONE = torch.device("cpu"), Processes()
SPEC = MODELS["lar-iqa-single"].spec
BASE = dataclasses.replace(
    recipe("reference"), objective="supervised", losses=(("mse", 1.0),), batch=8, group=1, epochs=3,
    crop_px=16, lr=0.01, ema=0.0, warmup_epochs=0.0, clip_norm=0.0, validation_limit=0,
)  # fmt: skip


class Network(nn.Module):
    """Mean colours (N, 3) -> KAN -> score."""

    def __init__(self) -> None:
        super().__init__()
        self.kan, self.head = KANLinear(3, 4), nn.Linear(4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.kan(image.mean((2, 3)))).squeeze(1)


def feed(of: Recipe, scores: Callable[[int], float] = lambda i: i / 24) -> Feed:
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (24, 1, 1, 3))
    pixels = np.broadcast_to(colours, (24, 20, 20, 3)).astype(np.uint8)
    samples = [Sample(Path(f"{i}.png"), scores(i), 0.0, "train", f"r{i}") for i in range(24)]
    return Feed(lambda i: pixels[i], labels_of(samples), SPEC, of)


def run_of(of: Recipe, out: Path, **settings: Any) -> Run:
    torch.manual_seed(0)
    return Run(build_task(Setup(of, Network(), SPEC)), of, Settings(out, CPU, **settings), ALONE)


def steps(run: Run, of: Recipe, count: int) -> list[dict[str, float]]:
    return [run.step(step, micro, feed(of)) for step, micro in batches(feed(of), 0, count, ALONE, 0)]


def weights(run: Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in run.module.parameters()])


def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    whole = run_of(BASE, tmp_path)
    split = run_of(dataclasses.replace(BASE, accumulate=4), tmp_path)
    assert [r["loss"] for r in steps(whole, BASE, 3)] == pytest.approx(
        [r["loss"] for r in steps(split, split.recipe, 3)], rel=1e-5
    )
    torch.testing.assert_close(weights(whole), weights(split), rtol=1e-4, atol=1e-6)


def test_averaged_weights_are_validated_and_the_trained_ones_put_back(tmp_path: Path) -> None:
    of = dataclasses.replace(BASE, ema=0.5)
    run = run_of(of, tmp_path)
    history = [weights(run)]
    for step, micro in batches(feed(of), 0, 3, ALONE, 0):
        run.step(step, micro, feed(of))
        run.state.step = step + 1
        history.append(weights(run))
    expected = history[0]
    for count, trained in enumerate(history[1:], start=1):
        decay = min(0.5, count / (count + 9))
        expected = decay * expected + (1 - decay) * trained
    seen = run.with_averaged(lambda: weights(run))
    torch.testing.assert_close(seen, expected)
    assert torch.equal(weights(run), history[-1])


def test_the_kan_penalty_is_added_and_makes_coefficients_smaller(tmp_path: Path) -> None:
    plain, heavy = BASE, dataclasses.replace(BASE, kan_penalty=1.0)
    sizes = []
    for of in (plain, heavy):
        run = run_of(of, tmp_path)
        losses = steps(run, of, 9)
        sizes.append(float(run.module.kan.spline_weight.detach().abs().mean()))
        assert ("kan" in losses[0]) == (of is heavy)
    assert losses[0]["loss"] == pytest.approx(losses[0]["mse"] + losses[0]["kan"], rel=1e-5)
    assert sizes[1] < 0.8 * sizes[0]


def test_grids_are_fitted_every_few_steps_also_in_the_averaged_weights(tmp_path: Path) -> None:
    of = dataclasses.replace(BASE, grid_every=2, ema=0.9)
    run = run_of(of, tmp_path)
    start = uniform_grid(3)
    steps(run, of, 1)
    assert torch.equal(run.module.kan.grid, start)
    steps(run, of, 2)
    assert not torch.allclose(run.module.kan.grid, start)
    assert torch.equal(run.averaged["kan.grid"], run.module.kan.grid)


def test_bfloat16_trains_to_about_the_same_weights(tmp_path: Path) -> None:
    exact, mixed = run_of(BASE, tmp_path), run_of(BASE, tmp_path, precision="bf16")
    losses = [[r["loss"] for r in steps(run, BASE, 6)] for run in (exact, mixed)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    inputs = feed(BASE, lambda i: float("nan"))
    task = build_task(Setup(BASE, Network(), SPEC))
    with pytest.raises(UserError, match="finite loss"):
        fit(task, inputs, lambda task: {"srcc": 0.0}, BASE, Settings(tmp_path, CPU), ALONE)


def test_the_best_epoch_by_validation_is_kept_not_the_last(tmp_path: Path) -> None:
    ranks = iter([0.3, 0.9, 0.5])
    seen: list[torch.Tensor] = []

    def validate(task: Task) -> dict[str, float]:
        seen.append(task.module.head.weight.detach().clone())
        return {"srcc": next(ranks), "plcc": 0.0}

    task = build_task(Setup(BASE, Network(), SPEC))
    state = fit(task, feed(BASE), validate, BASE, Settings(tmp_path, CPU), ALONE)
    assert state.best["epoch"] == 2
    assert torch.equal(state.best["weights"]["head.weight"], seen[1])
    assert not torch.equal(seen[1], seen[2])


def finished(out: Path, of: Recipe, **settings: Any) -> Any:
    torch.manual_seed(0)
    task = build_task(Setup(of, Network(), SPEC))
    return fit(
        task, feed(of), lambda task: {"srcc": 0.0, "plcc": 0.0}, of, Settings(out, CPU, **settings), ALONE
    )


def test_a_run_stopped_after_every_step_ends_with_the_same_weights(tmp_path: Path) -> None:
    of = dataclasses.replace(BASE, ema=0.9, kan_penalty=0.1)
    calm = finished(tmp_path / "calm", of)
    for step in range(1, 9):
        assert finished(tmp_path / "stopped", of, stop_after_s=1e-9).step == step
    resumed = finished(tmp_path / "stopped", of)
    assert resumed.step == calm.step == 9
    for kind in ("module", "averaged"):
        for name, value in calm.tensors[kind].items():
            assert torch.equal(value, resumed.tensors[kind][name]), name
    times = ("data_ms", "step_ms")
    rows = [
        [{k: v for k, v in row.items() if k not in times} for row in run.training] for run in (calm, resumed)
    ]
    assert rows[0] == rows[1], "a logged row averages every step of its interval, interrupted or not"


def test_other_settings_do_not_go_on_in_the_same_folder(tmp_path: Path) -> None:
    finished(tmp_path, BASE, stop_after_s=1e-9)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(UserError, match="another --out"):
        finished(tmp_path, dataclasses.replace(BASE, lr=0.5))
    assert (tmp_path / "state.pt").read_bytes() == before


def test_recomputing_the_backbone_gives_the_same_gradients(tmp_path: Path) -> None:
    gradients = []
    spec = MODELS["mobilenet-iqa-small"].spec.sized("64x64")
    batch = next(batches(feed(BASE), 0, 1, ALONE, 0))[1][0]
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    batch = dataclasses.replace(batch, inputs=(image,), score=torch.tensor([0.2, 0.8]))
    for checkpointing in (False, True):
        torch.manual_seed(0)
        task = build_task(Setup(BASE, build("mobilenet-iqa-small"), spec))
        task = _executed(task, Settings(tmp_path, CPU, checkpointing=checkpointing))
        task.module.train()
        torch.manual_seed(1)  # of dropout
        task.loss(batch, lambda scores: scores)["loss"].backward()
        gradients.append({name: p.grad for name, p in task.module.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-7)
    assert any(g is not None and g.abs().max() > 0 for n, g in gradients[0].items() if "backbone" in n)
    with pytest.raises(UserError, match="leave --checkpointing out"):
        _executed(build_task(Setup(BASE, Network(), SPEC)), Settings(tmp_path, CPU, checkpointing=True))


def test_distillation_compiles_what_its_loss_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "mobilenet-iqa-small"
    spec = MODELS[name].spec.sized("64x64")
    with torch.device("meta"):
        student, teacher = build(name), build(name)
    setup = Setup(recipe("mobileiqa-distill"), student, spec, 1, teacher, spec)
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    task = _executed(build_task(setup), Settings(tmp_path, CPU, compile=True))
    reached = {id(part) for module in compiled for part in module.modules()}
    assert {id(student.backbone), id(teacher.backbone)} <= reached and task.teacher is not None
