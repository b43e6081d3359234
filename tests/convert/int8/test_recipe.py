"""Recipes on disk."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.int8.algorithms.hard_swish import hard_swish_as_products
from convert.int8.recipe import MODES, Recipe, plan, read
from mobileiqa.errors import UserError
from tests.convert.int8.networks import RELU, add, bending, convolution, hard_swish, linear, mean


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe("static", "min-max", ("^a", "b;2$"), 2),
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
    path.write_text('{"mode": "dynamic", "bias_correction": false, "fine_tune": 0}')
    assert read(path) == Recipe("dynamic", bias_correction=False)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"mode": "int4"}', "mode 'int4'"),
        ('{"rounding": "up"}', "rounding 'up'"),
        ('{"weights_per": "row"}', "weights_per 'row'"),
        ('{"equalize": "no"}', "equalize: 'no', expected bool"),
        ('{"bias_correction": null}', "bias_correction: null, expected bool"),
        ('{"float_first": -1}', "float_first -1"),
        ('{"float_first": true}', "float_first: True, expected int"),
        ('{"fine_tune": 300}', "fine_tune, which this version no longer has"),
        ('{"keep_float": ["a", "("]}', r"keep_float '\('"),
        ('{"keep_float": "abc"}', "keep_float: 'abc', expected a list"),
        ('{"keep_float": [3]}', r"keep_float\[0\]: 3, expected str"),
        ('{"float_first": ' + "9" * 30 + "}", "30 digits"),
        ("[" * 1000, "1000 levels"),
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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("float_first", [0, 1, 2])
def test_a_search_plans_the_file_with_hard_swish_as_it_will_be_quantized(
    flatbuffer, save, mode: str, float_first: int
) -> None:
    """Where hard-swish ended 8 bits, a search saw no depthwise convolution behind it, and took static for dynamic."""
    path, recipe = save(bending(flatbuffer)), Recipe(mode, float_first=float_first)
    before, products = plan(fb.read(path), recipe), fb.read(path)
    hard_swish_as_products(products, defaultdict(lambda: (-4.0, 4.0)))
    after = plan(products, recipe)
    assert tuple(name for name in after.static if not name.endswith(("/sixth", "/gate"))) == before.static
    assert (before.dynamic, before.weights) == (after.dynamic, after.weights)
    assert (len(before.static) > 4) == (mode == "static")


def test_for_arm_8_bits_are_in_convolutions_of_many_channels_and_what_moves_their_values(
    flatbuffer, save
) -> None:
    b = flatbuffer
    normal = np.random.default_rng(0).standard_normal
    few = convolution(b, b.input(1, 8, 8, 3), normal((32, 1, 1, 3)), normal(32), RELU)
    local = convolution(b, few, normal((1, 3, 3, 32)), normal(32), RELU, depthwise=True)
    left, right = (convolution(b, local, normal((16, 1, 1, 32)), normal(16)) for _ in range(2))
    joined = b.op("CONCATENATION", [left, right], [b.tensor(1, 8, 8, 32)], "ConcatenationOptions", axis=3)
    deep = convolution(b, joined, normal((32, 1, 1, 32)), normal(32))
    moved = b.op(
        "RESHAPE", [deep, b.constant([1, 4, 16, 32])], [b.tensor(1, 4, 16, 32)]
    )  # nothing in 8 bits reads it
    score = linear(b, mean(b, add(b, moved, hard_swish(b, moved))), normal((1, 32)))
    model = fb.read(save(b.build(score)))
    names = [f"t{i}" for i in (left, right, joined, deep)]
    everything, arm = (plan(model, Recipe(float_first=0, arm=arm)) for arm in (False, True))
    assert arm.static == tuple(names) and {*names, f"t{few}", f"t{local}"} <= set(everything.static)
    assert (arm.dynamic, arm.weights) == (everything.dynamic, everything.weights)


def test_for_arm_no_layer_of_many_tokens_quantizes_at_run_time(flatbuffer, save) -> None:
    """Behind such a layer everything computes in FP32: products of two activations too, which have no 8-bit kernel."""
    b = flatbuffer
    normal = np.random.default_rng(0).standard_normal
    tokens = linear(b, b.input(8, 16), normal((32, 16)))
    left, right = (linear(b, tokens, normal((32, 32))) for _ in range(2))
    both = b.op("BATCH_MATMUL", [left, right], [b.tensor(8, 8)], "BatchMatMulOptions", adjY=True)
    behind = linear(b, b.op("BATCH_MATMUL", [both, tokens], [b.tensor(8, 32)]), normal((48, 32)))
    one = linear(b, b.op("MEAN", [behind, b.constant([0])], [b.tensor(1, 48)]), normal((40, 48)))
    model = fb.read(save(b.build(linear(b, one, normal((1, 40))))))
    x86, arm = (plan(model, Recipe(arm=arm)) for arm in (False, True))
    assert x86.static == () and x86.dynamic == tuple(f"t{i}" for i in (tokens, left, right, behind, one))
    assert arm.static == tuple(f"t{i}" for i in (left, right, behind)) and arm.dynamic == (f"t{one}",)


def test_only_a_static_recipe_is_for_arm() -> None:
    with pytest.raises(UserError, match="arm True"):
        Recipe("dynamic", arm=True)


@pytest.mark.parametrize(
    "words", [["--fp32"], ["--int8", "auto"], ["--int8", "dynamic"], ["--int8", "weights"]]
)
def test_arm_is_refused_where_it_chooses_nothing(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from convert.tflite import main

    path = tmp_path / "model.tflite"
    arguments = ["--model", "lar-iqa-single", "--size", "64x80", *words, "--arm", "--out", str(path)]
    assert main(arguments) == 2 and list(tmp_path.iterdir()) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert f"it with {' '.join(words).removeprefix('--')}" in line
