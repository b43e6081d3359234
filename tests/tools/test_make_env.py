import platform
import subprocess

import pytest

from tools.make_env import STAMP, Environment, build, find_python

HERE = ".".join(platform.python_version_tuple()[:2])


def test_names_a_python_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"no python9\.9 on the path"):
        find_python(("9.9",))


def test_finds_a_python_that_pyenv_holds_but_does_not_show(tmp_path, monkeypatch):
    """pyenv's shim for it is on the path and fails; the version's own folder works."""
    shim, real = tmp_path / "shims/python9.9", tmp_path / "versions/9.9.1/bin/python9.9"
    for path, status in ((shim, 127), (real, 0)):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\nexit {status}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python(("8.8", "9.9")) == str(real)


@pytest.mark.slow
def test_builds_once_and_anew_for_other_requirements(tmp_path):
    """`pip` is in every new environment already, so that nothing is downloaded."""
    folder, good = tmp_path / "env", Environment((HERE,), ("pip",), "import pip")
    assert build(folder, good) is True
    assert build(folder, good) is False
    with pytest.raises(subprocess.CalledProcessError):
        build(folder, Environment((HERE,), ("pip", "pip>=1"), "import missing_module"))
    assert not (folder / STAMP).exists()  # so that the next run starts again
