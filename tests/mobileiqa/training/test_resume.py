"""A run that is killed, at any moment, ends with the weights of an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mobileiqa.checkpoint import load

ROOT = Path(__file__).resolve().parents[3]


def same_weights(a: Path, b: Path) -> bool:
    ours, theirs = (load(run / "best.safetensors")[0].state_dict() for run in (a, b))
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )


@pytest.mark.slow
def test_killed_ten_times_at_random_moments(
    labelled: Path, tmp_path: Path, command: Callable[..., list[str]]
) -> None:
    settings = ("crop_px=64", "batch=8", "group=1", "epochs=40", "warmup_epochs=0", "lr=0.001")
    more = ("--save-every", "1")
    calm = start(command(labelled, tmp_path / "calm", *more, settings=settings))
    began = time.monotonic()
    assert calm.wait() == 0
    whole = time.monotonic() - began
    moments, kills = random.Random(5), 0
    while kills < 10:
        process = start(command(labelled, tmp_path / "killed", *more, settings=settings))
        try:
            process.wait(timeout=moments.uniform(0.2, 0.6) * whole)
            break  # it got to its end between kills
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills >= 3
    assert start(command(labelled, tmp_path / "killed", *more, settings=settings)).wait() == 0
    assert same_weights(tmp_path / "calm", tmp_path / "killed")
    ours, theirs = ((tmp_path / run / "validation.csv").read_text() for run in ("calm", "killed"))
    assert ours == theirs


@pytest.mark.slow
def test_stopped_and_resumed(labelled: Path, tmp_path: Path, train: Callable[..., Any]) -> None:
    assert train(labelled, tmp_path / "calm").returncode == 0
    stopped = train(labelled, tmp_path / "stopped", "--minutes", "1e-9")
    assert json.loads(stopped.stdout.splitlines()[-1])["steps"] == 1
    done = train(labelled, tmp_path / "stopped")
    assert done.returncode == 0, done.stderr
    assert same_weights(tmp_path / "calm", tmp_path / "stopped")


@pytest.mark.slow
def test_other_settings_in_the_same_folder_are_refused(
    labelled: Path, tmp_path: Path, train: Callable[..., Any]
) -> None:
    assert train(labelled, tmp_path / "run", "--minutes", "1e-9").returncode == 0
    before = (tmp_path / "run" / "state.pt").read_bytes()
    other = train(labelled, tmp_path / "run", settings=("crop_px=64", "batch=8", "group=1", "lr=0.5"))
    assert other.returncode == 2
    assert "another --out" in other.stderr and other.stderr.count("\n") <= 2
    assert (tmp_path / "run" / "state.pt").read_bytes() == before
