import json
from pathlib import Path

import pytest

from android_bench.results.measurements import BenchConfig
from benchmarks.conversion_paths import Case
from benchmarks.int8 import TARGETS, File, Measurement, Target, _files, compare, judge, report
from benchmarks.int8 import arguments as parser

MEASUREMENTS = {
    "fast": Measurement(40.0, 0.01, 100.0, 2.5, 1),
    "slow": Measurement(100.0, 0.02, 900.0, 10.0, 3),
}


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("fast", "slow", "median_ms", 1 / 2.5), 0.4, True),
        (Target("fast", "slow", "median_ms", 0.39), 0.4, False),
        (Target("fast", "slow", "memory_mb", 1 / 8), 0.1111, True),
        (Target("fast", None, "size_mb", 2.4), 2.5, False),
        (Target("slow", None, "partitions", 1), 3, False),
    ],
)
def test_targets_are_ratios_or_values(target: Target, value: float, met: bool) -> None:
    result = judge(target, MEASUREMENTS)
    assert (result["value"], result["met"]) == (value, met)


def test_every_target_names_files_of_the_table() -> None:
    names = {file.name for file in _files()}
    assert {t.what for t in TARGETS} | {t.of for t in TARGETS if t.of} <= names


def test_the_page_shows_what_was_missed() -> None:
    verdict = [judge(Target("slow", None, "partitions", 1), MEASUREMENTS)]
    page = report(MEASUREMENTS, verdict, BenchConfig())
    assert "| fast | 40.0 | 1.0% | 100 | 2.5 | 1 |" in page
    assert "| slow | partitions | itself | 1 | 3.000 | **missed** |" in page


@pytest.mark.slow
def test_measures_files_in_turns_and_fails_on_a_missed_target(
    tiny: tuple[object, object, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [File(name, Case("tiny"), lambda _case, _path: tiny[2]) for name in ("a", "b")]
    options = ["--runs", "5", "--launches", "2", "--if-disturbed", "keep"]  # other tests run beside this one
    args = parser().parse_args([*options, "--out", str(tmp_path / "int8.json")])
    expected = [Target("a", "b", "size_mb", 1.0), Target("a", "b", "size_mb", 0.5)]
    assert compare(args, files, expected) == 1
    written = json.loads((tmp_path / "int8.json").read_text())
    assert [t["met"] for t in written["targets"]] == [True, False]
    assert written["files"]["a"]["size_mb"] == written["files"]["b"]["size_mb"] > 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["missed"] == ["a: size_mb"]
