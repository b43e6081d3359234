"""Artifact: what a converted file is. Written inside the file and as FILE.json beside it.

Inside: the metadata entry `mobileiqa` (JSON), so that a .tflite file alone is enough to score a photo. The
sidecar adds what only exists once the file does: its own sha256 and size.
"""

import importlib.metadata
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobileiqa import cli
from mobileiqa.checkpoint import sha256
from mobileiqa.spec import ModelSpec

METADATA_ENTRY = "mobileiqa"
TOOLS = ("mobileiqa", "torch", "timm", "litert-torch", "litert-converter", "ai-edge-litert", "ai-edge-quantizer",
         "onnx", "onnxscript", "numpy", "Pillow")  # fmt: skip


@dataclass(frozen=True)
class Artifact:
    """One converted file."""

    path: str
    format: str  # tflite or onnx
    precision: str  # fp32, fp16, int8
    via: str  # litert or onnx2tf or torch
    spec: ModelSpec
    sha256: str
    size_bytes: int
    checkpoint_sha256: str | None  # None: seeded, untrained weights
    calibration_sha256: str | None
    fp16_arithmetic_allowed: bool
    rewrites: dict[str, Any]
    tool_versions: dict[str, str]
    command: str


def tool_versions() -> dict[str, str]:
    """Versions of the installed tools that shape a converted file, and of Python."""
    found = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def command() -> str:
    """The command that is running, as one would type it."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    name = f"python -m {spec.name.removesuffix('.__main__')}" if spec else Path(sys.argv[0]).name
    return shlex.join([*name.split(), *sys.argv[1:]])


def inside(spec: ModelSpec, precision: str, checkpoint_sha256: str | None) -> dict[str, Any]:
    """What is stored inside the file."""
    return {
        "spec": spec.to_json(),
        "version": tool_versions().get("mobileiqa", "source"),
        "precision": precision,
        "checkpoint_sha256": checkpoint_sha256,
        "untrained": spec.untrained,
    }


def sidecar_path(path: Path) -> Path:
    """FILE.tflite -> FILE.tflite.json."""
    return path.with_name(path.name + ".json")


def write_sidecar(path: Path, **fields: Any) -> Artifact:
    """Writes FILE.json for the finished file `path`; `fields` are Artifact's, less what is read off the file."""
    artifact = Artifact(
        path=path.name, format=path.suffix.removeprefix("."), sha256=sha256(path), size_bytes=path.stat().st_size,
        tool_versions=tool_versions(), command=command(), **fields,
    )  # fmt: skip
    cli.write_json(sidecar_path(path), asdict(artifact))
    return artifact
