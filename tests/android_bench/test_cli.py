import json
import os
import subprocess
import sys

import pytest

from android_bench.cli import main
from android_bench.results import interference
from android_bench.results.measurements import from_json

KEEP = ["--if-disturbed", "keep"]  # other tests run beside these


def test_prints_a_table_and_ends_in_json(tiny, tmp_path, capsys):
    out = tmp_path / "deep" / "bench.json"
    options = ["--runs", "3", "--launches", "2", "--out", str(out), *KEEP]
    assert main([str(tiny.path), str(tiny.path), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["file", "input"]
    assert [line.split()[1:3] for line in lines[1:3]] == [["float32", "1x3x32x48"]] * 2
    assert "  ".join(lines[0].split()[4:-2]) == "init  first  median  mean  p5  p95  std  min  max"
    assert [line.split()[0] for line in lines[1:3]] == [str(tiny.path)] * 2
    brief = json.loads(lines[-1])
    results = from_json(json.loads(out.read_text()))
    for row, result in zip(brief["results"], results, strict=True):
        assert interference.calm(result).summary().items() <= row.items()
        assert row["launches"] == len(interference.calm(result).launches)
        assert (row["file"], len(result.launches)) == (str(tiny.path), 2)
    assert brief["config"]["runs"] == 3
    assert [path.name for path in out.parent.iterdir()] == ["bench.json"]


def test_a_signature_can_be_named_and_is_said(tiny, camera, tmp_path, capsys):
    out = tmp_path / "bench.json"
    options = ["--signature", "score_80x96", "--runs", "1", "--out", str(out), *KEEP]
    assert main([str(tiny.path), str(camera), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:4] == [str(camera), "score_80x96", "uint8", "1x96x80x3"]
    rows = json.loads(lines[-1])["results"]
    assert [row["signature"] for row in rows] == ["serving_default", "score_80x96"]
    assert rows[1]["input_types"] == ["uint8"] and rows[1]["input_shapes"] == [[1, 96, 80, 3]]
    assert [result.signature for result in from_json(json.loads(out.read_text()))] == [
        row["signature"] for row in rows
    ]


@pytest.mark.slow
def test_a_busy_machine_is_said_and_only_strict_refuses(tiny, tmp_path, capsys):
    """Four processes that compute for ever, on every CPU that this one may use."""
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4 * len(os.sched_getaffinity(0)))]
    options = ["--runs", "200", "--launches", "2", "--out", str(tmp_path / "bench.json")]
    try:
        assert main([str(tiny.path), *options, "--strict"]) == 1
        assert "disturbed" in capsys.readouterr().err and not (tmp_path / "bench.json").exists()
        assert main([str(tiny.path), *options]) == 0
    finally:
        for other in others:
            other.kill()
            other.wait()
    out = capsys.readouterr().out
    (row,) = json.loads(out.splitlines()[-1])["results"]
    assert row["disturbed"] and row["interference_percent"] > 3 and row["launches"] in (1, 2)
    assert "DISTURBED" in out and "went to something else" in out


def test_never_overwrites_unless_told_to(tiny, tmp_path, capsys):
    out = tmp_path / "bench.json"
    out.write_text("precious")
    command = [str(tiny.path), "--runs", "1", "--out", str(out), *KEEP]
    assert main(command) == 2
    assert out.read_text() == "precious"
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert from_json(json.loads(out.read_text()))


@pytest.mark.parametrize(
    "options",
    [
        ["--runs", "0"],
        ["--threads", "0"],
        ["--threads", "4096"],
        ["--launches", "0"],
        ["--signature", "score_80x96"],
        ["--warmup", "-1"],
        ["--cpu-mask", "f" * 99],
        ["--emulate", "cortex-a76"],
        ["--strict", "--if-disturbed", "repeat"],
        ["--strict", "--runner", "ours"],
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(tiny, tmp_path, capsys, options):
    out = tmp_path / "bench.json"
    assert main([str(tiny.path), *options, "--out", str(out)]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert output.err.startswith("python -m android_bench: expected ")
    assert not out.exists()


def test_a_file_that_does_not_run_is_exit_1_and_writes_nothing(not_finite, tmp_path, capsys):
    assert main([str(not_finite), "--out", str(tmp_path / "bench.json")]) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert not (tmp_path / "bench.json").exists()


def test_says_when_nothing_was_delegated(tiny, capsys):
    assert main([str(tiny.path), "--runs", "1", "--no-xnnpack", *KEEP]) == 0
    assert "without XNNPACK" in capsys.readouterr().out


def test_help_is_light():
    code = "import sys, android_bench.cli, android_bench.emulate; print(*sys.modules)"
    heavy = {"torch", "ai_edge_litert", "mobileiqa.spec", "convert", "calibration", "tqdm", "PIL"}
    assert heavy.isdisjoint(run("-c", code).split())
    assert "example:\n  python -m android_bench " in run("-m", "android_bench", "--help")


def run(*words):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout
