import platform
import subprocess

import pytest

from tools.make_env import STAMP, Environment, build, find_python

HERE = ".".join(platform.python_version_tuple()[:2])


def test_names_a_python_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"no python9\.9 on the path"):
        find_python("9.9")


@pytest.mark.slow
def test_builds_once_and_anew_for_other_requirements(tmp_path):
    """`pip` is in every new environment already, so that nothing is downloaded."""
    folder, good = tmp_path / "env", Environment(HERE, ("pip",), "import pip")
    assert build(folder, good) is True
    assert build(folder, good) is False
    with pytest.raises(subprocess.CalledProcessError):
        build(folder, Environment(HERE, ("pip", "pip>=1"), "import missing_module"))
    assert not (folder / STAMP).exists()  # so that the next run starts again
