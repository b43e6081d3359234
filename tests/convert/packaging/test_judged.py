"""Files with embedded preprocessing beside float files in every command that judges files by their scores."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from convert import accuracy
from convert.packaging.packaged_file import embed_preprocessing
from convert.testing import assert_parity
from mobileiqa import evaluate
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from tests.convert.packaging.conftest import TINY, write_tiny

PHOTOS = 6


@pytest.fixture
def labelled(photo, tmp_path: Path) -> Path:
    """Photos of 90x70 and of 70x90 with labels, all on the test side."""
    folder = tmp_path / "labelled"
    folder.mkdir()
    for seed in range(PHOTOS):
        photo(seed, *((90, 70) if seed % 2 else (70, 90))).save(folder / f"{seed}.png")
    rows = [f"{seed}.png,{seed / PHOTOS},test" for seed in range(PHOTOS)]
    (folder / "labels.csv").write_text("\n".join(["image,score,split", *rows]) + "\n")
    return folder


@pytest.fixture
def files(flatbuffer, tmp_path: Path) -> tuple[Path, Path]:
    """A float file, and the same for photos of two sizes."""
    source = write_tiny(flatbuffer, tmp_path / "float.tflite", TINY)
    camera = tmp_path / "camera.tflite"
    embed_preprocessing(source, camera, [(90, 70), (70, 90)])
    return source, camera


def by_hand(source: Path, folder: Path) -> list[float]:
    run = litert.runner(source)
    return [float(run(prepare(folder / f"{seed}.png", TINY)).mean()) for seed in range(PHOTOS)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_evaluate_scores_each_file_by_its_own_inputs(
    order: tuple[int, int], files: tuple[Path, Path], labelled: Path, tmp_path: Path, capsys
) -> None:
    models = [str(files[i]) for i in order]
    out = tmp_path / "report"
    assert evaluate.main([*models, "--data", "folder", str(labelled), "--out", str(out)]) == 0
    with (out / "scores.csv").open(newline="") as file:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    expected = by_hand(files[0], labelled)
    for name in ("float.tflite", "camera.tflite"):
        scores = [float(rows[f"{seed}.png"][name]) for seed in range(PHOTOS)]
        np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_evaluate_names_a_photo_that_does_not_fit(
    files: tuple[Path, Path], labelled: Path, photo, capsys
) -> None:
    photo(0, 64, 48).save(labelled / "0.png")
    command = [str(files[1]), "--data", "folder", str(labelled)]
    assert evaluate.main(command) == 2
    error = capsys.readouterr().err
    assert "0.png" in error and "a photo of 90x70 or 70x90" in error
    assert evaluate.main([*command, "--skip-unreadable"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == PHOTOS - 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_accuracy_scores_each_file_by_its_own_inputs(
    order: tuple[int, int], files: tuple[Path, Path], labelled: Path, capsys
) -> None:
    fp32, candidate = (str(files[i]) for i in order)
    assert accuracy.main([fp32, candidate, "--images", str(labelled)]) in (0, 1)  # 1: six photos are few
    output = capsys.readouterr()
    (row,) = json.loads(output.out.splitlines()[-1])["files"]
    assert row["precision"] == "fp32" and row["max_shift"] < 1e-3, row
    assert "no SQNR along the graph of camera.tflite" in output.out


class Runner(torch.nn.Module):
    """The float file as a module."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.run = litert.runner(path)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.run({"image": image.numpy()}))


def test_parity_takes_a_file_with_embedded_preprocessing(
    files: tuple[Path, Path], labelled: Path, photo
) -> None:
    model = Runner(files[0]), TINY
    report = assert_parity(model, files[1], labelled, tolerance=1e-3)
    assert report.passed and report.n == PHOTOS
    photo(0, 64, 48).save(labelled / "0.png")
    with pytest.raises(AssertionError, match="a photo of 90x70 or 70x90"):
        assert_parity(model, files[1], labelled, tolerance=1e-3)
