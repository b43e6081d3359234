"""A file that may not be read, or lies in a folder that may not be entered: the error says permission.

Root may read everything, so the command runs without that capability there (util-linux's setpriv takes it away).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pathlib import Path
from mobileiqa import cli
def read(path):
    if path.suffix == ".safetensors":
        from mobileiqa.checkpoint import load_spec
    else:
        from mobileiqa.scoring.litert import load_spec
    load_spec(path)
path = Path(sys.argv[2])
sys.exit(cli.run("x", lambda: read(path) if sys.argv[1] == "read" else cli.refuse_existing(path, False)))
"""


@pytest.fixture(scope="module")
def prefix() -> list[str]:
    """What a command begins with so that permissions hold for it."""
    if os.geteuid():
        return []
    words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("root, and no setpriv to take its rights away: run as another user")
    return words


@pytest.mark.parametrize("where", ["file", "folder"])
@pytest.mark.parametrize("suffix", [".safetensors", ".tflite"])
def test_a_model_that_may_not_be_read(where: str, suffix: str, tmp_path: Path, prefix: list[str]):
    path = tmp_path / "folder" / f"model{suffix}"
    path.parent.mkdir()
    path.write_bytes(bytes(64))
    refused(prefix, "read", path, path if where == "file" else path.parent, 0 if where == "file" else 0o600)


def test_a_folder_that_may_not_be_written(tmp_path: Path, prefix: list[str]):
    (tmp_path / "folder").mkdir()
    refused(prefix, "write", tmp_path / "folder" / "x.csv", tmp_path / "folder", 0o500)


def refused(prefix: list[str], how: str, path: Path, closed: Path, mode: int) -> None:
    """One line with the path and the word permission, and exit code 2."""
    closed.chmod(mode)
    process = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM, how, str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    closed.chmod(0o700)
    (line,) = process.stderr.splitlines()
    assert process.returncode == 2 and "Permission denied" in line and str(path) in line
