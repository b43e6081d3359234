"""Published tables: the list, what each needs, and every one of them on a small generated set."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileiqa.datasets.registry import READERS
from mobileiqa.evaluation.published import BACKBONES, GMACS, IMAGES, TABLES
from mobileiqa.table_rows import Context, recipe_of, request_of, run_name
from mobileiqa.tables import main, places
from mobileiqa.training.recipe import RECIPES
from mobileiqa.variants import HEADS
from mobileiqa.zoo import MODELS, build

SPLITS = ("train",) * 4 + ("validation",) * 3 + ("test",) * 3


@pytest.fixture(scope="module")
def stand_in(photo: Callable[..., Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photos with originals and votes, the darker the worse."""
    folder = tmp_path_factory.mktemp("set")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "score", "reference", "split", "c1", "c2", "c3", "c4", "c5"))
        for seed, split in enumerate(SPLITS):
            original = photo(seed, 104, 96)
            original.save(folder / f"r{seed}.png")
            pixels = (np.asarray(original) * (1 - 0.2 * (seed % 4))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"p{seed}.png")
            worth = 1 - 0.2 * (seed % 4) + 0.01 * seed
            votes = [f"{np.exp(-((k - 1 - 4 * worth) ** 2)):.4f}" for k in range(1, 6)]
            writer.writerow((f"p{seed}.png", f"{worth:.3f}", f"r{seed}.png", split, *votes))
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all tables: what one trained serves the others."""
    folder = tmp_path_factory.mktemp("tables")
    yield folder
    shutil.rmtree(folder)


def test_the_list_has_every_table_with_what_it_needs(capsys: Any) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["tables"] == list(TABLES)
    for table in TABLES.values():
        (line,) = (line for line in lines if line.startswith(f"{table.name} "))
        assert ", ".join(table.needs) in line and (table.number or "unknown") in line
    assert any("mobileiqa explain" in line for line in lines)


def test_the_list_says_what_is_missing(stand_in: Path, tmp_path: Path, capsys: Any) -> None:
    weights = tmp_path / "weights"
    arguments = ["list", "--data", "folder", str(stand_in), "--data", "bid", str(tmp_path)]
    assert main([*arguments, "--init", str(weights)]) == 0
    lines = capsys.readouterr().out.splitlines()
    missing = json.loads(lines[-1])["missing"]
    assert missing["musiq.spaq"] == ["--data spaq PATH"]
    (problem,) = missing["kan4iqa.bid"]
    assert "DatabaseGrades" in problem
    assert any(line.startswith("musiq.spaq: missing --data spaq PATH") for line in lines)


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_made_of_what_there_is(name: str) -> None:
    table = TABLES[name]
    readings = {reading.name for reading in table.readings}
    labels = [row.label for row in table.rows]
    assert set(table.needs) <= set(READERS) & set(IMAGES) and len(set(labels)) == len(labels)
    for i, row in enumerate(table.rows):
        assert set(row.paper) <= readings | {"validation"}  # a row may stand in two tables
        assert all(set(figures) <= set(table.metrics) for figures in row.paper.values())
        assert not row.teacher or row.teacher in labels[:i], "a teacher comes before its student"
        if row.quoted:
            assert row.paper
        elif row.regressor:
            assert row.regressor in (*HEADS, "ridge", "svr") and not row.recipe
        else:
            assert row.recipe in RECIPES and recipe_of(row, tried=False).name == row.recipe
            assert recipe_of(row, tried=False).model.split("+")[0] in GMACS
            recipe_of(row, tried=True)


@pytest.mark.slow
def test_backbones_and_costs_are_those_of_the_models() -> None:
    import torch

    from mobileiqa.counting import of_an_image
    from mobileiqa.training.initial_weights import _backbones, _kind

    for name in set(GMACS) - {"", "musiq"}:
        with torch.device("meta"):
            model = build(name)
        assert (name in BACKBONES) == bool(_backbones(model))
        assert name not in BACKBONES or BACKBONES[name] == _kind(model)
        if name in ("mobilenet-iqa", "msliqa-both", "ms-scanet"):  # others take a second and more
            assert of_an_image(model, MODELS[name].spec) == pytest.approx(1e9 * GMACS[name], rel=0.01)


def test_figures_are_those_of_the_material() -> None:
    def paper(table: str, label: str) -> Any:
        return next(row for row in TABLES[table].rows if row.label == label).paper

    assert paper("mobileiqa.uhd-iqa", "MobileNet-IQA")["test"]["srcc"] == 0.788
    assert paper("mobileiqa.uhd-iqa", "UIQA") == {"test": {"srcc": 0.846, "plcc": 0.798}}
    assert paper("lar-iqa.uhd-iqa", "KAN")["test"]["plcc"] == 0.787
    assert paper("fr-nr.kadid-10k", "jointly")["full reference"] == {"srcc": 0.944, "plcc": 0.950}
    assert paper("fr-nr.tid2013", "trained without")["no reference"] == {"srcc": 0.953, "plcc": 0.956}
    assert paper("kan4iqa.spaq", "taylor2") == {"test": {"srcc": 0.862, "plcc": 0.856}}
    assert paper("kan4iqa.bid", "BSRBF") == {"test": {"srcc": 0.763, "plcc": 0.793}}
    assert paper("koncept512.koniq-10k", "its PyTorch port")["koniq-10k"] == {"srcc": 0.912, "plcc": 0.927}
    assert paper("musiq.spaq", "MUSIQ") == {"test": {"srcc": 0.917, "plcc": 0.921}}


def test_rows_that_are_trained_alike_share_a_run(stand_in: Path, tmp_path: Path) -> None:
    def run(name: str, label: str, path: Path = stand_in) -> str:
        table = TABLES[name]
        context = Context(table, dict.fromkeys(table.needs, ("folder", path)), tmp_path, from_scratch=True)
        return run_name(next(row for row in table.rows if row.label == label), context)

    student = run("mobileiqa.distillation", "without a teacher")
    assert student == run("mobileiqa.mals", "3 MALs") == run("mobileiqa.losses", "mse")
    assert student == run("mobileiqa.resolution", "1907x1231")
    assert run("mobileiqa.alpha", "alpha 2") == run("mobileiqa.uhd-iqa", "MobileNet-IQA")
    assert run("lar-iqa.fig3", "trained on RGB") == run("lar-iqa.uhd-iqa", "KAN")
    others = [
        run("mobileiqa.mals", "1 MALs"),
        run("mobileiqa.alpha", "alpha 4"),
        run("mobileiqa.losses", "mae"),
    ]
    assert len({student, *others, run("mobileiqa.losses", "mse", tmp_path)}) == 5


def test_a_place_in_the_list_is_a_name_and_is_said(capsys: Any) -> None:
    assert places()["mobileiqa.resolution"] == "mobileiqa.4"
    assert main(["mobileiqa.4", "--out", "o"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "mobileiqa.4 is mobileiqa.resolution" in lines[0] and "not at hand" in lines[0]
    assert "--data uhd-iqa PATH" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mobileiqa.99",), "msliqa.tid2013"),
        (("mobileiqa.0",), "msliqa.tid2013"),
        (("msliqa.tid2013", "--out", "o", "--data", "kadid-10k", "k"), "--data tid2013 PATH"),
        (("msliqa.tid2013", "--out", "o", "--try"), "no --data"),
        (("list", "--data", "uhd", "u"), "koniq-10k"),
        (("musiq.spaq", "--data", "folder", "a", "--try", "--init", "w.pth"), "leave one out"),
        (("mobileiqa.mals", "--data", "uhd-iqa", "a", "--data", "uhd-iqa", "b"), "uhd-iqa more than once"),
        (("mobileiqa.mals", "--data", "uhd-iqa", "a", "--device", "tpu9"), "the device 'tpu9'"),
        (("mobileiqa.mals", "--data", "uhd-iqa", "a", "--out", __file__), "a folder for --out"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[str, ...], words: str, capsys: Any) -> None:
    assert main(list(arguments)) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_table_of_regressors_is_run_and_goes_on(
    stand_in: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    arguments = ["kan4iqa.bid", "--try", "--data", "folder", str(stand_in), "--out", str(tmp_path / "t")]
    assert main(arguments) == 0
    captured = capsys.readouterr().out
    assert "0.843" in captured and "say nothing" in captured  # the paper's figure beside ours
    first = json.loads(captured.splitlines()[-1])["rows"]
    monkeypatch.setattr("mobileiqa.features.regress", lambda *_, **__: pytest.fail("computed again"))
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == first
    assert (tmp_path / "t" / "kan4iqa.bid.txt").read_text().startswith("kan4iqa.bid")
    damaged = next((tmp_path / "t").glob("svr-*.json"))
    damaged.write_text('{"srcc": [true, 0, 1]}')
    assert main(arguments) == 2
    assert "value, low and high of srcc" in capsys.readouterr().err.splitlines()[-1]


def test_settings_reach_the_training(stand_in: Path, tmp_path: Path) -> None:
    def request(name: str, label: str) -> Any:
        table = TABLES[name]
        context = Context(table, dict.fromkeys(table.needs, ("folder", stand_in)), tmp_path)
        return request_of(next(row for row in table.rows if row.label == label), context)

    assert request("mobileiqa.resolution", "317x205").size == "317x205"
    assert request("mobileiqa.alpha", "alpha 0.5").recipe.option("alpha") == 0.5
    assert request("lar-iqa.fig3", "trained on all four").recipe.color_spaces == ("rgb", "hsv", "lab", "yuv")
    assert request("koncept512.koniq-10k", "its PyTorch port").recipe.model == "koncept512-top-left"
    assert request("fr-nr.kadid-10k", "trained with").recipe.option("fr_share") == 1
    assert request("musiq.koniq-10k", "MUSIQ").from_scratch  # nobody publishes its trunk alone
    assert not request("mobileiqa.mals", "0 MALs").from_scratch


@pytest.fixture
def small_transformer(monkeypatch: Any) -> None:
    """A narrow one in place of the network of 113 GMACs a pair, which test_every_system trains."""
    from mobileiqa.models.fr_nr_transformer import FRNRTransformer, Layout

    layout = Layout(width=16, hidden=8)
    entry = dataclasses.replace(MODELS["fr-nr-transformer"], builder=lambda: FRNRTransformer(layout))
    monkeypatch.setitem(MODELS, "fr-nr-transformer", entry)


@pytest.mark.slow
@pytest.mark.usefixtures("small_transformer")
@pytest.mark.parametrize("name", TABLES)
def test_a_table_runs_on_its_stand_in(name: str, stand_in: Path, out: Path, capsys: Any) -> None:
    assert main([name, "--try", "--data", "folder", str(stand_in), "--out", str(out)]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    table = TABLES[name]
    assert list(rows) == [row.label for row in table.rows if not row.quoted]
    for figures in rows.values():
        assert set(figures) == {reading.name for reading in table.readings}
        assert all(np.isfinite(figures[r.name][m]).all() for r in table.readings for m in table.metrics)
    assert (out / f"{name}.txt").is_file()
    assert not list(out.glob("*/state.pt"))
