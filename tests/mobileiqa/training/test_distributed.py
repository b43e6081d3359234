"""Two processes give the losses and weights of one, batch norms and losses over a batch included."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobileiqa.checkpoint import load
from mobileiqa.training.distributed import Processes, join, local_device

ROOT = Path(__file__).resolve().parents[3]
WORKER = str(Path(__file__).with_name("gloo_worker.py"))
LAUNCHER = [
    "-m",
    "torch.distributed.run",
    "--nproc_per_node=2",
    "--rdzv-backend=c10d",
    "--rdzv-endpoint=localhost:0",
]


def run(*arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert process.returncode == 0, process.stderr


def trained(folder: Path, *launcher: str, norms: str = "joint") -> dict[str, Any]:
    folder.mkdir()
    run(*launcher, WORKER, str(folder), norms)
    return torch.load(folder / "result.pt")


def test_plain_cuda_is_the_current_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.cuda.set_device takes no device without a number, with a GPU or without one."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(torch.device("cuda")) == Processes()
    calls: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    join(local_device("cuda"))
    assert calls == [torch.device("cuda", 1)]


@pytest.mark.slow
def test_two_gloo_processes_give_the_losses_and_weights_of_one(tmp_path: Path) -> None:
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two", *LAUNCHER)
    assert len(one["losses"]) == len(two["losses"]) == 8
    for ours, theirs in zip(one["losses"], two["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=2e-5)  # losses and inputs are float32
    assert one["losses"][0]["loss"] != pytest.approx(one["losses"][2]["loss"], rel=1e-3)  # it did train
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_without_joint_norms_it_would_not(tmp_path: Path) -> None:
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two", *LAUNCHER, norms="apart")
    assert one["losses"][0]["loss"] != pytest.approx(two["losses"][0]["loss"], rel=1e-4)


@pytest.mark.slow
def test_torchrun_trains_with_the_command(
    labelled: Path, tmp_path: Path, command: Callable[..., list[str]], train: Callable[..., Any]
) -> None:
    alone = train(labelled, tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    run(*LAUNCHER, *command(labelled, tmp_path / "two")[1:])
    curves = [(tmp_path / name / "training.csv").read_text().splitlines() for name in ("one", "two")]
    losses = [float(rows[1].split(",")[rows[0].split(",").index("loss")]) for rows in curves]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)  # float32, after the first step's rounding
    load(tmp_path / "two" / "best.safetensors")
