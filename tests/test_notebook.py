"""The notebook's cells run in order, as Jupyter runs them: `!` lines in a shell, the rest in one namespace."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "five-minutes.ipynb"
SHELL = "import os, subprocess\ndef shell(line):\n    subprocess.run(line, shell=True, check=True)\n"


def script() -> str:
    """The code cells as one program."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    lines = "".join(
        "".join([*cell["source"], "\n"]) for cell in cells if cell["cell_type"] == "code"
    ).splitlines()
    return SHELL + "\n".join(f"shell({line[1:]!r})" if line.startswith("!") else line for line in lines)


def test_it_holds_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell.get("outputs") for cell in cells)


@pytest.mark.slow
def test_it_runs_from_start_to_end(tmp_path: Path) -> None:
    (tmp_path / "mobileiqa").write_text(f'#!/bin/sh\nexec {sys.executable} -m mobileiqa "$@"\n')
    (tmp_path / "mobileiqa").chmod(0o755)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", script()], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "five-minutes" / "reference_fp16.tflite").stat().st_size > 1_000_000
    assert (tmp_path / "five-minutes" / "where.png").is_file()
