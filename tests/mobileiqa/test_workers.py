"""Worker processes: their results, Ctrl-C on a terminal, and the death of their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobileiqa.workers import process_pool

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys, time
from mobileiqa import cli
from mobileiqa.workers import process_pool

def work(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)

def body():
    pool = process_pool(2)
    try:
        list(pool.map(work, [float(sys.argv[1])] * 2))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return 0

if __name__ == "__main__":
    sys.exit(cli.run("x", body))
"""


def test_a_pool_works():
    with process_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_workers_end_with_their_parent_and_in_silence(number: int, code: int, tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), "1" if number == signal.SIGINT else "60"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, preexec_fn=_hears_ctrl_c,
    )  # fmt: skip
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(2)]
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    if number == signal.SIGINT:  # after kill -9 Python's resource tracker says what it cleaned
        assert err == "x: interrupted; nothing half written was left behind\n"
    assert "Traceback (most" not in err
    deadline = time.monotonic() + 30
    while any(map(_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
