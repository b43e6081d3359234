"""The ten minutes on a GPU: its figures from a log, and a few steps of it on a CPU."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.gpu_training import RESULT, main, measured

CPU = torch.device("cpu")


def test_figures_are_of_the_steps_after_the_first(tmp_path: Path) -> None:
    log = tmp_path / "training.csv"
    rows = ["9,900,5000", "8,900,5000", "7,900,5000", "6,100,300", "5,100,300"]
    log.write_text("\n".join(["loss,data_ms,step_ms", *rows]))
    result = measured(log, 8, CPU)
    assert result["steps"] == 2 and result["images_per_second"] == pytest.approx(20)
    assert result["data_wait_share"] == pytest.approx(0.25) and result["step_ms"] == 300
    assert result["loss"] == [9, 5] and result["peak_memory_mb"] > 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--device", "cuda:77"), "correct --device"),
        (("--batch", "0", "--device", "cpu"), "--batch above 0"),
        (("--minutes", "nan", "--device", "cpu"), "--minutes above 0"),
        (("--steps", "-1", "--device", "cpu"), "--steps of 0 or more"),
        (("--device", "cpu"), "a label file at"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[str, ...], words: str, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "o"
    assert main([str(tmp_path), "--severity", "s.csv", "--out", str(out), *arguments]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1] and not out.exists()


@pytest.mark.slow
def test_a_few_steps_on_a_cpu(photo: Callable[..., Image.Image], tmp_path: Path, capsys: Any) -> None:
    pristine, out = tmp_path / "pristine", tmp_path / "out"
    pristine.mkdir()
    for seed in range(4):
        photo(seed, 96, 80).save(pristine / f"p{seed}.png")
    severity = tmp_path / "severity.csv"
    rows = [f"{number},{level},{5 - 0.7 * level}" for number in range(1, 26) for level in range(1, 6)]
    severity.write_text("\n".join(["distortion,level,mean_score", *rows]))
    small = ("--models", "mobilenet-iqa-small", "mobilenet-iqa-small", "--size", "80x64", "--steps", "4")
    arguments = [str(pristine), "--severity", str(severity), "--out", str(out), "--device", "cpu"]
    more = ("--precision", "fp32", "--workers", "0", "--batch", "2", "--checkpointing")
    assert main([*arguments, *small, *more]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["steps"] == 1 and result["images_per_second"] > 0 and 0 <= result["data_wait_share"] < 1
    assert json.loads((out / RESULT).read_text())["peak_memory_mb"] > 100
    assert main(arguments) == 2
    assert "an empty folder" in capsys.readouterr().err.splitlines()[-1]
