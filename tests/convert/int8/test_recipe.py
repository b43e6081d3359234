"""Recipes on disk."""

import json
from pathlib import Path

import pytest

from convert.int8.recipe import Recipe, read
from mobileiqa.errors import UserError


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe("static", "min-max", ("^a", "b;2$"), 2, fine_tune=300),
        Recipe("weights", equalize=False, rounding="nearest", bias_correction=False, weights_per="tensor"),
    ],
    ids=str,
)
def test_a_recipe_reads_back(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert read(path) == recipe


def test_what_is_not_named_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"mode": "dynamic", "bias_correction": false}')
    assert read(path) == Recipe("dynamic", bias_correction=False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"mode": "int4"}', "mode 'int4'"),
        ('{"rounding": "up"}', "rounding 'up'"),
        ('{"weights_per": "row"}', "weights_per 'row'"),
        ('{"equalize": "no"}', "equalize 'no'"),
        ('{"bias_correction": null}', "bias_correction None"),
        ('{"float_first": -1}', "float_first -1"),
        ('{"float_first": true}', "float_first True"),
        ('{"fine_tune": -1}', "fine_tune -1"),
        ('{"fine_tune": 2.5}', "fine_tune 2.5"),
        ('{"fine_tune": 300, "mode": "dynamic"}', "fine_tune 300 in mode 'dynamic'"),
        ('{"colour": 1}', "colour"),
        ("[]", "recipe"),
        ("{", "recipe"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(UserError, match="a recipe.*" + named):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe as JSON in .*missing\.json"):
        read(tmp_path / "missing.json")
