"""Published tables: the list, what each needs, and every one of them on a small generated set."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mobileiqa import tables
from mobileiqa.datasets.registry import READERS
from mobileiqa.evaluation.published import TABLES
from mobileiqa.tables import main, recipe_of
from mobileiqa.training.recipe import RECIPES
from mobileiqa.variants import HEADS

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


def test_the_list_has_every_table_with_what_it_needs(capsys: Any) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["tables"] == list(TABLES)
    for table in TABLES.values():
        assert any(line.startswith(table.name) and ", ".join(table.needs) in line for line in lines)


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_made_of_what_there_is(name: str) -> None:
    table = TABLES[name]
    readings = {reading.name for reading in table.readings}
    labels = [row.label for row in table.rows]
    assert set(table.needs) <= set(READERS) and len(set(labels)) == len(labels)
    for i, row in enumerate(table.rows):
        assert set(row.paper) <= readings | {"validation"}  # a row may stand in two tables
        assert all(set(figures) <= set(table.metrics) for figures in row.paper.values())
        assert not row.teacher or row.teacher in labels[:i], "a teacher comes before its student"
        if row.regressor:
            assert row.regressor in (*HEADS, "ridge", "svr") and not row.recipe
        else:
            assert row.recipe in RECIPES and recipe_of(row, tried=False).name == row.recipe
            recipe_of(row, tried=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mobileiqa.99",), "msliqa.tid2013"),
        (("msliqa.tid2013",), "--out DIR"),
        (("msliqa.tid2013", "--out", "o", "--data", "kadid-10k", "k"), "--data tid2013 PATH"),
        (("msliqa.tid2013", "--out", "o", "--try"), "no --data"),
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
    monkeypatch.setattr(tables, "_regressed", lambda *_: pytest.fail("computed again"))
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == first
    assert (tmp_path / "t" / "table.txt").read_text().startswith("kan4iqa.bid")
    assert main([*arguments[:4], str(tmp_path), *arguments[5:]]) == 2
    assert "give another --out" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["msliqa.tid2013", "mobileiqa.alpha"])
def test_a_table_of_models_runs_on_its_stand_in(
    name: str, stand_in: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main([name, "--try", "--data", "folder", str(stand_in), "--out", str(tmp_path / "t")]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    table = TABLES[name]
    assert list(rows) == [row.label for row in table.rows]
    for figures in rows.values():
        assert set(figures) == {reading.name for reading in table.readings}
        assert all(np.isfinite(figures[r.name][m]).all() for r in table.readings for m in table.metrics)
