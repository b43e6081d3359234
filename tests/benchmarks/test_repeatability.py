import dataclasses
import json

import pytest

from benchmarks.repeatability import Session, differences, main, table

FIRST = Session("2026-01-01T10:00:00+00:00", 10.0, 20.0, 2.0, 1.98, 2.02, 0)


def test_a_machine_that_is_slower_an_hour_later_changes_no_ratio(tmp_path):
    later = dataclasses.replace(FIRST, first_ms=15.0, second_ms=30.3, ratio=2.02)
    result = differences([FIRST, later])
    assert (result["first_ms_difference"], result["second_ms_difference"]) == (0.5, 0.515)
    assert (result["ratio_difference"], result["passed"]) == (0.01, True)
    shown = table([tmp_path / "a.tflite", tmp_path / "b.tflite"], [FIRST, later]).splitlines()
    assert shown[-1] == "| apart | 50.00% | 51.50% | 1.00% | at most 3%: yes |  |"


@pytest.mark.parametrize("ratio", [1.93, 2.07])
def test_ratios_that_differ_by_more_than_3_percent_fail(ratio, tmp_path):
    sessions = [FIRST, dataclasses.replace(FIRST, ratio=ratio)]
    assert not differences(sessions)["passed"]
    assert "**NO**" in table([tmp_path / "a.tflite", tmp_path / "b.tflite"], sessions)


@pytest.mark.slow
def test_measures_two_sessions_and_writes_both(tiny, tmp_path, capsys):
    out = tmp_path / "repeatability.json"
    options = [
        "--minutes",
        "0",
        "--runs",
        "5",
        "--launches",
        "2",
        "--if-disturbed",
        "keep",
        "--out",
        str(out),
    ]
    code = main([str(tiny[2]), str(tiny[2]), *options])
    written, last = json.loads(out.read_text()), json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == int(not written["passed"]) and last["passed"] is written["passed"]
    for one in written["sessions"]:
        assert one["ratio"] == pytest.approx(one["second_ms"] / one["first_ms"])
        assert one["low"] <= one["ratio"] <= one["high"]


def test_refuses_before_it_measures(tmp_path, capsys):
    missing = [str(tmp_path / "a.tflite")] * 2
    for options in (["--minutes", "-1"], ["--runs", "0"], []):
        assert main([*missing, *options, "--out", str(tmp_path / "out.json")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
