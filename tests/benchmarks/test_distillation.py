"""The distillation comparison: its parts, its variants, and a whole small one on generated pictures."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import distillation
from benchmarks.distillation import VARIANTS, Plan, data_of, main, recipe_of
from mobileiqa.training.experiments import OutOfTime, Result, figures

TINY = Plan(
    teacher_references=2, student_references=1, validation_references=1, test_references=1,
    teacher_epochs=1, student_epochs=1, batch=50, crop_px=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def inputs(
    photo: Callable[..., Image.Image], severity: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A folder of pictures that train and one that tests, and a severity table."""
    folder = tmp_path_factory.mktemp("pristine")
    for part, seeds in (("train", range(3)), ("val", (3,))):
        (folder / part).mkdir()
        for seed in seeds:
            photo(seed, 96, 80).save(folder / part / f"p{seed}.png")
    return folder, severity


def given(inputs: tuple[Path, Path], cache: Path) -> Namespace:
    pristine, severity = inputs
    return Namespace(
        pristine=pristine / "train",
        test_pristine=pristine / "val",
        severity=severity,
        cache=cache,
        encoder=None,
    )


def arguments(inputs: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    pristine, severity = inputs
    return [
        "--pristine", str(pristine / "train"), "--test-pristine", str(pristine / "val"),
        "--severity", str(severity), "--seeds", "1",
        "--cache", str(out / "cache"), "--out", str(out / "distillation.json"), *more,
    ]  # fmt: skip


def test_nothing_is_tested_on_a_reference_that_trained(inputs: tuple[Path, Path], tmp_path: Path):
    data = data_of(TINY, given(inputs, tmp_path))
    names = {part: {s.reference for s in data.samples(part)} for part in data.parts}
    assert names["student"] < names["teacher"] and len(names["teacher"]) == 2
    assert not names["test"] & names["teacher"] and not names["validation"] & names["teacher"]
    assert not names["test"] & names["validation"]
    assert [len(data.samples(p)) for p in ("teacher", "student", "test")] == [250, 125, 125]


def test_another_plan_has_other_runs(inputs: tuple[Path, Path], tmp_path: Path):
    folders = {
        data_of(plan, given(inputs, tmp_path)).folder for plan in (TINY, Plan(**{**vars(TINY), "batch": 25}))
    }
    assert len(folders) == 2


def test_arms_differ_in_their_objective_alone():
    recipes = {variant: recipe_of(TINY, variant, 3).to_json() for variant in VARIANTS}
    for recipe in recipes.values():
        for field in ("name", "objective", "options", "losses"):
            recipe.pop(field)
    assert recipes["without"] == recipes["paper"] == recipes["code"]


def test_the_page_shows_gains_over_the_student_alone():
    rows = [
        Result(variant, seed, s, 0.5, 0, 0, 0)
        for seed in (1, 2)
        for variant, s in zip(VARIANTS, (0.4, 0.5, 0.3), strict=True)
    ]
    text = distillation.report(
        TINY, Result("teacher", 0, 0.8, 0.7, 0, 0, 0), figures(rows, "without"), "random weights"
    )
    assert "| teacher: EfficientNet-Lite0 of the reference, on the labels | 0.800 | 0.700 | – |" in text
    assert "| 0.500 ± 0.000 | 0.500 ± 0.000 | 0.100 ± 0.000 |" in text
    assert "| 0.300 ± 0.000 | 0.500 ± 0.000 | -0.100 ± 0.000 |" in text


def test_too_few_pictures_are_one_line_and_exit_2(inputs: tuple[Path, Path], tmp_path: Path, capsys):
    assert main(arguments(inputs, tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "34 pristine images" in error and "3" in error


@pytest.mark.parametrize("wrong", [("--seeds", "0"), ("--minutes", "-1")])
def test_wrong_counts_are_refused(inputs: tuple[Path, Path], tmp_path: Path, capsys, wrong: tuple[str, str]):
    assert main(arguments(inputs, tmp_path, *wrong), TINY) == 2
    assert "--seeds or --minutes" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_existing_results_are_not_replaced(inputs: tuple[Path, Path], tmp_path: Path, capsys):
    (tmp_path / "DISTILLATION.md").write_text("kept")
    assert main(arguments(inputs, tmp_path), TINY) == 2
    assert "--force" in capsys.readouterr().err and (tmp_path / "DISTILLATION.md").read_text() == "kept"


@pytest.mark.slow
def test_a_comparison_that_was_stopped_goes_on_to_its_end(
    inputs: tuple[Path, Path], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    real, calls = distillation.finish, []

    def counted(task, feed, validate, out, until):
        if len(calls) == 2 and "code-1" not in str(out):  # the second student, the first time
            calls.append("stopped")
            raise OutOfTime
        calls.append(out.name)
        real(task, feed, validate, out, until)

    monkeypatch.setattr(distillation, "finish", counted)
    out = tmp_path / "distillation.json"
    assert main(arguments(inputs, tmp_path), TINY) == 0
    assert json.loads(capsys.readouterr().out) == {"finished": False} and not out.exists()
    assert main(arguments(inputs, tmp_path), TINY) == 0
    # The teacher comes back from its state; the student that was finished is not trained again.
    assert calls == ["teacher-0", "without-1", "stopped", "teacher-0", "paper-1", "code-1"]
    found = json.loads(out.read_text())
    results = {row["variant"]: row for row in found["results"]}
    assert list(results) == list(VARIANTS) and found["figures"]["paper"]["gain"]["n"] == 1
    assert len({row["mae"] for row in results.values()}) == 3, "three losses, three students"
    assert "`code`: student" in (tmp_path / "DISTILLATION.md").read_text()
    assert str(tmp_path) not in out.read_text()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["finished"] and last["code"] == found["figures"]["code"]
    kept = {path.parent.name for path in (tmp_path / "cache").glob("*/*/state.pt")}
    assert kept == {"teacher-0"}
