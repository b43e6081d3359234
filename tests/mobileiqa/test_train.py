"""python -m mobileiqa.train, as a user runs it."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa.checkpoint import load
from mobileiqa.datasets.registry import read
from mobileiqa.preprocess import prepare
from mobileiqa.train import main

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("crop_px=64", "batch=8", "group=1", "epochs=8", "warmup_epochs=0", "lr=0.002")


@pytest.fixture(scope="module")
def labelled(photo: Callable[..., Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder set: photos at four brightnesses, the darker the worse."""
    folder = tmp_path_factory.mktemp("labelled")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "score", "split"))
        for seed in range(10):
            pixels = np.asarray(photo(seed, 80, 72))
            for level in range(1, 5):
                name = f"p{seed}_{level}.png"
                Image.fromarray((pixels * (1 - 0.22 * (level - 1))).astype(np.uint8)).save(folder / name)
                writer.writerow((name, 1.1 - 0.25 * level, "validation" if seed > 7 else "train"))
    return folder


def run(data: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = [
        "--recipe", "reference", "--data", "folder", str(data), "--size", "64x64", "--out", str(out), *more,
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "mobileiqa.train", *arguments], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def trained(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "run"
    process = run(labelled, out, "--from-scratch", "--set", *QUICK, "--workers", "1")
    assert process.returncode == 0, process.stderr
    return out, json.loads(process.stdout.splitlines()[-1])


def test_it_learns_what_the_labels_say(trained: tuple[Path, dict[str, Any]], labelled: Path) -> None:
    _, summary = trained
    assert summary["best"]["srcc"] > 0.8  # darker is worse: seen in eight photos, validated on two others
    model, spec = load(summary["checkpoint"])
    scores = [float(model(_tensor(labelled / f"p9_{level}.png", spec))) for level in (1, 4)]
    assert scores[0] > scores[1]
    assert "folder (32 images" in spec.trained_on and "random weights" in spec.trained_on
    assert spec.inputs[0].fit == "center_crop" and spec.inputs[0].shape == (1, 3, 64, 64)


def _tensor(path: Path, spec: Any) -> Any:
    return torch.from_numpy(prepare(path, spec)["image"])


def test_half_precision_is_validated_in_float32(labelled: Path, tmp_path: Path) -> None:
    """In bfloat16, scores of two images that differ by less than 0.002 can be equal."""
    process = run(
        labelled, tmp_path / "run", "--from-scratch", "--precision", "bf16", "--set", *QUICK[:3], "epochs=1"
    )
    assert process.returncode == 0, process.stderr
    summary = json.loads(process.stdout.splitlines()[-1])
    model, spec = load(summary["checkpoint"])
    samples = read("folder", labelled).of("validation")
    with torch.inference_mode():
        errors = [float(model(_tensor(each.path, spec))) - each.score for each in samples]
    assert summary["best"]["rmse"] == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))), rel=1e-5)


def test_it_leaves_logs_and_a_picture(trained: tuple[Path, dict[str, Any]]) -> None:
    out, summary = trained
    with (out / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [4 * (i + 1) for i in range(8)]
    assert all(float(r["data_ms"]) >= 0 and float(r["step_ms"]) > 0 for r in rows)
    assert float(rows[-1]["mse"]) < float(rows[0]["mse"])
    with (out / "validation.csv").open() as file:
        srcc = [float(r["srcc"]) for r in csv.DictReader(file)]
    assert max(srcc) == pytest.approx(summary["best"]["srcc"]) and len(srcc) == 8
    with Image.open(out / "learning_curve.png") as picture:
        assert len(set(picture.convert("L").resize((90, 40)).tobytes())) > 10
    (events,) = (out / "tensorboard").iterdir()
    assert b"validation/srcc" in events.read_bytes()


@pytest.mark.slow
def test_a_finished_run_is_not_repeated(trained: tuple[Path, dict[str, Any]], labelled: Path) -> None:
    out, summary = trained
    before = (out / "validation.csv").read_text()
    again = run(labelled, out, "--from-scratch", "--set", *QUICK)
    assert json.loads(again.stdout.splitlines()[-1]) == summary
    assert (out / "validation.csv").read_text() == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--recipe", "best"), "mobileiqa-teacher"),
        (("--set", "colour=1"), "correct --set"),
        (("--set", "batch=400", "--from-scratch"), "at least 400 training images"),
        (("--device", "tpu"), "correct --device"),
        (("--size", "4"), "--size"),
        (("--init", "nothing.pth"), "nothing.pth"),
        (("--data", "pristine", "."), "--severity"),
        (("--set", "window_px=64", "--recipe", "reference-kan", "--size", "64x64"), "or size every input"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    labelled: Path, tmp_path: Path, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    basic = ["--recipe", "reference", "--data", "folder", str(labelled), "--size", "64x64"]
    assert main([*basic, "--out", str(tmp_path / "run"), *more]) == 2
    stderr = capsys.readouterr().err
    assert words in stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_a_folder_of_other_things_is_left_alone(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    process = run(labelled, tmp_path, "--from-scratch", "--set", *QUICK)
    assert process.returncode == 2 and "another --out" in process.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


HOLDER = """
import sys, time
from pathlib import Path
from mobileiqa import cli
from mobileiqa.files import claims
run = Path(sys.argv[1])
run.mkdir()
cli.run("x", lambda: [claims.claim(claims.in_folder(run)), print("held", flush=True), time.sleep(60)] and 0)
"""


def test_one_training_at_a_time_in_a_folder(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torchrun's processes, which share the folder, only the first claims it."""
    words = [
        "--recipe",
        "reference",
        "--data",
        "folder",
        str(tmp_path / "none"),
        "--out",
        str(tmp_path / "run"),
    ]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert main(words) == 2
    assert f"found process {holder.pid} on" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main(words) == 2
    assert "process" not in capsys.readouterr().err
    holder.kill()
    holder.wait()
