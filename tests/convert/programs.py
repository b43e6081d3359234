"""Other languages' compilers and programs, as tests run them."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    """Standard output of a program that must succeed."""
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    return process.stdout


def tool(*names: str) -> str:
    """The first that is there; skips without any."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no {' or '.join(names)} here")
    return path
