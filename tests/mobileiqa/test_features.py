"""Features of photos and regressors on them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobileiqa import features
from mobileiqa.errors import UserError
from mobileiqa.features import Features, load, main, save
from mobileiqa.preprocess import prepare
from mobileiqa.training.regressors import Side, components, fit
from mobileiqa.variants import HEADS
from mobileiqa.zoo import build_seeded, entry


@pytest.fixture(scope="module")
def photos_with_scores(photo: Callable[..., Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "score", "split"))
        for seed, split in enumerate(("train",) * 5 + ("validation",) * 3 + ("test",) * 3):
            photo(seed, 70, 60).save(folder / f"p{seed}.png")
            writer.writerow((f"p{seed}.png", 0.1 * seed, split))
    return folder


def test_features_are_the_models_own(photos_with_scores: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "f.npz"
    arguments = ["--data", "folder", str(photos_with_scores), "--size", "64x64", "--out", str(out)]
    assert main(["write", "lar-iqa-single", *arguments]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["features"] == 1000
    content = load(out)
    spec = entry("lar-iqa-single").spec.resized(64, 64)
    image = torch.from_numpy(prepare(photos_with_scores / "p3.png", spec)["image"])
    with torch.no_grad():
        expected = build_seeded("lar-iqa-single").forward_features(image)[0]
    row = list(content.names).index("p3.png")
    assert np.allclose(content.features[row], expected, atol=1e-5) and content.sides[row] == "train"
    assert content.scores[row] == pytest.approx(0.3)
    assert main(["write", "lar-iqa-single", *arguments]) == 2, "the file is there"
    assert main(["fit", str(out), "--regressor", "ridge", "taylor2", "--epochs", "2"]) == 0
    captured = capsys.readouterr()
    assert set(json.loads(captured.out.splitlines()[-1])) == {"ridge", "taylor2"} and "affine" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("write", "mobilenet-iqa-small", "--size", "64x64"), "one vector an image"),
        (("write", "timm:no-such-network"), "timm:resnet50"),
        (("write", "lar-iqa-single", "--init", "x.pth"), "leave --init out"),
        (("write", "vgg"), "lar-iqa-kan"),
    ],
)
def test_what_has_no_features_is_one_line(
    photos_with_scores: Path, tmp_path: Path, arguments: tuple[str, ...], words: str, capsys: Any
) -> None:
    out = tmp_path / "f.npz"
    assert main([*arguments, "--data", "folder", str(photos_with_scores), "--out", str(out)]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1] and not out.exists()


def sides(seed: int = 0, count: int = 120) -> tuple[Side, Side, Side]:
    """Features of which three directions matter, bent."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(count, 3))
    raw = latent @ rng.normal(size=(3, 20)) * 5 + 100
    labels = 0.5 + 0.15 * np.tanh(latent[:, 0]) + 0.1 * latent[:, 1]
    thirds = np.split(np.arange(count), 3)
    return tuple(Side(raw[rows], labels[rows]) for rows in thirds)  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["ridge", "svr", "taylor2", "taylor3"])
def test_a_regressor_learns_what_features_say(name: str) -> None:
    train, validation, test = sides(count=240)
    regressor = fit(name, train, validation, epochs=40)
    assert np.corrcoef(regressor.predict(test.features), test.labels)[0, 1] > 0.9
    assert regressor.validation_srcc > 0.9 and regressor.choice


def test_components_hold_most_of_the_variance_and_know_the_training_images_alone() -> None:
    train, validation, _ = sides()
    project = components(train.features)
    parts = project(train.features)
    assert parts.shape[1] == 3 and abs(parts.mean(0)).max() < 1e-9
    covariance = np.cov(parts.T)
    assert abs(covariance - np.diag(np.diag(covariance))).max() < 1e-9
    assert abs(project(validation.features).mean(0)).max() > 1e-3
    with pytest.raises(UserError, match="vary"):
        components(np.ones((5, 4)))


@pytest.mark.parametrize("head", HEADS)
def test_every_kan_head_is_a_regressor(head: str) -> None:
    train, validation, test = sides(count=45)
    scores = fit(head, train, validation, epochs=2).predict(test.features)
    assert scores.shape == (15,) and np.isfinite(scores).all()


def test_a_damaged_file_is_one_line(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "f.npz"
    content = Features(
        np.array(["a"] * 9), np.arange(9.0), np.array(["train"] * 9), np.ones((8, 2), np.float32)
    )
    save(path, content)
    assert main(["fit", str(path)]) == 2
    path.write_bytes(b"PK\x03\x04 no archive")
    assert main(["fit", str(path)]) == 2
    assert main(["fit", str(tmp_path / "none.npz")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("write it again" in line or "none.npz" in line for line in lines)


def test_a_side_without_images_is_refused() -> None:
    content = Features(np.array(["a"] * 9), np.arange(9.0), np.array(["train"] * 9), np.random.rand(9, 2))
    with pytest.raises(UserError, match="validation side"):
        features.regress(content, "ridge")
