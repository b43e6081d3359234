"""The converted files of one model, found by what they hold, with what the sidecars beside them say.

A file of another origin, and one that takes an image's bytes (convert.package), has no place in a comparison of
scores: it is left out, and the page says so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.accuracy_report.layer_sqnr import precision
from convert.flatbuffer.reader import Graph, read_graph
from convert.output_file import Rewrites, Rewritten, read_sidecar
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.files.integrity import sha256

ORDER = ("fp32", "fp16", "int8")  # by cost of an inference, most first


@dataclass(frozen=True)
class Origin:
    """What a sidecar says; empty where it says nothing."""

    command: str = ""
    via: str = ""
    calibration_sha256: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    rewrites: tuple[Rewritten, ...] = ()
    max_abs_error: float | None = None  # of all rewrites together, float64
    approximations: tuple[str, ...] = ()


@dataclass(frozen=True)
class File:
    """One converted file. precision: by its content, a key of convert.accuracy_report.gates.GATES."""

    path: Path
    graph: Graph
    precision: str
    sha256: str
    origin: Origin | None  # None: no sidecar

    @property
    def label(self) -> str:
        """What the page calls it."""
        return self.path.name

    @property
    def problem(self) -> str:
        """What its name says against it, or an empty string."""
        if self.path.stem.endswith(".failed"):
            return "it failed parity when it was converted: hence its name"
        return ""


def find(paths: Sequence[Path], packaged: bool = False) -> tuple[list[File], dict[str, str]]:
    """The files to compare, FP32 first, then by precision and name; and those left out: name -> why.

    `paths` are .tflite files and folders of such. packaged: files with embedded preprocessing that are named by
    themselves are among them. Raises UserError when there is none, when two have one name, and
    for a file or a sidecar that is damaged or another's.
    """
    files: list[File] = []
    left_out: dict[str, str] = {}
    named = {path.resolve() for path in paths if packaged}
    for path in _tflite_files(paths):
        if path.is_file():
            integrity.verify(path)
        graph = read_graph(path)
        if reason := _unfit(graph, path.resolve() in named):
            left_out[path.name] = reason
        else:
            files.append(File(path, graph, precision(graph), sha256(path), _origin(path)))
    if not files:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(
            f"files of convert.tflite in {', '.join(map(str, paths))}",
            reasons or "no .tflite file",
            "convert a checkpoint",
        )
    return sorted(files, key=lambda file: (ORDER.index(file.precision), file.label)), left_out


def reference(files: Sequence[File], named: str | None) -> tuple[str, list[File]]:
    """FP32 as convert.accuracy takes it, and the files to compare with it.

    `named` is a .tflite file, a checkpoint, or `reference`; None: the one FP32 file. Raises UserError when that is
    not one file, and when nothing is left to compare.
    """
    if named is None:
        single = [file for file in files if file.precision == "fp32"]
        if len(single) != 1:
            raise UserError(
                "one FP32 file to compare with", _listed(single), "name it, or a checkpoint, with --fp32"
            )
        named = str(single[0].path)
    others = [file for file in files if file.path.resolve() != Path(named).resolve()]
    if not others:
        raise UserError(f"a file to compare with {named}", "none", "convert with --fp16 or --int8")
    return named, others


def _listed(files: Iterable[File]) -> str:
    return ", ".join(file.label for file in files) or "none"


def _tflite_files(paths: Sequence[Path]) -> list[Path]:
    files = [f for path in paths for f in (_converted_files(path) if path.is_dir() else [path])]
    by_name: dict[str, Path] = {}
    for path in files:
        if path.resolve() != by_name.setdefault(path.name, path).resolve():
            raise UserError("files of different names", f"{by_name[path.name]} and {path}", "rename one")
    return list(by_name.values())


def _unfit(graph: Graph, packaged: bool) -> str:
    """Why a file is not compared, or an empty string."""
    if "spec" not in graph.description:
        return "it does not say which model it is"
    if graph.description.get("delivery") and not packaged:
        return "it takes an image's bytes: python -m convert.selftest checks it"
    return ""


def _origin(path: Path) -> Origin | None:
    """The sidecar's content, None without a sidecar; raises UserError for one that is damaged."""
    sidecar = read_sidecar(path)
    if sidecar is None:
        return None
    rewrites = sidecar.rewrites or Rewrites()
    return Origin(
        command=sidecar.command or "",
        via=sidecar.via or "",
        calibration_sha256=sidecar.calibration_sha256 or "",
        tools=tuple((sidecar.tool_versions or {}).items()),
        rewrites=rewrites.applied,
        max_abs_error=rewrites.max_abs_error,
        approximations=sidecar.approximations or (),
    )


def _converted_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".tflite")
