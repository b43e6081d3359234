"""`make legacy-runtime`: environments of their own for runtimes that cannot share ours, in .envs/NAME.

An environment is complete when its requirements are written into it, which happens last; a half-built one, or
one of other requirements, is removed and built again.
"""

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ENVS = Path(__file__).resolve().parents[1] / ".envs"
STAMP = "requirements.txt"


@dataclass(frozen=True)
class Environment:
    """A Python version, pinned requirements, and code that must run in it."""

    python: str
    requirements: tuple[str, ...]
    proof: str


ENVIRONMENTS = {
    # The runtime of apps from before LiteRT, in its last release: the wheels end at Python 3.11 and numpy 1.
    "legacy": Environment(
        "3.11", ("tflite-runtime==2.14.0", "numpy==1.26.4"), "import tflite_runtime.interpreter"),
    # For benchmarks/peers.py alone. ExecuTorch 1.5 belongs to torch 2.14; timm builds the published models.
    "executorch": Environment(
        "3.11", ("executorch==1.5.1", "torch==2.14.1", "torchvision==0.29.1", "timm==1.0.31"),
        "import timm; from executorch.runtime import Runtime; "
        "assert Runtime.get().backend_registry.is_available('XnnpackBackend')"),
}


def main(argv: list[str] | None = None) -> int:
    """Builds one environment unless it is already there."""
    parser = argparse.ArgumentParser(prog="python -m tools.make_env", description="Builds .envs/NAME.")
    parser.add_argument("name", choices=ENVIRONMENTS)
    name = parser.parse_args(argv).name
    try:
        built = build(ENVS / name, ENVIRONMENTS[name])
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"make_env {name}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f".envs/{name} is ready{'' if built else ' (it already was)'}", file=sys.stderr)  # noqa: T201
    return 0


def build(folder: Path, environment: Environment) -> bool:
    """True when it was built, False when it was there; CalledProcessError when pip or the proof fails."""
    wanted = "\n".join(environment.requirements) + "\n"
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    subprocess.run([find_python(environment.python), "-m", "venv", str(folder)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *environment.requirements], check=True)
    subprocess.run([python, "-c", environment.proof], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return True


def find_python(version: str) -> str:
    """An interpreter of that version: this one, or one on the path; FileNotFoundError when there is none."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = shutil.which(f"python{version}")
    if not found:
        raise FileNotFoundError(f"no python{version} on the path: install it (Debian: python{version}-venv)")
    return found


if __name__ == "__main__":
    sys.exit(main())
