"""What a check on accelerators leaves in FILE.json, and that apps read it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convert.app.facts import read_facts
from convert.comparison.compare import ParityStage
from convert.comparison.verified import gpu_refused, note, note_check, note_reports
from convert.delegation.gpu_check import SignatureCheck, WrongOperator
from convert.inspect import main
from convert.output_file import read_sidecar, sidecar_path
from convert.runtimes.gpu import vulkan_driver
from mobileiqa.errors import UserError
from tests.convert.app.conftest import write_sidecar, write_two_views

RIGHT = SignatureCheck("serving_default", "a GPU", False, "fp32", 0, (), 1e-6)
DIFFERS = replace(RIGHT, error=3e-4)
WRONG = replace(DIFFERS, wrong=WrongOperator(2, "CONV_2D", "x", 1.0))
LEFT = replace(RIGHT, on_cpu=1, unsupported=("GATHER_ND",))


@pytest.fixture
def file(flatbuffer: Any, tmp_path: Path) -> Path:
    path = write_two_views(flatbuffer, tmp_path / "two-views.tflite")
    write_sidecar(path)
    return path


@pytest.mark.parametrize("for_gpus", [True, False])
def test_inspect_notes_what_passed_and_an_app_never_tries_the_other(
    flatbuffer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], for_gpus: bool
) -> None:
    try:
        vulkan_driver()
    except UserError as error:
        pytest.skip(str(error))
    path = write_two_views(flatbuffer, tmp_path / "two-views.tflite", for_gpus=for_gpus)
    write_sidecar(path)
    before = json.loads(sidecar_path(path).read_bytes())
    assert main([str(path), "--gpu"]) == (0 if for_gpus else 1)
    *lines, result = capsys.readouterr().out.splitlines()
    accelerators = ["cpu", "gpu"] if for_gpus else ["cpu"]
    words = f"noted in two-views.tflite.json: verified for {', '.join(accelerators)}"
    assert lines[-1] == words and json.loads(result)["noted"] == words
    assert json.loads(sidecar_path(path).read_bytes()) == {**before, "accelerators": accelerators}
    assert read_facts(path).gpu_refused == ("" if for_gpus else "two-views.tflite was verified for cpu")


@pytest.mark.parametrize(
    ("check", "accelerators"), [(RIGHT, ("cpu", "gpu")), (DIFFERS, None), (WRONG, ("cpu",)), (LEFT, ("cpu",))]
)
def test_a_difference_without_a_wrong_operator_decides_nothing(
    file: Path, check: SignatureCheck, accelerators: tuple[str, ...] | None
) -> None:
    line = note_check(file, (RIGHT, check))
    assert read_sidecar(file).accelerators == accelerators
    assert line.startswith("noted in" if accelerators else "not noted: it may be rounding"), line


def test_parity_notes_the_files_that_the_gpu_ran(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    stages = [
        ParityStage("fp32", "published module", str(path), runtime)
        for path, runtime in ((file, "litert"), (file, "gpu"), (other, "litert"))
    ]
    passed = [replace(stage.failed("", 1), passed=True) for stage in stages]
    assert list(note_reports([file, other], passed)) == [
        "noted in two-views.tflite.json: verified for cpu, gpu"
    ]
    assert gpu_refused(file) == ""
    reports = [passed[0], stages[1].failed("off by 0.3", 1), passed[2]]
    assert list(note_reports([file, other], reports)) == ["noted in two-views.tflite.json: verified for cpu"]
    assert gpu_refused(file) == "two-views.tflite was verified for cpu"
    assert list(note_reports([file, other], [passed[0], passed[2]])) == [], (
        "without the runtime gpu nothing is said"
    )


def test_metadata_says_it_too_and_neither_overrules_the_other(flatbuffer: Any, tmp_path: Path) -> None:
    path = write_two_views(flatbuffer, tmp_path / "two-views.tflite", accelerators=("cpu",))
    write_sidecar(path)
    note(path, ("cpu", "gpu"))
    assert gpu_refused(path) == "two-views.tflite was verified for cpu"
    path = write_two_views(type(flatbuffer)(), path, accelerators=())
    assert note(path, ("cpu",)) == "not noted: two-views.tflite.json is of another file"
    sidecar_path(path).unlink()
    assert note(path, ("cpu",)) == "not noted: no two-views.tflite.json"
    assert gpu_refused(path) == "two-views.tflite was verified for no accelerator"


@pytest.mark.parametrize("value", ["gpu", [1], {"gpu": True}, None])
def test_a_list_that_is_none_is_one_line(file: Path, value: object) -> None:
    sidecar = sidecar_path(file)
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_bytes()), "accelerators": value}))
    if value is None:
        assert gpu_refused(file) == ""
        return
    with pytest.raises(UserError, match="accelerators"):
        gpu_refused(file)
