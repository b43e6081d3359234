"""What the page shows, gathered: the files, their scores on images, their cost, and what is wrong with any of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from convert.accuracy_report.gates import failed
from convert.accuracy_report.measure import Images, is_converted, load, measure
from convert.accuracy_report.report import FileReport, Report
from convert.comparison.compare import ParityReport
from convert.inspect import check, inspect
from convert.output_file import command
from convert.report.files import File, reference
from convert.runtimes.latency import Session
from convert.runtimes.latency import measure as measure_latency
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.spec import ModelSpec, from_json

RETRY = "leave --latency out, or try again"


@dataclass(frozen=True)
class Request:
    """What is to be compared and how: see --help."""

    images: Images | None
    fp32: str | None = None
    layer_images: int = 0
    latency: bool = False
    threads: int = 1
    weights: str | None = None  # of a checkpoint that has several
    stages: tuple[ParityReport, ...] = ()  # convert.comparison.stages, where it ran


@dataclass(frozen=True)
class Content:
    """Everything on the page. inspected: as convert.inspect --check gives it, a dict per file.

    report: None where no images were named. left_out: file name -> why it is not compared.
    """

    files: tuple[File, ...]
    inspected: tuple[dict[str, Any], ...]
    images: Images | None
    report: Report | None
    latency: Session | None
    left_out: dict[str, str]
    command: str
    stages: tuple[ParityReport, ...] = ()

    @cached_property
    def spec(self) -> ModelSpec:
        """The model that all files are."""
        return from_json(self.files[0].graph.description["spec"])

    def measured(self, file: File) -> FileReport | None:
        """The file's accuracy; None for FP32's own, and where no images were named."""
        rows = self.report.files if self.report else ()
        return next((row for row in rows if row.sha256 == file.sha256), None)

    def problems(self, file: File) -> list[str]:
        """What is wrong with a file, a phrase each: its stages, gates, its sidecar, its delegation."""
        row, inspected = self.measured(file), self.inspected[self.files.index(file)]
        return [
            *(
                f"parity in {s.runtime}: {s.reason}"
                for s in self.stages
                if s.candidate == str(file.path) and not s.passed
            ),
            *([f"gates broken: {', '.join(failed(row.verdicts))}"] if row and not row.passed else []),
            *([file.problem] if file.problem else []),
            *inspected["check"]["differences"],
        ]

    @property
    def passed(self) -> bool:
        """Nothing is wrong with any stage or file."""
        return all(stage.passed for stage in self.stages) and not any(map(self.problems, self.files))


def gather(files: Sequence[File], left_out: dict[str, str], request: Request) -> Content:
    """Runs and inspects the files. UserError as convert.accuracy's, for files that are not one model's."""
    report = None
    if request.images:
        report, files = _compared(files, request)
    else:
        _one_model(files)
    steps = list(cli.progress(files, "inspecting", len(files)))
    inspected = tuple({**inspect(file.graph), "check": check(file.graph)} for file in steps)
    times = measure_latency([f.path for f in files], RETRY) if request.latency else None
    return Content(
        tuple(files), inspected, request.images, report, times, left_out, command(), request.stages
    )


def _compared(files: Sequence[File], request: Request) -> tuple[Report, list[File]]:
    """The accuracy report, and the files that are in it: FP32 first where it is one of them."""
    assert request.images
    fp32, others = reference(files, request.fp32)
    models = load(fp32, [str(file.path) for file in others], request.threads, request.weights)
    report = measure(models, request.images, request.layer_images)
    first = [file for file in files if file not in others] if is_converted(models[0]) else []
    return report, [*first, *others]


def _one_model(files: Sequence[File]) -> None:
    """UserError where the files are not one model's; with images, convert.accuracy_report.measure.load says it."""
    names = {file.graph.description["spec"].get("name"): file.label for file in files}
    if len(names) > 1:
        models = ", ".join(f"{name} ({label})" for name, label in names.items())
        raise UserError("files of one model", models, "name the files of one")


def summary(content: Content) -> dict[str, Any]:
    """The command's last line."""
    return {
        "model": content.spec.name, "passed": content.passed,
        "images": len(content.images.names) if content.images else 0,
        "files": list(_brief(content)), "left_out": content.left_out,
    }  # fmt: skip


def _brief(content: Content) -> Iterator[dict[str, Any]]:
    for file, inspected in zip(content.files, content.inspected, strict=True):
        row = content.measured(file)
        yield {
            "label": file.label, "precision": file.precision, "problems": content.problems(file),
            "failed_gates": failed(row.verdicts) if row else None, "file_bytes": file.graph.file_bytes,
            "partitions": len(inspected["partitions"]),
        }  # fmt: skip
