"""Commands that are ended at random moments; the short form, and that the checks can fail."""

import signal
from pathlib import Path

import pytest

from tools.kill_commands import CASES, Case, _after, main

CASE = Case("x", "", ("x.csv",), ("x.csv.partial",))


def faults(out: Path, calm: Path, number: int, code: int, err: str = "") -> list[str]:
    return list(_after(CASE, number, code, err, calm, out))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    calm, out = tmp_path / "calm", tmp_path / "out"
    calm.mkdir()
    out.mkdir()
    (calm / "x.csv").write_text("1\n2\n")
    return calm, out


def test_what_an_interruption_may_leave_is_no_fault(folders: tuple[Path, Path]):
    calm, out = folders
    assert faults(out, calm, signal.SIGINT, 130, "x: interrupted") == []
    assert faults(out, calm, signal.SIGTERM, -15) == []  # before Python ran a line of ours
    assert faults(out, calm, signal.SIGINT, 1, '  File "<frozen os>"\nKeyboardInterrupt\n') == []
    (out / "x.csv.partial").write_text("1\n")
    (out / ".x.csv.lock").touch()
    (out / ".x.csv.abcd1234.tmp").mkdir()
    assert faults(out, calm, signal.SIGKILL, -9) == []
    assert len(faults(out, calm, signal.SIGINT, 130)) == 1


def test_every_fault_is_seen(folders: tuple[Path, Path]):
    calm, out = folders
    assert faults(out, calm, signal.SIGINT, 1) == ["exit 1: "]
    assert len(faults(out, calm, signal.SIGINT, 1, "runpy mobileiqa Traceback\nKeyboardInterrupt\n")) == 2
    assert "a traceback" in faults(out, calm, signal.SIGINT, 130, "Traceback: mobileiqa")[0]
    assert "not silent" in faults(out, calm, signal.SIGINT, -2, "Fatal")[0]
    (out / "x.csv").write_text("1\n")
    assert "x.csv is not whole" in faults(out, calm, signal.SIGKILL, -9)[0]
    (out / "x.csv").write_text("1\n2\n")
    (out / "half").touch()
    assert faults(out, calm, signal.SIGTERM, 143) == ["left ['half']"]


@pytest.mark.slow
def test_calibration_sets_that_are_interrupted_are_whole_or_absent(capsys: pytest.CaptureFixture[str]):
    assert "select" in {case.name for case in CASES}
    assert main(["select", "--times", "1"]) == 0, capsys.readouterr().out
