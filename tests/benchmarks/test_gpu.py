"""The table of the GPU accelerator: what holds, what a page says, and small files of ours that hold today."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu import FAMILIES, OURS, File, Row, files, in_words, main, measure, page
from convert.runtimes.gpu import vulkan_driver
from mobileiqa.errors import UserError
from mobileiqa.zoo import MODELS

GOOD = Row(
    "m 8x8 ours fp32", "m", "8x8", OURS, "fp32", False, adapter="an adapter", operators=9, score_error=1e-6
)


def test_every_family_that_converts_is_there_once() -> None:
    listed = [str(each) for each in files()]
    assert len(set(listed)) == len(listed)
    as_another = {"koncept512-top-left", "musiq-ava", "musiq-google"}  # parts of those that are listed
    assert {*MODELS, "reference"} - as_another == set(FAMILIES)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"score_error": 2e-4}, False),
        ({"reasons_error": 2e-3}, False),
        ({"on_cpu": 1}, False),
        ({"error": "it does not compile"}, False),
        ({"score_error": None}, False),
        ({"precision": "int8", "score_error": 5e-3}, True),
        ({"precision": "int8", "score_error": 5e-2}, False),
        ({"precision": "int8", "score_error": 5e-2, "int8_error": 6e-2}, True),
    ],
)
def test_what_holds(change: dict, holds: bool) -> None:
    assert replace(GOOD, **change).passed is holds


def test_the_page_has_a_row_for_each_and_the_accelerators_words() -> None:
    reasons = (
        "GATHER_ND: no",
        'ADD: Tensor "a" has 6.',
        'ADD: Tensor "b" has 6.',
        "ADD: More than 5. x/y;18",
    )
    left = replace(GOOD, file="other", model="other", converter=gpu.PLAIN, on_cpu=3, unsupported=reasons)
    wrong = replace(GOOD, model="wrong", score_error=0.2, wrong="CONV_2D #7 (3e-01)")
    none = replace(GOOD, model="none", score_error=None, error="ended | by SIGSEGV")
    text = page([GOOD, wrong, none, left])
    assert "| m FP32 | 8x8 | 9 | none | 1e-06 | – | yes |" in text
    assert "**no**: first wrong: CONV_2D #7" in text and "**no**: it refuses GATHER_ND, ADD |" in text
    assert "takes one part of a graph" in text and "ended / by SIGSEGV" in text
    assert "## litert-torch alone" in text and "- `GATHER_ND: no`: other\n" in text and "an adapter" in text
    assert text.count("- `ADD: Tensor has 6.`: other\n") == 1 and "- `ADD: More than 5.`: other\n" in text
    assert "- FP32 files of ours, 64x64,128x128: reference, whole-photo" in text
    assert "3 operators left to the CPU" in in_words(left) and "FAILED" in in_words(wrong)


def test_an_error_names_no_path_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = f"/home/me/lib/site-packages/timm/mobilevit.py:400 [DONE Create, FAIL Run] {'x' * 500}"

    def fails(each: File, cache: Path) -> None:
        raise UserError("a file", words, "report it")

    monkeypatch.setattr(gpu, "build", fails)
    row = measure(File("lar-iqa-single", "8x8"), tmp_path)
    assert row.error.startswith("timm/mobilevit.py:400 x") and len(row.error) < 260
    assert "no result: timm/mobilevit.py" in in_words(row)


def test_rows_that_are_there_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(gpu, "files", lambda: [File("lar-iqa-single", "8x8"), File("lar-iqa-lite", "8x8")])
    monkeypatch.setattr(
        gpu,
        "measure",
        lambda each, cache: measured.append(str(each)) or replace(GOOD, file=str(each), on_cpu=1),
    )
    arguments = ["--json", str(tmp_path / "rows.json"), "--markdown", str(tmp_path / "page.md")]
    assert main([*arguments, "--only", "lar-iqa-single"]) == 1
    assert main(arguments) == 1 and measured == ["lar-iqa-single 8x8 ours fp32", "lar-iqa-lite 8x8 ours fp32"]
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] == measured


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        File("lar-iqa-single", "64x80", packaged=True),
        File("reference", "64x64,128x128", precision="int8", packaged=True),
    ],
    ids=str,
)
def test_small_files_of_ours_are_wholly_and_rightly_on_the_gpu(file: File, tmp_path: Path) -> None:
    try:
        vulkan_driver()
    except UserError as error:
        pytest.skip(str(error))
    row = measure(file, tmp_path)
    assert row.passed, in_words(row)
