"""The comparison with and without the reference as a teacher: its parts, its variants, and a whole small one."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import stage_distillation
from benchmarks.experiment import Result, figures
from benchmarks.stage_distillation import VARIANTS, Plan, data_of, main, recipe_of, setup_of

TINY = Plan(train_references=1, validation_references=1, test_references=1, epochs=1, batch=25, crop_px=32)


@pytest.fixture(scope="module")
def inputs(
    photo: Callable[..., Image.Image], severity: Path, tmp_path_factory: pytest.TempPathFactory
) -> Namespace:
    """A folder of pictures that train and one that tests, and a severity table."""
    folder = tmp_path_factory.mktemp("pristine")
    for part, seeds in (("train", range(2)), ("val", (3,))):
        (folder / part).mkdir()
        for seed in seeds:
            photo(seed, 96, 80).save(folder / part / f"p{seed}.png")
    return Namespace(pristine=folder / "train", test_pristine=folder / "val", severity=severity)


def test_nothing_is_tested_on_a_reference_that_trained(inputs: Namespace, tmp_path: Path):
    data = data_of(TINY, Namespace(**vars(inputs), cache=tmp_path))
    names = [{s.reference for s in data.samples(part)} for part in ("train", "validation", "test")]
    assert [len(result) for result in names] == [1, 1, 1] and len(set.union(*names)) == 3
    assert len(data.samples("test")) == 125


def test_arms_differ_in_their_objective_alone():
    one, other = (recipe_of(TINY, variant, 3).to_json() for variant in VARIANTS)
    assert {field for field in one if one[field] != other[field]} == {"name", "objective"}


def test_both_arms_start_from_the_same_weights():
    one, other = (setup_of(TINY, variant, 3).model.state_dict() for variant in VARIANTS)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    another = setup_of(TINY, "without", 4).model.state_dict()
    assert not torch.equal(one["backbone.conv_stem.weight"], another["backbone.conv_stem.weight"])


def test_the_page_shows_the_gain_over_the_student_alone():
    rows = [Result(variant, seed, s, 0.5, 0, 0, 0) for seed in (1, 2)
            for variant, s in zip(VARIANTS, (0.2, 0.35), strict=True)]  # fmt: skip
    text = stage_distillation.report(TINY, figures(rows, "without"))
    assert "| 0.200 ± 0.000 | 0.500 ± 0.000 | – |" in text
    assert "| 0.350 ± 0.000 | 0.500 ± 0.000 | 0.150 ± 0.000 |" in text


@pytest.mark.slow
def test_a_whole_comparison_and_its_second_start(
    inputs: Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "stage_distillation.json"
    arguments = [
        "--pristine", str(inputs.pristine), "--test-pristine", str(inputs.test_pristine),
        "--severity", str(inputs.severity), "--seeds", "1",
        "--cache", str(tmp_path / "cache"), "--out", str(out),
    ]  # fmt: skip
    assert main(arguments, TINY) == 0
    result = json.loads(out.read_text())
    assert [row["variant"] for row in result["results"]] == list(VARIANTS)
    assert result["results"][0]["mae"] != result["results"][1]["mae"], "two objectives, two students"
    assert (
        str(tmp_path) not in out.read_text()
        and "`imitate`" in (tmp_path / "STAGE_DISTILLATION.md").read_text()
    )
    capsys.readouterr()

    def never(*args: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(stage_distillation, "finish", never)
    assert main([*arguments, "--force"], TINY) == 0
    assert json.loads(out.read_text()) == result
