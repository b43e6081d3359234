"""A full disk ends in one line on stderr, exit 2, and nothing left behind.

A process may limit the size of the files that it writes (RLIMIT_FSIZE): the kernel then refuses the write half
way, as a full file system does, with EFBIG for ENOSPC. It holds for every library of the process.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convert.onnx import main as convert_onnx
from mobileiqa import cli

REPO = Path(__file__).resolve().parents[2]
PROGRESS = re.compile(r": \d+ of \d+, |^converting: [a-zA-Z0-9 ,]+$")
LINE = "check the path, its permissions and the space left"
COMMAND = """
import importlib, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(importlib.import_module(sys.argv[2]).main(sys.argv[3:]))
"""
ATOMIC = """
import resource, sys
from pathlib import Path
from mobileiqa import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
def body():
    with cli.atomic(Path(sys.argv[2])) as temporary:
        temporary.write_bytes(bytes(10_000))
    return 0
sys.exit(cli.run("probe", body))
"""
SAVE = """
import resource, sys
from mobileiqa import checkpoint, cli
from mobileiqa.zoo import MODELS, build_seeded
model, spec = build_seeded("lar-iqa-single"), MODELS["lar-iqa-single"].spec
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(cli.run("probe", lambda: 0 if checkpoint.save(sys.argv[2], model, spec) else 1))
"""


def limited(code: str, limit: int, *arguments: str | Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a process of its own whose temporary files lie in `scratch`."""
    scratch.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", code, str(limit), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(REPO), "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )


def refused(result: subprocess.CompletedProcess[str], folder: Path, before: set[str], scratch: Path) -> None:
    """Checks what a full disk may leave of a run: one line, exit 2, and the folders as they were."""
    assert result.returncode == 2, result.stdout + result.stderr
    stderr = result.stderr.strip().splitlines()
    lines = [
        line for line in stderr if not line.startswith("INFO: ") and not PROGRESS.search(line)
    ]  # LiteRT's, ours
    assert len(lines) == 1 and "File too large" in lines[0] and lines[0].endswith(LINE), result.stderr
    assert set(os.listdir(folder)) == before
    left = [path for path in scratch.rglob("*") if path.is_file()]
    assert left == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_atomic_keeps_the_old_file(folder: Path, tmp_path: Path):
    path, scratch = folder / "file.bin", tmp_path / "scratch"
    path.write_bytes(b"old")
    refused(limited(ATOMIC, 9_999, path, scratch=scratch), folder, {path.name}, scratch)
    assert path.read_bytes() == b"old"
    assert limited(ATOMIC, 10_000, path, scratch=scratch).returncode == 0
    assert path.stat().st_size == 10_000


def test_scores_are_not_half_written(folder: Path, tmp_path: Path, tiny: Any, photos: Path):
    arguments = ("mobileiqa.score", photos, "--model", tiny[2], "--out", folder / "scores.csv")
    scratch = tmp_path / "scratch"
    refused(limited(COMMAND, 60, *arguments, scratch=scratch), folder, set(), scratch)
    assert limited(COMMAND, 100_000, *arguments, scratch=scratch).returncode == 0
    assert (folder / "scores.csv").stat().st_size > 60


def test_scores_that_were_made_are_kept_whole(folder: Path, tmp_path: Path, tiny: Any, photos: Path):
    out = folder / "scores.csv"
    arguments = ("mobileiqa.score", photos, "--model", tiny[2], "--out", out)
    result = limited(COMMAND, 400, *arguments, scratch=tmp_path / "scratch")
    assert result.returncode == 2 and f"images are in {out}.partial; {LINE}" in result.stderr
    assert limited(COMMAND, 100_000, *arguments, "--force", scratch=tmp_path / "scratch").returncode == 0
    assert os.listdir(folder) == ["scores.csv"]


def test_copies_of_calibration_images_are_all_or_none(folder: Path, tmp_path: Path, tiny: Any, photos: Path):
    out, scratch = folder / "calib", tmp_path / "scratch"
    arguments = (
        "calibration.select",
        "--images",
        photos,
        "--model",
        tiny[2],
        "--count",
        "4",
        "--copy",
        "--out",
        out,
    )
    largest = max(path.stat().st_size for path in photos.iterdir())
    refused(limited(COMMAND, largest - 1, *arguments, scratch=scratch), folder, set(), scratch)
    assert limited(COMMAND, 1_000_000, *arguments, scratch=scratch).returncode == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused(limited(COMMAND, largest - 1, *arguments, "--force", scratch=scratch), folder, {"calib"}, scratch)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before and len(
        before
    ) == 5


def test_a_labelled_set_is_all_or_none(folder: Path, tmp_path: Path, photos: Path):
    rows = [f"{number},{level},{5 - level * 0.8}" for number in range(1, 26) for level in range(1, 6)]
    (tmp_path / "severity.csv").write_text("\n".join(["distortion,level,mean_score", *rows]))
    (tmp_path / "pristine").mkdir()
    os.link(photos / "photo0.png", tmp_path / "pristine" / "a.png")
    arguments = ("mobileiqa.distort", tmp_path / "pristine", "--severity", tmp_path / "severity.csv", "--out",
                 folder / "set", "--distortions", "1", "--workers", "1")  # fmt: skip
    scratch = tmp_path / "scratch"
    refused(limited(COMMAND, 500, *arguments, scratch=scratch), folder, set(), scratch)


@pytest.mark.parametrize("limit", [100_000, 20_000_000])
@pytest.mark.slow
def test_an_onnx_file_is_not_half_written(limit: int, folder: Path, tmp_path: Path):
    arguments = ("convert.onnx", "--model", "lar-iqa-single", "--size", "64x64", "--out", folder / "x.onnx")
    scratch = tmp_path / "scratch"
    refused(limited(COMMAND, limit, *arguments, scratch=scratch), folder, set(), scratch)


def test_a_sidecar_that_cannot_be_written_takes_the_file_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The disk is full between the two: no file is left whose sidecar is missing or is another's."""

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    (folder / "x.onnx").write_bytes(b"good")
    monkeypatch.setattr(cli, "write_json", full)
    arguments = ["--model", "lar-iqa-single", "--size", "64x64", "--out", str(folder / "x.onnx"), "--force"]
    assert convert_onnx(arguments) == 2
    assert "No space left" in capsys.readouterr().err
    assert os.listdir(folder) == ["x.onnx"] and (folder / "x.onnx").read_bytes() == b"good"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100_000, 10_000_000])
def test_a_tflite_file_is_not_half_written(limit: int, folder: Path, tmp_path: Path):
    """Its converter, LLVM's own writer, would end the process without a word."""
    arguments = ("convert.tflite", "--model", "lar-iqa-single", "--size", "64x64", "--fp32",
                 "--out", folder / "x.tflite")  # fmt: skip
    scratch = tmp_path / "scratch"
    refused(limited(COMMAND, limit, *arguments, scratch=scratch), folder, set(), scratch)


def test_a_checkpoint_is_not_half_written(folder: Path, tmp_path: Path):
    scratch = tmp_path / "scratch"
    result = limited(SAVE, 1_000_000, folder / "x.safetensors", scratch=scratch)
    refused(result, folder, set(), scratch)
