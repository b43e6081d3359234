"""Artifact: what a converted file is. Written inside the file and as FILE.json beside it.

Inside: the metadata entry `mobileiqa` (JSON), so that a .tflite file alone is enough to score a photo. The
sidecar adds what only exists once the file does: its own sha256 and size.

A file gets its name only after parity: it is made and compared in a hidden folder beside it (`staged`), then
moved, with its sidecar, to the name that it has earned (`place`). One that failed is kept, under a name that
says so, and what stood at the wanted name before still stands there.
"""

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobileiqa import cli, typed_json
from mobileiqa.checkpoint import sha256
from mobileiqa.files import outputs
from mobileiqa.spec import ModelSpec

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
    approximations: tuple[
        str, ...
    ] = ()  # names in convert.rewrites.approximations: changes that are not exact
    delivery: dict[str, Any] | None = (
        None  # of a file with embedded preprocessing: mobileiqa.scoring.embedded_preprocessing
    )


def tool_versions() -> dict[str, str]:
    """Versions of the installed tools that shape a converted file, and of Python."""
    versions = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def command() -> str:
    """The command that is running, as one would type it."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    name = f"python -m {spec.name.removesuffix('.__main__')}" if spec else Path(sys.argv[0]).name
    return shlex.join([*name.split(), *sys.argv[1:]])


def embedded_metadata(spec: ModelSpec, precision: str, checkpoint_sha256: str | None) -> dict[str, Any]:
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
    sidecar = Artifact(
        path=path.name, format=path.suffix.removeprefix("."), sha256=sha256(path), size_bytes=path.stat().st_size,
        tool_versions=tool_versions(), command=command(), **fields,
    )  # fmt: skip
    cli.write_json(sidecar_path(path), asdict(sidecar))
    return sidecar


def failed_path(path: Path) -> Path:
    """Where a file that failed parity is kept: x.tflite -> x.failed.tflite."""
    return path.with_name(f"{path.stem}.failed{path.suffix}")


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yields a path of `path`'s name in a hidden folder beside it, which is removed in the end.

    Raises UserError where `place` would have to replace something other than ordinary files.
    """
    for target in (path, failed_path(path)):
        outputs.refuse_other(target)
        outputs.refuse_other(sidecar_path(target))
    with outputs.staging(path) as folder:
        yield folder / path.name


def place(staged_file: Path, path: Path, passed: bool, **fields: Any) -> Path:
    """Moves the staged file `staged_file`, and a sidecar of `fields`, to `path` or to its `failed_path`; returns which.

    A file that failed earlier is replaced; that one failed is said on stderr. Raises UserError, with nothing moved,
    for a file with operators that an accelerator is known to compute wrong.
    """
    if passed and staged_file.suffix.lower() == ".tflite":
        from convert.delegation.accelerators import refuse_miscomputed

        refuse_miscomputed(staged_file)
    target = path if passed else failed_path(path)
    named = staged_file.rename(staged_file.with_name(target.name))
    write_sidecar(named, **fields)
    outputs.put(named, target, (sidecar_path(named), sidecar_path(target)))
    if not passed:
        before = "; the file that was there is as it was" if path.exists() else ""
        cli.note(f"failed parity: kept as {target} for inspection, nothing written to {path}{before}")
    return target


@dataclass(frozen=True)
class Rewritten:
    """One of a sidecar's rewrites: an equation, and where it was applied or refused."""

    name: str
    equation: str
    sites: int
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewrites:
    """A sidecar's rewrites; max_abs_error: of all of them together, float64."""

    model: str = ""
    applied: tuple[Rewritten, ...] = ()
    max_abs_error: float | None = None


@dataclass(frozen=True)
class Sidecar:
    """What FILE.json says that the file itself does not; empty where it says nothing."""

    command: str | None = None
    via: str | None = None
    calibration_sha256: str | None = None
    tool_versions: dict[str, str] | None = None
    rewrites: Rewrites | None = None
    approximations: tuple[str, ...] | None = None
    accelerators: tuple[str, ...] | None = None  # see convert.comparison.verified


def read_sidecar(path: Path) -> Sidecar | None:
    """What the sidecar of the converted file `path` says, None without one. Raises UserError for a damaged one."""
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return None
    source, todo = f"a sidecar as convert writes it at {sidecar}", "convert again, or remove it"
    content = typed_json.parse_object(typed_json.content_of(sidecar), source, todo)
    return typed_json.decode(Sidecar, typed_json.known(Sidecar, content), source, todo)
