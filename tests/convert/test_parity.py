"""The command: table, JSON, exit code, and what it says about wrong input."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from convert.comparison.compare import ParityStage
from convert.export.onnx_file import export_onnx
from convert.parity import main, table
from mobileiqa.zoo import MODELS, build_seeded

NAME = "lar-iqa-single"
SPEC = MODELS[NAME].spec.resized(64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """right.onnx, and wrong.onnx whose first convolution is a little off."""
    folder = tmp_path_factory.mktemp("parity")
    export_onnx(build_seeded(NAME), SPEC, folder / "right.onnx")
    model = onnx.load(str(folder / "right.onnx"))
    weights = {i.name: i for i in model.graph.initializer}[model.graph.node[0].input[1]]
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 1.001, weights.name))
    onnx.save(model, str(folder / "wrong.onnx"))
    return folder


def test_right_files_pass(folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = tmp_path / "parity.json"
    assert main([NAME, str(folder / "right.onnx"), "--images", str(photos), "--json", str(report)]) == 0
    *lines, last = capsys.readouterr().out.strip().splitlines()
    summary = json.loads(last)
    assert summary["passed"] and summary["untrained"] and summary["images"] == 4 and summary["failed"] == 0
    assert any("untrained: for latency and parity only" in line for line in lines)
    written = json.loads(report.read_text())
    assert {r["stage"] for r in written["reports"]} == {"features", "rewrite", "onnx"}
    assert all(r["max_abs"] < 1e-4 and r["worst_image"] for r in written["reports"])
    assert written | {"reports": None} == summary | {"reports": None}


def test_photos_that_were_not_judged_exit_2(folder: Path, photos: Path, tmp_path: Path, capsys):
    (tmp_path / "raw.dng").write_bytes(b"II*\0")
    (tmp_path / "photo.png").write_bytes((photos / "photo0.png").read_bytes())
    (tmp_path / "other.png").write_bytes((photos / "photo2.png").read_bytes())
    arguments = [NAME, str(folder / "right.onnx"), "--images", str(tmp_path)]
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    summary = json.loads(out.strip().splitlines()[-1])
    assert (summary["left_out"], summary["failed"], summary["passed"]) == ({"DNG": 1}, 0, False)
    assert "1 left out: 1 DNG" in err
    assert main([*arguments, "--limit", "2"]) == 0, "two were asked for, and judged"


def test_a_wrong_file_exits_1_and_is_named(folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]):
    files = [str(folder / "right.onnx"), str(folder / "wrong.onnx")]
    assert main([NAME, *files, "--images", str(photos), "--limit", "2"]) == 1
    *lines, last = capsys.readouterr().out.strip().splitlines()
    summary = json.loads(last)
    assert summary["first_failing_stage"] == f"{folder / 'wrong.onnx'} [ort]"
    assert (summary["failed"], summary["images"]) == (1, 2)
    assert sum("FAIL: max_abs" in line for line in lines) == 1
    assert any(line.startswith("FAIL: the first stage that breaks is") for line in lines)


def test_without_images_it_generates_some(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main([NAME, str(folder / "right.onnx"), "--limit", "3"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out.strip().splitlines()[-1])["images"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{right}", "--images", "{empty}"], "image"),
        (["{right}", "--images", "{broken}"], "broken.jpg"),
        (["{right}", "--limit", "0"], "--limit of at least 1"),
        (["{right}", "--runtimes", "ort,tpu"], "'tpu'"),
        (["{right}", "--runtimes", "litert"], "a runtime that reads right.onnx"),
        (["{right}", "--json", "{right}"], "put --json without a path last"),
        (["missing.tflite"], "nothing at missing.tflite"),
        (["model.pt"], "ending in .tflite or .onnx"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    arguments: list[str], words: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.jpg").write_text("not a picture")
    paths = {"right": folder / "right.onnx", "empty": tmp_path / "empty", "broken": tmp_path / "broken"}
    try:
        code = main([NAME, *(argument.format(**paths) for argument in arguments)])
    except SystemExit as ended:  # of the argument parser
        code = ended.code
    assert code == 2
    error = capsys.readouterr().err.strip()
    assert words in error and len(error.splitlines()) == 1


def test_a_checkpoint_that_is_not_there_is_named(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["missing.safetensors", str(folder / "right.onnx")]) == 2
    assert "missing.safetensors" in capsys.readouterr().err


def test_the_table_shows_what_could_not_be_compared():
    head, row = table([ParityStage("fp16", "published module", "a.tflite", "litert").failed("zero images")])
    assert head.split()[:3] == ["stage", "file", "runtime"]
    assert row.startswith("fp16") and row.endswith("FAIL: zero images") and " - " in row


def test_help_is_quick_and_imports_no_torch():
    code = "import sys, convert.parity as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n"
    check = code + "print(sorted({'torch', 'onnx', 'onnxruntime', 'scipy'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert process.stdout.strip().splitlines()[-1] == "[]"
    assert "example:" in process.stdout
