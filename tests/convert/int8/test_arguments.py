"""The words after --int8."""

import json
from pathlib import Path

import pytest

from calibration import select
from convert.int8.arguments import automatic, parse_arguments
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS

SPEC = MODELS["lar-iqa-single"].spec.resized(64, 80)


@pytest.fixture(scope="module")
def calibration_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibration") / "set"
    code = select.main(
        [
            "--images",
            str(photos),
            "--model",
            "lar-iqa-single",
            "--size",
            "64x80",
            "--count",
            "3",
            "--out",
            str(out),
        ]
    )
    assert code == 0
    return out


def test_a_mode_and_a_set_in_any_order(calibration_folder: Path) -> None:
    for words in (
        [str(calibration_folder)],
        ["static", str(calibration_folder)],
        [str(calibration_folder), "static"],
        [str(calibration_folder / "manifest.json")],
    ):
        arguments = parse_arguments(words, SPEC)
        assert arguments.recipe.mode == "static" and len(arguments.calibration.images) == 3
        assert arguments.calibration_sha256 == arguments.calibration.sha256


def test_other_recipes_have_the_set_that_is_named_and_no_generated_one(calibration_folder: Path) -> None:
    for mode in ("dynamic", "weights"):
        arguments = parse_arguments([mode], SPEC)
        assert (arguments.recipe.mode, arguments.calibration, arguments.calibration_sha256) == (
            mode,
            None,
            None,
        )
        assert len(parse_arguments([mode, str(calibration_folder)], SPEC).calibration.images) == 3


def test_without_a_set_images_are_generated_and_it_says_so(capsys) -> None:
    arguments = parse_arguments([], SPEC)
    assert arguments.calibration.generated and "WARNING" in capsys.readouterr().err


def test_a_recipe_file(calibration_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"mode": "dynamic", "keep_float": ["^head"]}))
    assert parse_arguments([str(path)], SPEC).recipe.keep_float == ("^head",)
    with pytest.raises(UserError, match="after --int8"):
        parse_arguments(["static", str(path)], SPEC)


@pytest.mark.parametrize("word", ["checkpoint.pth", "int4", "missing_folder"])
def test_other_words_are_named(word: str) -> None:
    with pytest.raises(UserError, match=f"static, dynamic, weights or a recipe's JSON.*{word}"):
        parse_arguments([word], SPEC)


def test_two_of_a_kind_are_refused(calibration_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one mode"):
        parse_arguments(["static", "dynamic"], SPEC)
    with pytest.raises(UserError, match="one calibration set"):
        parse_arguments([str(calibration_folder), str(tmp_path)], SPEC)


def test_a_set_for_other_inputs_is_refused(calibration_folder: Path) -> None:
    with pytest.raises(UserError, match=r"image\.height_px: 80 stored, 96 wanted"):
        parse_arguments([str(calibration_folder)], MODELS["lar-iqa-single"].spec.resized(64, 96))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json"):
        parse_arguments([str(tmp_path)], SPEC)


def test_auto_judges_by_a_folder_and_works_beside_the_output(
    calibration_folder: Path, photo, tmp_path: Path
) -> None:
    for i in range(8):
        photo(i, 90, 80).save(tmp_path / f"p{i}.png")
    for words in (["auto", str(calibration_folder)], [str(calibration_folder), "auto"]):
        result = automatic(words, SPEC, tmp_path / "x.tflite", tmp_path, None)
        assert len(result.calibration.images) == 3 and len(result.search.split.validation) == 8
        assert result.search.folder == tmp_path / "x.search" and result.search.budget.max_srcc_drop == 0.005
    assert automatic(words, SPEC, tmp_path / "x.tflite", tmp_path, 0.001).search.budget.max_srcc_drop == 0.001
    assert parse_arguments([str(calibration_folder)], SPEC).with_recipe(b"no file", SPEC).search is None


@pytest.mark.slow
def test_auto_without_images_divides_the_set(calibration_folder: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(UserError, match="at least 24 scenes"):
        automatic(["auto", str(calibration_folder)], SPEC, tmp_path / "x.tflite", None, None)
    result = automatic(["auto"], SPEC, tmp_path / "x.tflite", None, None)
    assert result.calibration.generated and "WARNING" in capsys.readouterr().err
    assert (len(result.search.split.calibrating), len(result.search.split.validation)) == (22, 10)


@pytest.mark.parametrize("other", ["static", "recipe.json", "missing_folder", "auto"])
def test_auto_takes_a_set_and_nothing_else(other: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"after --int8 auto: a calibration folder; found .*{other}"):
        automatic(["auto", other], SPEC, tmp_path / "x.tflite", None, None)
