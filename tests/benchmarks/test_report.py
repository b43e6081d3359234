import json
from pathlib import Path

from android_bench.results.measurements import BenchConfig, Device, Launch
from benchmarks import report
from benchmarks.conversion_paths import OURS, Built, Case
from benchmarks.limit import Rates, Work
from benchmarks.results import Row

CASE = Case("mobilenet-iqa", "1271x820")
RATES = Rates(50.0, 0.25, 0.5)


def row(route, ms, score=0.5):
    path = Path("/somewhere/private/model.tflite")
    built = Built(route, CASE, path, {"torch": "2"}, 10**7, 60.0, 2000.0, 0.5)
    return Row(built, (Launch((1,), 5.0, ms, (ms,), 40.0, 140.0, 1),), score, 0.5, "runtime 1")


def made(*rows):
    device = Device("host", "A CPU", 2, "Linux", False)
    return report.Report(rows, RATES, {CASE: Work(10**10, 10**8)}, BenchConfig(runs=1), device)


def test_markdown_has_ratios_targets_and_the_limit():
    text = report.markdown(made(row(OURS, 450.0), row("executorch", 900.0)))
    assert "| ExecuTorch XNNPACK | 10 | 900.0 | 2.00 |" in text
    assert "time of ours, FP32, over ExecuTorch XNNPACK | 0.500× | 0.400× | **NO** |" in text
    assert "| mobilenet-iqa 1271x820 | 10.0 | 100 | 225.0 | 450.0 | 2.00 |" in text
    assert "A CPU" in text
    assert "runtime 1" in text


def test_a_row_that_failed_shows_why_in_as_many_columns():
    failed = Row(Built("onnx2tf", CASE, Path("model.tflite"), {}), error="does not convert: a | b")
    lines = report.markdown(made(row(OURS, 450.0), failed)).splitlines()
    head = next(line for line in lines if line.startswith("| file from"))
    line = next(line for line in lines if "does not convert" in line)
    assert "a \\| b" in line
    assert line.replace("\\|", "").count("|") == head.count("|")


def test_failures_are_missed_targets_broken_files_and_wrong_scores():
    assert report.failures(made(row(OURS, 300.0))) == []
    assert "time" in report.failures(made(row(OURS, 450.0), row("executorch", 900.0)))[0]
    assert "score off by 1.0e-03" in report.failures(made(row(OURS, 300.0, score=0.501)))[0]
    broken = Row(Built(OURS, CASE, Path("model.tflite"), {}), error="does not run: no")
    assert report.failures(made(broken)) == ["mobilenet-iqa 1271x820, ours: does not run: no"]


def test_json_is_finite_and_tells_no_path():
    text = json.dumps(report.as_json(made(row(OURS, 450.0), row("executorch", 900.0))), allow_nan=False)
    assert "private" not in text
    assert json.loads(text)["targets"][0]["passed"] is False
