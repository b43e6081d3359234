"""A command of this project, run by the code of a checkout in a process of its own, and what it cost."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """A process that ended. cpu_s: user and system, of all its threads and of its own children."""

    returncode: int
    last_line: str  # of what it printed
    cpu_s: float
    peak_mb: float  # its largest resident memory


def environment(checkout: Path) -> dict[str, str]:
    """The environment in which Python imports the checkout's code, each process on one thread."""
    return os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}


def run_python(checkout: Path, arguments: Sequence[str], cores: Collection[int] = ()) -> Run:
    """`python ARGUMENTS` to its end, on `cores` or on all of them."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=checkout, env=environment(checkout), stdout=log, stderr=subprocess.STDOUT,
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
    peak_mb = used.ru_maxrss * 1024 / 1e6
    return Run(process.returncode, lines[-1] if lines else "", used.ru_utime + used.ru_stime, peak_mb)
