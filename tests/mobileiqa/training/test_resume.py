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
from mobileiqa.training.state import FILE

ROOT = Path(__file__).resolve().parents[3]


def same_weights(a: Path, b: Path) -> bool:
    ours, theirs = (load(run / "best.safetensors")[0].state_dict() for run in (a, b))
    return all(torch.equal(value, theirs[key]) for key, value in ours.items())


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )


def saved_at(run: Path) -> int:
    state = run / FILE
    return state.stat().st_mtime_ns if state.exists() else 0


def kill(process: subprocess.Popen[bytes], run: Path, moment: float, early: bool) -> bool:
    """Kills `moment` seconds after the start, or after the first state it saves; False when it ended first."""
    before = saved_at(run)
    while not early and saved_at(run) == before and process.poll() is None:
        time.sleep(0.01)
    try:
        process.wait(timeout=moment)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


@pytest.mark.slow
def test_killed_ten_times_at_random_moments(
    labelled: Path, tmp_path: Path, command: Callable[..., list[str]]
) -> None:
    settings = ("crop_px=64", "batch=8", "group=1", "epochs=40", "warmup_epochs=0", "lr=0.001")
    killed = command(labelled, tmp_path / "killed", settings=settings)
    assert start(command(labelled, tmp_path / "calm", settings=settings)).wait() == 0
    moments = random.Random(5)
    for attempt in range(10):
        early = attempt % 5 == 1  # before it has done anything
        moment = moments.uniform(0.0, 4.0 if early else 0.4)
        assert kill(start(killed), tmp_path / "killed", moment, early), f"it ended after {attempt} kills"
    assert start(killed).wait() == 0
    assert same_weights(tmp_path / "calm", tmp_path / "killed")
    ours, theirs = ((tmp_path / run / "validation.csv").read_text() for run in ("calm", "killed"))
    assert ours == theirs


@pytest.mark.slow
def test_stopped_and_resumed(labelled: Path, tmp_path: Path, train: Callable[..., Any]) -> None:
    assert train(labelled, tmp_path / "calm").returncode == 0
    stopped = train(labelled, tmp_path / "stopped", "--minutes", "1e-9")
    assert json.loads(stopped.stdout.splitlines()[-1])["steps"] == 1
    process = train(labelled, tmp_path / "stopped")
    assert process.returncode == 0, process.stderr
    assert same_weights(tmp_path / "calm", tmp_path / "stopped")
    assert ", going on" in process.stderr
    calm, resumed = ((tmp_path / run / "best.safetensors").read_bytes() for run in ("calm", "stopped"))
    assert calm == resumed  # what it says of itself too: where the run started from


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
