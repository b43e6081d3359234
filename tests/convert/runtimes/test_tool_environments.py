"""Where environments are looked for, and what a tool's failure says."""

import sys
from pathlib import Path

import pytest

from convert.runtimes import tool_environments
from convert.runtimes.tool_environments import TARGETS, command_of, envs_dir, python_of, run_tool
from mobileiqa.errors import UserError


def tool(folder: Path, environment: str, name: str) -> Path:
    path = folder / environment / "bin" / name
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    assert envs_dir() == tmp_path


def test_a_checkout_holds_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("MOBILEIQA_ENVS", raising=False)
    monkeypatch.setattr(
        tool_environments, "__file__", str(tmp_path / "convert" / "runtimes" / "tool_environments.py")
    )
    (tmp_path / "Makefile").touch()
    assert envs_dir() == tmp_path / ".envs"


def test_an_installed_package_uses_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("MOBILEIQA_ENVS", raising=False)
    monkeypatch.setattr(
        tool_environments, "__file__", str(tmp_path / "convert" / "runtimes" / "tool_environments.py")
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert envs_dir() == tmp_path / "home" / ".cache" / "mobileiqa" / "envs"


def test_a_tool_that_is_there_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    path = tool(tmp_path, "onnx2tf", "onnx2tf")
    assert command_of("onnx2tf", "onnx2tf") == path


@pytest.mark.parametrize("environment", TARGETS)
def test_a_missing_environment_names_its_make_target(
    environment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("MOBILEIQA_ENVS", str(tmp_path))
    with pytest.raises(UserError, match=f"make {TARGETS[environment]}"):
        python_of(environment)


def test_a_failure_quotes_the_end_of_stderr(tmp_path: Path):
    code = "import sys; print('noise\\n' * 50, file=sys.stderr); sys.exit('the reason')"
    with pytest.raises(UserError, match=r"exit 1: .*the reason"):
        run_tool([sys.executable, "-c", code], 30, tmp_path)


def test_a_crash_is_not_an_exit(tmp_path: Path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(UserError, match="killed by signal 11: no output"):
        run_tool([sys.executable, "-c", code], 30, tmp_path)


def test_a_hang_ends(tmp_path: Path):
    with pytest.raises(UserError, match="end within 1 s"):
        run_tool([sys.executable, "-c", "import time; time.sleep(60)"], 1, tmp_path)


def test_this_environments_python_variables_do_not_leak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    code = "import os; print([k for k in os.environ if k.startswith('PYTHON')])"
    assert run_tool([sys.executable, "-c", code], 30, tmp_path).strip() == "[]"
