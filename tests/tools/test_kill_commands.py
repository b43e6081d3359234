"""Commands that are ended at random moments; the short form, and that the checks can fail."""

import signal
from pathlib import Path

import pytest

from tools.kill_commands import CASES, Case, _after, _start, main

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
    assert faults(out, calm, signal.SIGTERM, -15, "progress") == []  # it had come to its last line
    (out / ".x.csv.lock").touch()  # it had not, and says so
    assert faults(out, calm, signal.SIGINT, 130, "x: interrupted; whole already: x.csv") == []
    assert "not silent" in faults(out, calm, signal.SIGTERM, -15, "progress")[0]
    (out / ".x.csv.lock").unlink()
    (out / "half").touch()
    assert faults(out, calm, signal.SIGTERM, 143) == ["left ['half']"]


def test_ctrl_c_reaches_a_command_though_a_background_job_ignores_it(tmp_path: Path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = _start("http.server --bind 127.0.0.1 0", tmp_path, tmp_path)
        process.send_signal(signal.SIGINT)
        with process:
            assert process.wait(30) in (0, 1, -signal.SIGINT)  # of a server that else runs for ever
    finally:
        process.kill()
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_calibration_sets_that_are_interrupted_are_whole_or_absent(capsys: pytest.CaptureFixture[str]):
    assert "select" in {case.name for case in CASES}
    assert main(["select", "--times", "1"]) == 0, capsys.readouterr().out
