"""Each published system from a small generated set to a score: trains, resumes, evaluates, converts, scores a photo."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert import tflite
from convert.comparison.compare import TOLERANCES
from convert.flatbuffer.reader import read_graphs
from convert.inspect import inspect
from mobileiqa import evaluate, score, train
from mobileiqa.checkpoint import load

SIDE = 96
SPLITS = ("train",) * 4 + ("validation",) * 3 + ("test",) * 3


@pytest.fixture(scope="module")
def data(photo: Callable[..., Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photos with their originals beside them, the darker the worse; with votes."""
    folder = tmp_path_factory.mktemp("data")
    rows = [("image", "score", "reference", "split", "c1", "c2", "c3", "c4", "c5")]
    for seed, split in enumerate(SPLITS):
        original = photo(seed, SIDE + 8, SIDE)
        original.save(folder / f"r{seed}.png")
        share = (seed % 4) / 4
        pixels = (np.asarray(original) * (1 - 0.8 * share)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"p{seed}.png")
        worth = 1 - share + 0.01 * seed
        votes = [f"{np.exp(-((k - 1 - 4 * worth) ** 2)):.4f}" for k in range(1, 6)]
        rows.append((f"p{seed}.png", f"{worth:.3f}", f"r{seed}.png", split, *votes))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@dataclass(frozen=True)
class System:
    """How a recipe is trained here in two steps, and what becomes of its checkpoint."""

    size: str | None = None  # of training; None: the model's own
    more: tuple[str, ...] = ()
    settings: tuple[str, ...] = ("batch=2", "epochs=1", "warmup_epochs=0", "lr=0.0001")
    precision: str = "fp32"
    convert_size: str = ""
    refusal: str = ""  # of the conversion; empty: it converts, all in one XNNPACK partition
    reference: bool = False


SYSTEMS = {
    "koncept512": System("96x96", precision="fp16"),
    "musiq": System(convert_size="64x48"),
    # Its 51 million weights under 100,352 inputs: Adam's first steps at the recipe's rate leave the labels' range.
    "ms-scanet": System(settings=("batch=2", "epochs=1", "warmup_epochs=0", "lr=1e-7"), precision="fp16"),
    "fr-nr-transformer": System(
        settings=("batch=1", "epochs=1", "epoch_images=2", "validation_limit=3"),
        refusal="expected a model that a phone can run; found fr-nr-transformer: 113 GMACs",
        reference=True,
    ),
    "msliqa-both": System("64x64"),
    "lar-iqa-kan": System("64x64,64x64", ("--head", "taylor3", "--votes")),
    "mobileiqa-student": System("64x64", ("--mals", "1")),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SYSTEMS)
def test_from_photos_to_a_converted_score(recipe: str, data: Path, tmp_path: Path, capsys: Any) -> None:
    system = SYSTEMS[recipe]
    run, checkpoint = tmp_path / "run", tmp_path / "run" / "best.safetensors"
    arguments = ["--recipe", recipe, "--data", "folder", str(data), "--from-scratch", "--out", str(run)]
    arguments += [*system.more, *(["--size", system.size] if system.size else []), "--set", *system.settings]
    assert train.main([*arguments, "--minutes", "0.0001"]) == 0
    assert not checkpoint.exists() and (run / "state.pt").exists(), "stopped after the first of two steps"
    assert train.main(arguments) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["steps"] == 2 and np.isfinite(summary["best"]["rmse"])
    (run / "state.pt").unlink()  # up to 1 GB
    _, spec = load(checkpoint)
    assert not spec.untrained and spec.training is not None
    assert evaluate.main([str(checkpoint), "--data", "folder", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 3
    expected = scored(data / "p9.png", checkpoint, capsys)
    if system.reference:
        assert np.isfinite(scored(data / "p9.png", checkpoint, capsys, "--reference", str(data / "r9.png")))
    check_conversion(system, checkpoint, data, expected, capsys)


def scored(photo: Path, model: Path, capsys: Any, *more: str) -> float:
    """The score of one photo by the command."""
    assert score.main([str(photo), "--model", str(model), "--format", "json", *more]) == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    return row["score"]


def check_conversion(system: System, checkpoint: Path, data: Path, expected: float, capsys: Any) -> None:
    """The converted file scores as the checkpoint, or there is none and one line says why.

    Two steps teach a model next to nothing: parity refuses to judge one whose scores hardly differ (exit 1) and keeps
    its file as NAME.failed.tflite. A file of tokens scores photos of its size as the checkpoint does.
    """
    path, spec = checkpoint.with_name("model.tflite"), load(checkpoint)[1]
    size = ["--size", system.convert_size] if system.convert_size else []
    code = tflite.main([str(checkpoint), f"--{system.precision}", *size, "--out", str(path)])
    output = capsys.readouterr()
    if system.refusal:
        assert code == 2 and not path.exists()
        assert system.refusal in output.err.splitlines()[-1]
        return
    if code:
        assert code == 1 and "any candidate would pass" in output.out, output
        path = path.with_name("model.failed.tflite")
    content = inspect(read_graphs(path)[0])
    assert content["partitions"] == [content["operators"]] and content["refusals"] == []
    photo = data / "p9.png"
    if system.convert_size:
        photo = path.with_name("small.png")
        Image.open(data / "p9.png").crop((0, 0, 64, 48)).save(photo)
        expected = scored(photo, checkpoint, capsys)
    limit = TOLERANCES[system.precision].max_abs * (spec.score_range[1] - spec.score_range[0])
    assert scored(photo, path, capsys) == pytest.approx(expected, abs=limit)
