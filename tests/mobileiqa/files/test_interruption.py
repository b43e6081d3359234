"""Signals: during a command's imports, while it runs, and while it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mobileiqa import cli

ROOT = Path(__file__).resolve().parents[3]
SLOW_IMPORT = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
SCRIPT = "import sys\nfrom mobileiqa.main import main\nsys.exit(main())\n"
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _hears_everything() -> None:
    for number in NUMBERS:
        signal.signal(number, signal.SIG_DFL)


def start(words: list[str], path: Path | None = None) -> "subprocess.Popen[str]":
    """python WORDS, with `path` in front of the standard library."""
    paths = os.pathsep.join(str(p) for p in (path, ROOT) if p)
    return subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths}, preexec_fn=_hears_everything,
    )  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "command", ["mobileiqa", "mobileiqa.score", "calibration.select", "convert.package", "android_bench", ""]
)
def test_a_signal_during_the_imports_ends_a_command_in_silence(command: str, number: int, tmp_path: Path):
    (tmp_path / "argparse.py").write_text(SLOW_IMPORT)
    (tmp_path / "mobileiqa").write_text(SCRIPT)
    process = start(["-m", command] if command else [str(tmp_path / "mobileiqa")], tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + number, "", "")


def test_a_program_that_imports_the_package_keeps_its_signals():
    code = "import signal as s; b = s.getsignal(s.SIGINT); import mobileiqa.cli; print(b is s.getsignal(s.SIGINT))"
    process = start(["-c", code])
    assert process.communicate(timeout=60)[0] == "True\n"


def test_what_a_process_ignores_stays_ignored(capsys: pytest.CaptureFixture[str]):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.run("x", lambda: os.kill(os.getpid(), signal.SIGHUP) or 0) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", NUMBERS)
def test_an_error_that_is_a_signals_echo_is_no_bug(number: int, capsys: pytest.CaptureFixture[str]):
    """As when a C++ library turns the exception into its own."""

    def body() -> int:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        except KeyboardInterrupt:
            raise RuntimeError("initialization failed") from None
        return 0

    before = [signal.getsignal(each) for each in NUMBERS]
    assert cli.run("x", body) == 128 + number
    assert capsys.readouterr().err == "x: interrupted; nothing half written was left behind\n"
    assert [signal.getsignal(each) for each in NUMBERS] == before


def test_what_an_interruption_says_of_results_is_shown(capsys: pytest.CaptureFixture[str]):
    def body() -> int:
        raise KeyboardInterrupt("3 rows are in x.partial")

    assert cli.run("x", body) == 130
    assert capsys.readouterr().err == "x: interrupted; 3 rows are in x.partial\n"
