"""What is printed and written of results that are known."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.accuracy_report import agreement as accuracy
from convert.accuracy_report import files, tables
from convert.accuracy_report import report as reports
from convert.accuracy_report.agreement import agreement, labelled
from convert.accuracy_report.gates import judge
from convert.accuracy_report.layer_sqnr import Layer, LayerTable
from convert.accuracy_report.report import FILES, FileReport, Latency, Report
from mobileiqa.datasets.core import Sample

N = 40
LABELS = np.linspace(0.1, 0.9, N)
NAMES = tuple(f"{i}.png" for i in range(N))
SAMPLES = tuple(Sample(Path(n), v, v, "test") for n, v in zip(NAMES, LABELS, strict=True))
LAYERS = LayerTable(
    2,
    (
        Layer("stem", 0, "CONV_2D", "int8", (1, 8), 1.0, 0.02, 0.01),
        Layer("middle", 1, "ADD", "int8", (1, 8), 1.0, 1.0, 0.1, scaled=True),
        Layer("dead", 2, "MUL", "float32", (1, 8), float("nan"), float("nan"), float("nan")),
        Layer("equal", 3, "MEAN", "float32", (1, 8), 1.0, 0.0, 0.0),
    ),
    ("lost",),
)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "RESAMPLES", 20)


def file_of(candidate: np.ndarray, with_labels: bool = True) -> FileReport:
    shift = agreement(LABELS, candidate, NAMES)
    known = labelled(LABELS, candidate, SAMPLES) if with_labels else None
    verdicts = judge("int8", shift, known)
    return FileReport("int8.tflite", "0" * 64, "int8", 2_000_000, 0.25, 1, 30, 31, shift, known, verdicts)


def report_of(*files: FileReport, scores: np.ndarray, with_labels: bool = True) -> Report:
    labels = tuple(LABELS) if with_labels else None
    return Report(
        "toy", "fp32.tflite", 8_000_000, "photos", "images", 1.0, NAMES, labels, scores, files, ("a note",)
    )


@pytest.fixture
def good() -> Report:
    candidate = LABELS + 0.004
    file = replace(file_of(candidate), layers=LAYERS, latency=Latency(5, 4, 6, 2.5), note="remark")
    return report_of(file, scores=np.stack([LABELS, candidate]))


def test_the_tables(good: Report) -> None:
    shown = tables.text(good)
    rows = {line.split("  ")[0]: line.split() for line in shown.splitlines()}
    assert rows["mean shift"][-2:] == ["-", "0.0040"] and rows["mean shift, signed"][-1] == "+0.0040"
    assert rows["file, MB"][-2:] == ["8.00", "2.00"] and rows["file, share of FP32's"][-1] == "0.250"
    assert rows["operators delegated"][-3:] == ["30", "of", "31"] and rows["times FP32's speed"][-1] == "2.50"
    times = replace(good.files[0].latency, disturbed=True)
    again = replace(good, files=(replace(good.files[0], latency=times),))
    assert "2.50, DISTURBED" in tables.text(again)
    assert rows["distinct scores"][-2:] == ["40", "40"]
    assert "int8.tflite (int8), remark" in shown and shown.endswith("a note")
    assert "step of the output" not in shown  # nothing to say: no row
    lines = shown.splitlines()
    first = next(i for i, line in enumerate(lines) if "lowest SQNR" in line) + 2
    assert [line.split()[-1] for line in lines[first : first + 3]] == ["dead", "middle", "stem"]
    assert "1 equal FP32's, 1 of FP32's have no counterpart" in shown and "not finite" in shown
    assert lines[first + 1].split()[:3] == ["10.0", "*", "0.0"] and "* without the gains" in lines[first - 2]


def test_a_row_of_reasons_only_where_there_are_some(good: Report) -> None:
    assert "likeliest reasons" not in tables.text(good)
    file = good.files[0]
    comparison = replace(file.agreement, reasons_agree=0.975)
    report = replace(good, files=(replace(file, agreement=comparison),))
    row = next(
        line for line in tables.text(report).splitlines() if line.startswith("likeliest reasons that agree")
    )
    assert row.split()[-3:] == ["-", "97.50", "%"]
    assert reports.as_json(report)["files"][0]["agreement"]["reasons_agree"] == 0.975


def test_the_json_is_strict_and_says_everything(good: Report) -> None:
    content = json.loads(json.dumps(reports.as_json(good), allow_nan=False))
    (file,) = content["files"]
    assert content["passed"] and file["passed"] and file["failed_gates"] == []
    assert [(x["name"], x["rank"], x["finite"]) for x in file["layers"]["layers"]] == [
        ("stem", 3, True), ("middle", 2, True), ("dead", 1, False), ("equal", None, True),
    ]  # fmt: skip
    assert file["layers"]["layers"][1]["sqnr_db"] == pytest.approx(10)
    assert file["layers"]["layers"][1]["plain_db"] == pytest.approx(0)
    assert file["agreement"]["pair_flips"] == 0 and file["agreement"]["worst"][0]["image"] in NAMES
    gates = {v["gate"]: (v["passed"], v["limit"]) for v in file["verdicts"]}
    assert gates["srcc"] == (True, 0.99) and gates["mean_shift"] == (True, 0.01)
    assert file["labelled"]["drop"]["value"] == 0
    json.dumps(reports.summary(good, None), allow_nan=False)


def test_a_file_without_figures_is_still_reported() -> None:
    candidate = LABELS.copy()
    candidate[3] = np.nan
    broken = report_of(file_of(candidate), scores=np.stack([LABELS, candidate]))
    assert not broken.passed and "score of 3.png is nan" in tables.text(broken)
    content = json.loads(json.dumps(reports.as_json(broken), allow_nan=False))
    assert content["files"][0]["failed_gates"] == ["srcc", "srcc_drop", "pair_flips", "mean_shift"]


def test_files(good: Report, tmp_path: Path) -> None:
    files.write(good, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert json.loads((tmp_path / "out" / FILES[0]).read_text())["passed"]
    rows = list(csv.reader((tmp_path / "out" / FILES[1]).open(newline="")))
    assert rows[0] == ["image", "label", "fp32", "int8.tflite"] and len(rows) == N + 1
    assert [float(v) for v in rows[1][1:]] == pytest.approx([0.1, 0.1, 0.104])
    for name in FILES[2:]:
        assert (tmp_path / "out" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_without_labels_and_layers(tmp_path: Path) -> None:
    report = report_of(file_of(LABELS + 0.004, False), scores=np.stack([LABELS] * 2), with_labels=False)
    shown = tables.text(report)
    assert "with labels  " not in shown and "not judged: no labels" in shown and report.passed
    files.write(report, tmp_path)
    assert not (tmp_path / FILES[3]).exists()
    assert (tmp_path / FILES[1]).read_text().splitlines()[1].startswith("0.png,,0.1,")


def test_a_name_is_no_formula_in_pictures_and_no_row_in_tables(good: Report, tmp_path: Path) -> None:
    name = "=m$x^$y_{\\frac\n\x1b[2J.tflite"
    layers = replace(LAYERS, layers=(replace(LAYERS.layers[0], operator="$x^$y_{"), *LAYERS.layers[1:]))
    report = replace(good, files=(replace(good.files[0], label=name, layers=layers),))
    files.write(report, tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        head = next(csv.reader(file))
    assert head == ["image", "label", "fp32", f"'{name}"]
    assert all(line.isprintable() for line in tables.text(report).splitlines())
