"""The table of instruction counts; the counting itself is in tests/android_bench."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from android_bench.runners.instruction_counter import KINDS
from benchmarks import arm
from benchmarks.conversion_paths import Case
from mobileiqa.errors import RunError

CASE = Case("lar-iqa-single", "96x64")


def row(name: str, precision: str, error: str = "", **kinds: int) -> arm.Row:
    counts = {} if error else {**dict.fromkeys(KINDS, 0), "instructions": sum(kinds.values()), **kinds}
    return arm.Row(str(CASE), name, precision, counts, error)


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_are_to_our_fp16_and_to_the_best_plain_file():
    rows = [
        row("ours, FP32", "fp32", fmla_4s=8_000_000, loads=2_000_000),
        row("ours, FP16", "fp16", fmla_8h=4_000_000, scalar=1_000_000),
        row("litert-torch, FP16 forced", "fp16", fmla_8h=4_000_000, scalar=6_000_000),
        row("onnx2tf, FP16 forced", "fp16", fmla_8h=4_000_000, scalar=4_000_000),
        row("ours, FP16 --arm", "fp16", fmla_8h=4_000_000),
        row("ours, INT8 --arm", "int8", sdot=2_000_000, scalar=1_000_000),
        row("onnx2tf, FP32", "fp32", error="the converter's words | with a bar"),
    ]
    text = arm.page(rows, {str(CASE): 32_000_000})
    assert cells(text, "ours, FP32")[1:6] == [
        "10.0",
        "1.25",
        "2.00",
        "-",
        "4.0",
    ]  # no plain FP32 file was counted
    assert cells(text, "ours, FP16")[1:6] == ["5.0", "1.25", "1.00", "0.62", "2.0"]
    assert cells(text, "ours, INT8 --arm")[3:5] == ["0.75", "-"]  # to FP16 of the same option
    assert cells(text, "litert-torch, FP16 forced")[1:6] == ["10.0", "2.50", "2.00", "-", "2.5"]
    assert "the converter's words \\| with a bar" in text and "32 M MACs" in text
    refused = row("onnx2tf, FP16 forced", "fp16", error="failed to prepare")
    others = [refused, row("onnx2tf, FP32", "fp32", fmla_4s=20_000_000)]
    text = arm.page([rows[1], *others], {str(CASE): 32_000_000})
    assert cells(text, "ours, FP16")[4] == "0.25*"  # no plain file runs in FP16


def test_macs_are_those_of_the_size_that_is_counted():
    assert arm.macs(CASE) == pytest.approx(
        arm.macs(Case("lar-iqa-single", "192x128")) / 4, rel=0.2
    )  # but for borders and heads


def test_a_file_that_cannot_be_had_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path) -> Path:
        raise RunError("no such\nconverter")

    monkeypatch.setenv("MOBILEIQA_ARM", str(tmp_path))
    assert arm.counted(CASE, arm.File("onnx2tf, FP32", "fp32", refuse)).error == "no such converter"
    path = tmp_path / "model.tflite"
    path.write_bytes(b"none")
    assert not arm.counted(CASE, arm.File("of a folder", "fp32", lambda _: path)).error.startswith(str(path))
    assert (
        arm.main(["--cases", "lar-iqa-single:96x64", "--out", str(tmp_path / "arm.json")]) == 2
    )  # no ARM root
    assert not (tmp_path / "arm.json").exists()


def test_every_case_has_each_precision_of_both():
    plan = [(file.precision, file.force_fp16) for file in arm.files(CASE)]
    assert sorted(plan) == sorted(
        [("fp32", False)] * 4 + [("fp16", False)] * 3 + [("fp16", True)] * 2 + [("int8", False)] * 4
    )
    stored = Path(arm.__file__).with_name("arm.json")
    if stored.exists():
        cases = {row["case"] for row in json.loads(stored.read_text())["rows"]}
        assert "whole-photo" in cases <= {str(Case(*case.split(":", 1))) for case in arm.CASES.split()}


def test_counts_of_a_file_are_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model, counted = tmp_path / "model.tflite", []
    model.write_bytes(b"one")

    def count(path: Path, cpu: str, force_fp16: bool) -> SimpleNamespace:
        counted.append((path.read_bytes(), force_fp16))
        return SimpleNamespace(counts={"instructions": len(counted)})

    monkeypatch.setattr(arm, "count", count)
    monkeypatch.setattr(arm, "CACHE", tmp_path / "baselines")
    assert [arm.counts_of(model, False) for _ in range(2)] == [{"instructions": 1}] * 2
    assert arm.counts_of(model, True) == {"instructions": 2}
    model.write_bytes(b"other")
    assert arm.counts_of(model, False) == {"instructions": 3}
    assert counted == [(b"one", False), (b"one", True), (b"other", False)]
