"""Where tools that cannot share this environment live: one virtual environment per tool, run as commands.

onnx2tf pins its own numpy, onnx and protobuf; tflite-runtime needs numpy below 2. Both are called as the
commands that they are and never imported. `make` builds each environment once under `envs_dir()`.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobileiqa.errors import UserError

# environment -> the make target that builds it
TARGETS = {
    "onnx2tf": "onnx2tf", "legacy": "legacy-runtime", "executorch": "executorch", "web": "web", "kotlin": "kotlin",
}  # fmt: skip

VARIABLE = "MOBILEIQA_ENVS"
ERROR_LINES = 4  # of a failed command's output that an error quotes


def envs_dir() -> Path:
    """$MOBILEIQA_ENVS, else `.envs` beside the checkout's Makefile, else ~/.cache/mobileiqa/envs."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "Makefile").is_file():
        return checkout / ".envs"
    return Path.home() / ".cache" / "mobileiqa" / "envs"


def command_of(environment: str, tool: str) -> Path:
    """The path of command `tool` in an environment; UserError names the make target that builds it."""
    command = envs_dir() / environment / "bin" / tool
    if not command.is_file():
        raise UserError(
            f"{tool} of the {environment} environment at {command}",
            "no such file",
            f"run `make {TARGETS[environment]}` in a checkout, or set {VARIABLE} to the folder that holds it",
        )
    return command


def package_of(environment: str, package: str) -> Path:
    """The folder of an npm package in an environment; UserError names the make target that installs it."""
    folder = envs_dir() / environment / "node_modules" / package
    if not (folder / "package.json").is_file():
        raise UserError(
            f"the npm package {package} in the {environment} environment at {folder}",
            "no such package",
            f"run `make {TARGETS[environment]}` in a checkout, or set {VARIABLE} to the folder that holds it",
        )
    return folder


def python_of(environment: str) -> Path:
    """The Python interpreter of an environment; UserError names the make target that builds it."""
    return command_of(environment, "python")


def run_tool(command: Sequence[str | Path], timeout_s: float, folder: Path) -> str:
    """Runs `command` in `folder` and returns its stdout; see `run_process`."""
    return run_process(command, timeout_s, folder).stdout


def run_process(
    command: Sequence[str | Path], timeout_s: float, folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `command` in `folder`, with `variables` added to the environment.

    PYTHON* variables are removed: they belong to this environment. Raises UserError with the end of the
    command's output when it fails, is killed, or takes longer than `timeout_s` seconds.
    """
    name = Path(command[0]).name
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        process = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            env=inherited | dict(variables or {}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        expected = f"{name} to end within {timeout_s:.0f} s"
        raise UserError(
            expected, "that it was still running", "use a smaller input, or an idle machine"
        ) from error
    if process.returncode:
        raise UserError(f"{name} to succeed", _failure(process), "see the end of its output, quoted here")
    return process


def _failure(process: subprocess.CompletedProcess[str]) -> str:
    """How the process ended, and the last lines it wrote."""
    how = (
        f"exit {process.returncode}" if process.returncode > 0 else f"killed by signal {-process.returncode}"
    )
    lines = [line.strip() for line in (process.stderr or process.stdout).replace("\r", "\n").splitlines()]
    return f"{how}: {' | '.join([line for line in lines if line][-ERROR_LINES:]) or 'no output'}"
