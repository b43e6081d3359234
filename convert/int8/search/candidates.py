"""Candidates of a search: quantized for real, validated, and remembered in a folder beside the output.

One JSON per candidate, named by a hash of everything that decides its figures: the FP32 file, the recipe, the
images that calibrate and those that validate, the tools' versions and our own code. A search that was killed and is
typed again finds them there. Files lie beside their JSON until the search is over, for the benchmark.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convert.comparison.compare import ParityStage, compare
from convert.comparison.stages import score_unit
from convert.flatbuffer import model as fb
from convert.int8.calibration import CalibrationStatistics, Images, collect_statistics, uses_equalization
from convert.int8.quantize import apply_recipe
from convert.int8.recipe import Recipe
from convert.int8.search.pareto_front import Measured
from convert.int8.search.validation_split import ValidationSplit
from convert.int8.statistics.interpreter import Inputs
from convert.output_file import tool_versions
from convert.runtimes.latency import Timing, measure
from mobileiqa import cli, typed_json
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError, one_line
from mobileiqa.scoring import litert
from mobileiqa.spec import ModelSpec

_GO_ON = "type the command again: it goes on from what was measured"
_SEARCH_AGAIN = "remove the search's folder, or that file"
MARK = "search.json"  # says that a folder is a search's, and may be removed
IN_MEMORY = 512 << 20  # bytes of prepared images that are kept; more are prepared again for every candidate
TOOLS = ("mobileiqa", "ai-stage-litert", "ai-stage-quantizer", "numpy", "Pillow")


@dataclass(frozen=True)
class Candidates:
    """What every candidate shares. `identity`: what its figures depend on, with the recipe.

    fp32: its file in the folder, for the benchmark. statistics: of calibration, by whether they are of the equalized
    file. The last one alone is kept, for its size.
    """

    fp32: Path
    spec: ModelSpec
    split: ValidationSplit
    folder: Path
    calibrating: Images
    validation: Images
    identity: Mapping[str, Any] = field(repr=False)
    statistics: dict[bool, CalibrationStatistics] = field(default_factory=dict, repr=False)

    @cached_property
    def expected(self) -> list[np.ndarray]:
        """The FP32 file's scores of the validation images."""
        return scores(self.fp32, self.validation())

    def measure(self, recipe: Recipe) -> Measured:
        """The candidate's figures, from the folder if they are there."""
        record = self._path(recipe, ".json")
        if record.exists():
            return Measured.from_json(_read(record).get("measured"), str(record))
        int8_path = self._quantize(recipe)
        measured = self._validate(recipe, int8_path)
        cli.write_json(record, {"identity": dict(self.identity), "measured": asdict(measured)})
        return measured

    def file(self, candidate: Measured) -> Path:
        """The candidate's file, made again where it was discarded."""
        path = self._path(candidate.recipe, ".tflite")
        if not path.exists() or sha256(path) != candidate.sha256:
            self._quantize(candidate.recipe)
        return path

    def discard(self, candidate: Measured) -> None:
        """Removes the file, which can be large, and keeps the figures."""
        self._path(candidate.recipe, ".tflite").unlink(missing_ok=True)

    def remembered(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON of NAME in the folder, made the first time."""
        path = self.folder / f"{self._hash(name)}.json"
        if not path.exists():
            cli.write_json(path, make())
        return typed_json.parse(typed_json.content_of(path), str(path), _SEARCH_AGAIN)

    def timings(self, candidates: Iterable[Measured]) -> tuple[dict[str, Timing], dict[str, Any]]:
        """Latencies of the candidates and of FP32 by SHA-256, and what they were measured with.

        Those in the folder serve where they cover every file. Otherwise all are measured: only what took turns
        in one session can be compared.
        """
        by_sha256 = {timings.sha256: timings for timings in candidates}
        record = self.folder / "latency.json"
        if record.exists():
            session = typed_json.decode(_Session, _read(record), str(record), _SEARCH_AGAIN)
            if {*by_sha256, self.identity["fp32"]} <= session.files.keys():
                return session.files, session.session
        session = measure([self.fp32, *(self.file(one) for one in by_sha256.values())], _GO_ON)
        files = {digest: asdict(timing) for digest, timing in session.timings.items()}
        cli.write_json(record, {"files": files, "session": session.setup})
        return session.timings, session.setup

    def _quantize(self, recipe: Recipe) -> Path:
        path = self._path(recipe, ".tflite")
        with cli.atomic(path) as temporary:
            fb.write(apply_recipe(self._statistics(uses_equalization(recipe)), recipe)[0], temporary)
        return path

    def _statistics(self, equalized: bool) -> CalibrationStatistics:
        """Static recipes, which come first, share one, and all others another."""
        if equalized not in self.statistics:
            self.statistics.clear()
            fp32, count = self.fp32.read_bytes(), len(self.split.calibrating)
            self.statistics[equalized] = collect_statistics(fp32, equalized, self.calibrating, count)
        return self.statistics[equalized]

    def _validate(self, recipe: Recipe, path: Path) -> Measured:
        names = [name for name, _ in self.split.validation]
        stage = ParityStage("int8", "FP32", path.name, "litert")
        expected = self.expected  # first: an image that cannot be read is no candidate's failure
        try:
            int8_scores = scores(path, self.validation())
            report = compare(stage, expected, int8_scores, names, score_unit(self.spec, expected))
        except UserError as error:  # the runtime refuses the file: this candidate's failure, not the search's
            report = stage.failed(one_line(str(error)), len(names))
        failure = report.reason if report.mean_abs is None else ""
        return Measured(
            recipe, sha256(path), path.stat().st_size, report.srcc, report.mean_abs, report.max_abs,
            report.bias, report.pair_flips, failure,
        )  # fmt: skip

    def _path(self, recipe: Recipe, suffix: str) -> Path:
        return self.folder / f"{self._hash(recipe.to_json())}{suffix}"

    def _hash(self, what: Any) -> str:
        content = json.dumps([dict(self.identity), what], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Session:
    """latency.json: the files' timings by SHA-256, and what they were measured with."""

    files: dict[str, Timing]
    session: dict[str, Any]


def _read(record: Path) -> dict[str, Any]:
    return typed_json.parse_object(typed_json.content_of(record), str(record), _SEARCH_AGAIN)


def open_folder(fp32: bytes, spec: ModelSpec, split: ValidationSplit, folder: Path) -> Candidates:
    """Candidates in `folder`, which is made, or taken up where an earlier search left it.

    Raises UserError for a folder that is there and is no search's.
    """
    if folder.exists() and not (folder / MARK).exists():
        raise UserError(
            f"a search's folder or nothing at {folder}", "something else", "move it, or use --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    versions = tool_versions()
    identity = {
        "fp32": hashlib.sha256(fp32).hexdigest(),
        "calibration": split.calibrating_sha256,
        "judging": split.validation_sha256,
        "tools": {name: versions.get(name) for name in TOOLS},
        "code": _code_sha256(),
    }
    cli.write_json(folder / MARK, identity)
    with cli.atomic(folder / "fp32.tflite") as temporary:
        temporary.write_bytes(fp32)
    counts = (len(split.calibrating), len(split.validation))
    calibrating, validation = (
        _prepared_once(make, count, spec)
        for make, count in zip((split.calibration_inputs, split.validation_inputs), counts, strict=True)
    )
    return Candidates(folder / "fp32.tflite", spec, split, folder, calibrating, validation, identity)


def remove(folder: Path) -> None:
    """Removes a search's folder, and no other."""
    if (folder / MARK).exists():
        shutil.rmtree(folder)


def scores(path: Path, images: Iterable[Inputs]) -> list[np.ndarray]:
    """LiteRT's scores of every image, (crops,) each."""
    run = litert.runner(path)
    return [run(inputs) for inputs in images]


def _code_sha256() -> str:
    """Of convert.int8's sources: a checkout changes without changing its version."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _prepared_once(make: Images, count: int, spec: ModelSpec) -> Images:
    """`make`, prepared once where everything fits into memory."""
    if count * sum(int(np.prod(input_spec.shape)) * 4 for input_spec in spec.inputs) > IN_MEMORY:
        return make
    prepared: list[Inputs] = []

    def images() -> Iterable[Inputs]:
        if not prepared:
            prepared.extend(make())
        return prepared

    return images
