"""`convert.check`: stages, accuracy, sidecars and the page in one command. Toys have no checkpoint, so no stages."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convert.check import main
from convert.export.onnx_file import export_onnx
from convert.packaging.packaged_file import embed_preprocessing
from mobileiqa.zoo import MODELS, build_seeded
from tests.convert.packaging.conftest import TINY, write_tiny

NAME = "lar-iqa-single"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    code = main([*map(str, arguments)])
    out = capsys.readouterr().out
    return code, json.loads(out.splitlines()[-1]), out


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of the seeded model."""
    path = tmp_path_factory.mktemp("check") / "right.onnx"
    export_onnx(build_seeded(NAME), MODELS[NAME].spec.resized(64, 96), path)
    return path


def test_an_fp32_file_judges_accuracy_sidecars_and_writes_all_outputs(
    net, converted: Path, labelled: Path, tmp_path: Path, capsys
) -> None:
    fp32 = net("fp32.tflite")
    net("int8.tflite", step=1 / 250)
    page, out, everything = tmp_path / "page.html", tmp_path / "out", tmp_path / "all.json"
    code, result, shown = run(
        capsys,
        fp32,
        converted,
        "--data",
        "folder",
        labelled,
        "--html",
        page,
        "--out",
        out,
        "--json",
        everything,
    )
    assert code == 0 and result["passed"] and (result["images"], result["stages"]) == (36, 0)
    assert [file["label"] for file in result["files"]] == ["fp32.tflite", "int8.tflite"]
    assert "no stages were compared" in shown and "SRCC with FP32" in shown
    assert "int8.tflite (int8): nothing wrong" in shown
    assert "Every gate passed." in page.read_text() and (out / "scores.csv").is_file()
    written = json.loads(everything.read_text())
    assert written["accuracy"]["files"][0]["label"] == "int8.tflite" and written["passed"]


@pytest.mark.parametrize(
    ("gain", "words"), [(1.05, "gates broken: max_shift"), (float("nan"), "gates broken")]
)
def test_a_broken_gate_exits_1_and_the_page_is_there(
    gain: float, words: str, net, labelled: Path, tmp_path: Path, capsys
) -> None:
    page = tmp_path / "page.html"
    files = net("fp32.tflite"), net("other.tflite", gain=gain)
    code, result, shown = run(capsys, *files, "--data", "folder", labelled, "--html", page)
    assert code == 1 and not result["passed"] and words in shown and words in page.read_text()


def test_stages_of_a_checkpoint_on_images_and_on_generated_ones(
    onnx: Path, photos: Path, tmp_path, capsys
) -> None:
    everything = tmp_path / "all.json"
    code, result, shown = run(capsys, NAME, onnx, "--images", photos, "--stages", 3, "--json", everything)
    assert code == 0 and result["stage_images"] == 3 and result["first_failing_stage"] is None
    kinds = {stage["stage"] for stage in json.loads(everything.read_text())["stage_reports"]}
    assert kinds == {"features", "rewrite", "onnx"} and "right.onnx" in shown
    code, result, _ = run(capsys, NAME, onnx)
    assert code == 0 and result["stage_images"] == 6


def test_a_failing_stage_exits_1_and_is_named(onnx: Path, photos: Path, tmp_path: Path, capsys) -> None:
    wrong = tmp_path / "wrong.onnx"
    export_onnx(_other(), MODELS[NAME].spec.resized(64, 96), wrong)
    code, result, shown = run(capsys, NAME, onnx, wrong, "--images", photos)
    assert code == 1 and result["first_failing_stage"] == f"{wrong} [ort]" and result["failed_stages"] == 1
    assert "FAIL: the first stage that breaks is" in shown


def _other() -> Any:
    """The seeded model with its first weights a little off."""
    import torch

    model = build_seeded(NAME)
    with torch.no_grad():
        for parameter in list(model.parameters())[:1]:
            parameter.mul_(1.01)
    return model


def test_a_packaged_file_is_judged_where_it_is_named_and_left_out_of_a_folder(
    flatbuffer, photo, tmp_path: Path, capsys
) -> None:
    folder, images = tmp_path / "models", tmp_path / "images"
    folder.mkdir(), images.mkdir()
    source = write_tiny(flatbuffer, folder / "float.tflite", TINY)
    embed_preprocessing(source, folder / "app.tflite", [(90, 70), (70, 90)])
    shutil.copy(source, folder / "same.tflite")
    for seed in range(6):
        photo(seed, *((90, 70) if seed % 2 else (70, 90))).save(images / f"{seed}.png")
    code, result, _ = run(capsys, source, folder / "app.tflite", "--images", images)
    assert code in (0, 1) and result["files"][-1]["label"] == "app.tflite" and result["left_out"] == {}
    _, result, shown = run(capsys, source, folder, "--images", images)
    assert list(result["left_out"]) == ["app.tflite"] and "app.tflite is not compared" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{fp32}", "{int8}"], "found no images; name its checkpoint as REFERENCE, or images"),
        (["{fp32}", "{onnx}", "--images", "{labelled}"], "right.onnx; name its checkpoint as REFERENCE"),
        ([NAME, "{onnx}", "--stages", "0", "--images", "{labelled}"], "--stages of 1 or more"),
        ([NAME, "{onnx}", "--stages", "-1"], "--stages of 0 or more"),
        ([NAME, "{onnx}", "--html", "{page}"], "a .tflite file for --html"),
        ([NAME, "{fp32}", "--out", "{page}"], "--out with --images or --data"),
        ([NAME, "{fp32}", "--split", "test"], "--split with --data"),
        ([NAME, "missing.tflite"], "nothing at missing.tflite"),
        (["nonsense", "{fp32}", "--images", "{labelled}"], "nonsense"),
        ([NAME, "{onnx}", "--runtimes", "nonsense"], "nonsense"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    words: list[str], message: str, net, onnx: Path, labelled: Path, tmp_path: Path, capsys
) -> None:
    page = tmp_path / "page.html"
    paths = {"fp32": net("fp32.tflite"), "int8": net("int8.tflite", step=1 / 250), "onnx": onnx,
             "labelled": labelled, "page": page}  # fmt: skip
    assert main([word.format(**paths) for word in words]) == 2
    out, error = capsys.readouterr()
    assert out == "" and len(error.splitlines()) == 1 and message in error and not page.exists()
    assert error.startswith("python -m convert.check: expected")


@pytest.mark.slow
def test_a_real_file_passes_every_stage_and_the_page_shows_them(photos: Path, tmp_path: Path) -> None:
    """From a conversion to its judgement, as one types it."""
    model, page = tmp_path / "model.tflite", tmp_path / "page.html"
    convert = ["convert", "--model", NAME, "--fp32", "--size", "64x96", "--out", str(model)]
    check = ["check", NAME, str(model), "--images", str(photos), "--html", str(page)]
    for words in (convert, check):
        process = subprocess.run([sys.executable, "-m", "mobileiqa", *words], capture_output=True, text=True)
        assert process.returncode == 0, process.stderr + process.stdout
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["passed"] and result["stages"] >= 3 and result["files"][0]["failed_gates"] == []
    assert "<h2>Stages</h2>" in page.read_text() and "rewritten module" in page.read_text()
