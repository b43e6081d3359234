"""The ways from a published model to a file that runs, and the cache of what they make.

A conversion path is a literal list of commands, each run in the environment of its tool. Conversion time and peak
memory are those of the commands' processes. What was made is kept in .cache/baselines with a record beside it,
and made again only when the model's source, the converter's version or the command changes: the slowest
takes minutes and gigabytes.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from convert.runtimes.tool_environments import command_of, python_of
from mobileiqa.cli import write_json
from mobileiqa.errors import UserError, one_line
from mobileiqa.zoo import MODELS

ROOT = Path(__file__).resolve().parents[1]
CHILD = str(ROOT / "benchmarks" / "convert_baseline.py")
FEWER_BITS_CHILD = "benchmarks/convert_executorch.py"
COST = str(ROOT / "benchmarks" / "cost.py")
PUBLISHED_SOURCES = (
    "benchmarks/convert_baseline.py",
    "mobileiqa/zoo.py",
    "mobileiqa/models",
    "mobileiqa/layers",
)
OUR_SOURCES = (*PUBLISHED_SOURCES, "mobileiqa/spec.py", "convert")
ESSENCE_CHARS = 200  # of an error in a table cell
LOGGING = ("INFO:", "WARNING:")
GATE_FAILED = "the file that it wrote fails its own parity check"


@dataclass(frozen=True)
class Case:
    """What is converted: a model at an input size, WxH; "-" is the model's own size."""

    model: str
    size: str = "-"

    def __str__(self) -> str:
        return self.model if self.size == "-" else f"{self.model} {self.size}"


@dataclass(frozen=True)
class ConversionPath:
    """`commands(case, folder)` make folder/`result`; its versions are those of `packages` beside `python`."""

    label: str
    result: str
    commands: Callable[[Case, Path], list[list[str]]]
    python: Callable[[], Path]
    packages: tuple[str, ...]
    sources: tuple[str, ...] = PUBLISHED_SOURCES


@dataclass(frozen=True)
class Built:
    """One conversion: its file, or why there is none. `score`: the published module's, where known."""

    route: str
    case: Case
    path: Path
    versions: dict[str, str]
    size_bytes: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    score: float | None = None
    error: str = ""


def _here() -> Path:
    return Path(sys.executable)


def _litert(case: Case, folder: Path) -> list[list[str]]:
    return [[sys.executable, CHILD, "litert-torch", case.model, case.size, f"{folder}/model.tflite"]]


def _onnx2tf(case: Case, folder: Path) -> list[list[str]]:
    """Inputs keep their NCHW shape, so that every row of the table has the same interface."""
    names = [i.name for i in MODELS[case.model].spec.inputs]
    return [
        [sys.executable, CHILD, "onnx", case.model, case.size, f"{folder}/model.onnx"],
        [
            str(command_of("onnx2tf", "onnx2tf")),
            "-i",
            f"{folder}/model.onnx",
            "-o",
            f"{folder}/onnx2tf",
            "-tb",
            "flatbuffer_direct",
            "-kat",
            *names,
            "-n",
        ],
    ]


def _executorch(child: str, kind: str, case: Case, folder: Path) -> list[list[str]]:
    return [[str(python_of("executorch")), child, kind, case.model, case.size, f"{folder}/model.pte"]]


def _ours(precision: str, case: Case, folder: Path) -> list[list[str]]:
    size = [] if case.size == "-" else ["--size", case.size]
    return [
        [
            sys.executable,
            "-m",
            "convert.tflite",
            "--model",
            case.model,
            f"--{precision}",
            *size,
            "--out",
            f"{folder}/model.tflite",
        ]
    ]


def _fewer_bits(precision: str) -> ConversionPath:
    """ExecuTorch's FP16 or INT8 file."""
    return ConversionPath(
        f"ExecuTorch XNNPACK, {precision.upper()}",
        "model.pte",
        partial(_executorch, str(ROOT / FEWER_BITS_CHILD), precision),
        lambda: python_of("executorch"),
        ("executorch", "torch", "torchao", "timm"),
        (*PUBLISHED_SOURCES, FEWER_BITS_CHILD),
    )


_OUR_PACKAGES = ("litert-torch", "ai-edge-quantizer", "torch", "timm")
OURS, OURS_FP16 = "ours", "ours-fp16"
PATHS: dict[str, ConversionPath] = {
    OURS: ConversionPath(
        "ours, FP32", "model.tflite", partial(_ours, "fp32"), _here, _OUR_PACKAGES, OUR_SOURCES
    ),
    OURS_FP16: ConversionPath(
        "ours, FP16 weights", "model.tflite", partial(_ours, "fp16"), _here, _OUR_PACKAGES, OUR_SOURCES
    ),
    "executorch": ConversionPath(
        "ExecuTorch XNNPACK",
        "model.pte",
        partial(_executorch, CHILD, "executorch"),
        lambda: python_of("executorch"),
        ("executorch", "torch", "timm"),
    ),
    "litert-torch": ConversionPath(
        "litert-torch", "model.tflite", _litert, _here, ("litert-torch", "torch", "timm")
    ),
    "onnx2tf": ConversionPath(
        "onnx2tf flatbuffer_direct",
        "onnx2tf/model_float32.tflite",
        _onnx2tf,
        lambda: python_of("onnx2tf"),
        ("onnx2tf", "onnx"),
    ),
    "executorch-fp16": _fewer_bits("fp16"),
    "executorch-int8": _fewer_bits("int8"),
}
COUNTED_ALONE = ("executorch-fp16", "executorch-int8")  # by arm.py: no rows of baselines.py


