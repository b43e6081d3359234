"""The accuracy report of converted files as data: JSON and CSV for machines. For people: tables.py, pictures.py."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.accuracy_report.agreement import Agreement, Labelled
from convert.accuracy_report.gates import Verdict, failed
from convert.accuracy_report.layer_sqnr import Layer, LayerTable
from mobileiqa.evaluation.results import RESAMPLES

SCHEMA = 1
FILES = ("accuracy.json", "scores.csv", "scatter.png", "layers.png")  # in the order in which they are written


@dataclass(frozen=True)
class Latency:
    """Of one file in a benchmark in which the files took turns: milliseconds, and FP32's median over this one.

    disturbed: something else ran meanwhile (see docs/bench.md); measure again before quoting it.
    """

    median_ms: float
    p5_ms: float
    p95_ms: float
    speedup: float
    disturbed: bool = False


@dataclass(frozen=True)
class FileReport:
    """One converted file. size_ratio: to FP32's .tflite file; score_step: see layers.implied_step, in score units."""

    label: str
    sha256: str
    precision: str
    file_bytes: int
    size_ratio: float | None
    partitions: int
    nodes_delegated: int
    nodes_total: int
    agreement: Agreement
    labelled: Labelled | None
    verdicts: tuple[Verdict, ...]
    score_step: float | None = None
    layers: LayerTable | None = None
    latency: Latency | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """No gate is broken."""
        return not failed(self.verdicts)


@dataclass(frozen=True)
class Report:
    """Everything that was found. scores: (1 + files, images), FP32's first, in units of the score range.

    labels: 0..1, or None where the images have none. unit: one unit in raw scores.
    """

    model: str
    fp32: str
    fp32_bytes: int | None  # None: a checkpoint
    data: str
    resampled: str
    unit: float
    images: tuple[str, ...]
    labels: tuple[float, ...] | None
    scores: NDArray[np.float64]
    files: tuple[FileReport, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """No gate of any file is broken."""
        return all(file.passed for file in self.files)


def as_json(report: Report) -> dict[str, Any]:
    """Everything but the scores."""
    return {
        "schema": SCHEMA,
        "model": report.model,
        "fp32": report.fp32,
        "fp32_bytes": report.fp32_bytes,
        "data": report.data,
        "images": len(report.images),
        "labelled": report.labels is not None,
        "resamples": RESAMPLES,
        "resampled": report.resampled,
        "unit": report.unit,
        "notes": list(report.notes),
        "passed": report.passed,
        "files": [_file_json(file) for file in report.files],
    }


def _file_json(file: FileReport) -> dict[str, Any]:
    fields = asdict(file)
    layers = file.layers
    fields["agreement"]["pair_flips"] = file.agreement.pair_flips
    if layers:
        ranks = {id(layer): rank for rank, layer in enumerate(layers.worst_first(), 1)}
        fields["layers"]["layers"] = [_layer_json(x, ranks.get(id(x))) for x in layers.layers]
    return {**fields, "passed": file.passed, "failed_gates": failed(file.verdicts)}


def _layer_json(layer: Layer, rank: int | None) -> dict[str, Any]:
    """A layer in graph order; rank 1 is the worst, None equals FP32; powers are None where not finite."""
    powers = {} if layer.finite else {"signal": None, "difference": None, "noise": None}
    decibels = {"sqnr_db": layer.sqnr_db, "plain_db": layer.plain_db}
    return {**asdict(layer), **powers, "finite": layer.finite, **decibels, "rank": rank}


def summary(report: Report, out: Path | None) -> dict[str, Any]:
    """The command's last line."""
    return {
        "model": report.model,
        "fp32": report.fp32,
        "images": len(report.images),
        "passed": report.passed,
        "files": [
            {
                "label": file.label,
                "precision": file.precision,
                "passed": file.passed,
                "failed_gates": failed(file.verdicts),
                **{verdict.gate: verdict.value for verdict in file.verdicts},
                "partitions": file.partitions,
                "size_ratio": file.size_ratio,
                "speedup": file.latency.speedup if file.latency else None,
            }
            for file in report.files
        ],
        "out": str(out) if out else None,
    }
