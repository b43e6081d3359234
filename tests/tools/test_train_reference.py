"""The shipped weights' training: its errors, and (slow, with piq) all of it on a few small photos."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobileiqa import checkpoint, training_record
from mobileiqa.training import damage_pack
from mobileiqa.training_record import reference_key
from mobileiqa.zoo import MODELS, build_seeded
from tools import train_reference


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    y, x = np.mgrid[:330, :340]
    for index in range(5):
        waves = [128 + 90 * np.sin(x / (7 + index + k)) * np.cos(y / (5 + k)) for k in range(3)]
        Image.fromarray(np.stack(waves, 2).astype(np.uint8)).save(folder / f"p{index}.png")
    return folder


@pytest.fixture
def severity(tmp_path: Path) -> Path:
    path = tmp_path / "severity.csv"
    lines = [f"{n},{level},{4.8 - 0.7 * level}" for n in range(1, 26) for level in range(1, 6)]
    path.write_text("distortion,level,mean_score\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def trunk(tmp_path: Path) -> Path:
    return checkpoint.save(
        tmp_path / "trunk.safetensors", build_seeded("lar-iqa-lite"), MODELS["lar-iqa-lite"].spec
    )


def test_a_name_that_is_nowhere_cannot_be_left_out(photos, severity, trunk, tmp_path, capsys):
    arguments = [
        str(photos),
        "--severity",
        str(severity),
        "--init",
        str(trunk),
        "--out",
        str(tmp_path / "run"),
    ]
    assert train_reference.main([*arguments, "--exclude", "other.png"]) == 2
    assert "other.png" in capsys.readouterr().err


def test_the_start_has_the_trunk_and_the_record(photos, severity, trunk, tmp_path):
    arguments = [str(photos), "--severity", str(severity), "--init", str(trunk), "--exclude", "p4.png"]
    args = train_reference.arguments().parse_args(arguments)
    model, spec = train_reference.start(args)
    source = checkpoint.load(trunk)[0]
    for name in ("backbone.blocks.3.0.conv_pw.weight", "early.1.weight"):
        assert model.state_dict()[name].equal(source.state_dict()[name])
    keys = spec.training.keys("train")
    assert reference_key("pristine", "p0.png") in keys and reference_key("pristine", "p4.png") not in keys
    assert spec.training.unrecorded == (trunk.name,)


def test_the_curve_is_drawn_of_what_was_written(tmp_path):
    columns = ("step", "mse", "plcc", "reasons", "order", "val_srcc", "val_plcc", "val_reasons")
    rows = ["20,0.1,0.3,0.5,0.02,,,", "40,0.05,0.2,0.4,0.01,,,", "40,,,,,0.8,0.8,0.6"]
    (tmp_path / "curve.csv").write_text("\n".join([",".join(columns), *rows]) + "\n")
    train_reference.curve_picture(tmp_path / "curve.csv", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width == 900


def test_photos_that_the_trunk_validated_on_validate_again(photos, severity, trunk, tmp_path, monkeypatch):
    monkeypatch.setattr(damage_pack, "CALIBRATION_PHOTOS", 1)
    arguments = [str(photos), "--severity", str(severity), "--init"]
    first = train_reference.photos_of(train_reference.arguments().parse_args([*arguments, str(trunk)]))
    assert first.held_back == {"p0.png"}  # nothing known of the trunk
    listing = training_record.listing_key(["p1.png"])
    record = training_record.record(
        [training_record.TrainedSet("pristine", 1, 3, 1, listing)],
        {reference_key("pristine", "p1.png")}, {reference_key("pristine", "p3.png")},
    )  # fmt: skip
    spec = dataclasses.replace(MODELS["lar-iqa-lite"].spec, training=record)
    other = checkpoint.save(tmp_path / "other.safetensors", build_seeded("lar-iqa-lite"), spec)
    again = train_reference.photos_of(train_reference.arguments().parse_args([*arguments, str(other)]))
    assert again.held_back == {"p3.png"} and [path.name for path in again.unseen] == ["p3.png"]
    assert [path.name for path in again.trained[0]] == ["p0.png", "p1.png", "p2.png", "p4.png"]


@pytest.mark.slow
def test_it_trains_from_photos_to_a_checkpoint_and_does_not_pack_twice(
    photos, severity, trunk, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("piq", reason="install the train extra: pip install piq")
    monkeypatch.setattr(train_reference, "GROUPS", (1, 1))
    monkeypatch.setattr(train_reference, "CARDS", 1)
    monkeypatch.setattr(damage_pack, "CALIBRATION_PHOTOS", 1)
    out = tmp_path / "run"
    arguments = [
        str(photos),
        "--severity",
        str(severity),
        "--init",
        str(trunk),
        "--out",
        str(out),
        "--workers",
        "1",
        "--steps",
        "1",
    ]
    assert train_reference.main(arguments) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["photos"] == 5 and result["head"]["loss"] > 0
    _, spec = checkpoint.load(out / "best.safetensors")
    assert spec.name == "whole-photo" and "KADID-calibrated" in spec.trained_on and spec.training
    monkeypatch.setattr(damage_pack, "pack", None)
    assert train_reference.main(arguments) == 0