def build(name: str, case: Case, cache: Path, fresh: bool = False) -> Built:
    """The file of conversion path `name` for `case`, from the cache unless something changed or `fresh` is set.

    A converter that fails is a result, recorded like any other; a missing environment is a UserError.
    """
    route = PATHS[name]
    versions = installed(route.python(), route.packages)
    folder = cache / f"{case.model}-{case.size}-{name}"
    path = (folder / "model").with_suffix(Path(route.result).suffix)
    key = _key(name, case, versions)
    if not fresh and (record := _record(folder, key)) is not None:
        return Built(**{**record, "case": case, "path": path})
    shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{folder.name}.") as work:
        built = _convert(route, Built(name, case, path, versions), Path(work))
    write_json(folder / "record.json", {"key": key, **asdict(built), "path": path.name})
    return built


def _convert(route: ConversionPath, built: Built, work: Path) -> Built:
    """Runs the conversion path's commands in `work` and moves what they made to `built.path`."""
    for command in route.commands(built.case, work):
        run = run_measured(command, work)
        built = replace(
            built,
            seconds=built.seconds + run.seconds,
            peak_mb=max(built.peak_mb, run.peak_mb),
            score=run.score if built.score is None else built.score,
            error=run.error,
        )
        if built.error:
            return built
    output = work / route.result
    if not output.is_file():
        return replace(built, error=f"the converter ended well but left no {output.name}")
    built.path.parent.mkdir(parents=True)
    os.replace(output, built.path)
    return replace(built, size_bytes=built.path.stat().st_size)


@dataclass(frozen=True)
class Run:
    """A finished command: wall time, peak RSS of its processes, the score that it printed, its error."""

    seconds: float
    peak_mb: float
    score: float | None
    error: str


def run_measured(command: list[str], work: Path) -> Run:
    """Runs `command` from the project's root, its output kept in `work`."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    out, err, cost = work / "stdout.txt", work / "stderr.txt", work / "cost.json"
    with out.open("w") as stdout, err.open("w") as stderr:
        subprocess.run(
            [sys.executable, COST, str(cost), *command],
            cwd=ROOT,
            env=variables,
            stdout=stdout,
            stderr=stderr,
            check=True,
        )
    spent = json.loads(cost.read_text())
    answer = _answer(out)
    words = GATE_FAILED if answer.get("passed") is False else err.read_text(errors="replace")
    error = "" if spent["code"] == 0 else essence(spent["code"], words)
    return Run(spent["seconds"], spent["peak_mb"], answer.get("score"), error)


def essence(code: int, text: str) -> str:
    """One short line on how a command failed: its signal, or the last line it wrote but for logging."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    lines = [one_line(line) for line in text.replace("\r", "\n").splitlines()]
    lines = [line for line in lines if line and not line.startswith(LOGGING)]
    line = lines[-1] if lines else f"exit code {code}, no message"
    return line if len(line) <= ESSENCE_CHARS else line[: ESSENCE_CHARS - 1] + "…"


def _answer(out: Path) -> dict[str, Any]:
    """The JSON object in the last line, {} where there is none (converters print what they like)."""
    lines = out.read_text(errors="replace").splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        return {}
    return answer if isinstance(answer, dict) else {}


def installed(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of `packages` in the environment of `python`, read from its folders without starting it."""
    folders = [str(p) for p in (python.parents[1] / "lib").glob("python*/site-packages")]
    installed = {
        d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions(path=folders)
    }
    missing = [name for name in packages if name not in installed]
    if missing:
        raise UserError(
            f"{', '.join(packages)} in the environment of {python}",
            f"no {', '.join(missing)}",
            "build the environment again, or leave its path out with --paths",
        )
    return {name: installed[name] for name in packages}


def _key(name: str, case: Case, versions: dict[str, str]) -> str:
    """A hash of everything that a conversion depends on."""
    digest = hashlib.sha256(json.dumps([name, asdict(case), versions]).encode())
    for source in PATHS[name].sources:
        root = ROOT / source
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _record(folder: Path, key: str) -> dict[str, Any] | None:
    """The record in `folder`, or None when there is none or it belongs to another key."""
    try:
        record = json.loads((folder / "record.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record if record.pop("key", None) == key else None
