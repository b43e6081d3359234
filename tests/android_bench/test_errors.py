"""How a command ends: exit codes, one line on stderr, and what `kill` does."""

import os
import signal
import time

import pytest

from android_bench.errors import InputError, RunError, exit_code


def _raise(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("a file", "none", "name\none"), 2, "x: expected a file; found none; name one"),
        (OSError("disk full"), 2, "x: disk full; check the path, its permissions and the space left"),
        (RunError("it crashed"), 1, "x: it crashed"),
        (KeyboardInterrupt(), 130, "x: interrupted; nothing half written was left behind"),
    ],
)
def test_errors_are_one_line_and_a_code(error, code, words, capsys):
    assert exit_code("x", lambda: _raise(error)) == code
    assert capsys.readouterr().err == words + "\n"


def test_kill_ends_it_as_ctrl_c_does(capsys):
    cleaned = []

    def body() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        finally:
            cleaned.append("phone")
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert exit_code("x", body) == 143
    assert cleaned == ["phone"]
    assert capsys.readouterr().err == "x: interrupted; nothing half written was left behind\n"
    assert signal.getsignal(signal.SIGTERM) == before
