"""The record of a run: what it and all earlier training read."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from mobileiqa.datasets.registry import read
from mobileiqa.errors import UserError
from mobileiqa.evaluate import read_untrained
from mobileiqa.spec import InputSpec, ModelSpec
from mobileiqa.training import records
from mobileiqa.training_record import TrainingRecord
from mobileiqa.zoo import TRUNK
from tests.mobileiqa.training import replicas

SPEC = ModelSpec("lar-iqa-single", (InputSpec("image", 64, 64),), trained_on="a test")


def test_earlier_training_is_remembered(sets: dict[str, Path]) -> None:
    first = records.of_sets([read("spaq", sets["spaq"])])
    second = records.of_sets([read("folder", sets["folder"])]).with_earlier([("a.st", first), ("b.pt", None)])
    assert first.keys("train") < second.keys("train")
    assert [trained.name for trained in second.sets] == ["folder", "spaq"]
    assert second.unrecorded == ("b.pt",)
    with pytest.raises(UserError, match=r"trained on [1-9]"):
        specs = {"model": dataclasses.replace(SPEC, training=second)}
        read_untrained(specs, ("spaq", sets["spaq"]), split_seed=3)


def test_what_training_starts_from_is_read_from_its_file(sets: dict[str, Path], tmp_path: Path) -> None:
    folder = [read("folder", sets["folder"])]
    new = records.of_run(tmp_path, folder, [TRUNK])
    assert [trained.name for trained in new.sets] == ["folder", "pristine"] and new.unrecorded == ()
    assert records.of_run(tmp_path, folder, []) == new, "the run's own file is read where it goes on"
    backbone = tmp_path / "backbone.pth"
    torch.save({"conv_stem.weight": torch.zeros(1)}, backbone)
    (tmp_path / "other").mkdir()
    assert records.of_run(tmp_path / "other", folder, [backbone]).sets == new.sets[:1]


def test_a_run_goes_on_with_the_same_files_and_scores_only(
    photo: Callable[..., Image.Image], tmp_path: Path
) -> None:
    """Else its record would not know an image that it is trained on."""
    root, out = replicas.folder(tmp_path / "set", photo), tmp_path / "run"
    out.mkdir()

    def record_of_run(*others: Path) -> TrainingRecord:
        return records.of_run(out, [read("folder", path) for path in (root, *others)], [])

    first = record_of_run()
    assert record_of_run() == first
    trained = read("folder", root).of("train")[0].path
    content, labels = trained.read_bytes(), (root / "labels.csv").read_text()
    photo(99, 72, 72).save(trained)
    with pytest.raises(UserError, match="found other ones in folder; restore them"):
        record_of_run()
    trained.write_bytes(content)
    lines = labels.splitlines()
    row = next(n for n, line in enumerate(lines) if line.startswith(trained.name))
    (root / "labels.csv").write_text("\n".join([*lines[:row], f"{trained.name},1.5", *lines[row + 1 :]]))
    with pytest.raises(UserError, match="found other ones in folder; restore them"):
        record_of_run()
    (root / "labels.csv").write_text(labels)
    shutil.copytree(root, tmp_path / "again")
    with pytest.raises(UserError, match="found 2 sets"):
        record_of_run(tmp_path / "again")
    shutil.move(root, tmp_path / "moved")
    root = tmp_path / "moved"
    assert record_of_run() == first
    (out / records.DATA).unlink()  # a run of an earlier version
    assert record_of_run() == first
