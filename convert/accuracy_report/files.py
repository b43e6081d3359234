"""The accuracy report's files: JSON and CSV for machines, pictures for people."""

from pathlib import Path
from typing import Any

from convert.accuracy_report import plots
from convert.accuracy_report.report import FILES, Report, as_json
from mobileiqa import cli
from mobileiqa.files.outputs import entries
from mobileiqa.text import csv_text


def write(report: Report, folder: Path) -> None:
    """Writes FILES into `folder`, all or none; layers.png only where layers were compared."""
    with entries(folder) as staged:
        cli.write_json(staged / FILES[0], as_json(report))
        cli.write_text(staged / FILES[1], csv_text(_score_rows(report)))
        plots.scatter(report, staged / FILES[2])
        if any(file.layers for file in report.files):
            plots.along_the_graph(report, staged / FILES[3])


def _score_rows(report: Report) -> list[list[Any]]:
    """scores.csv, in units of the score range; the label's cell is empty where there is none."""
    rows: list[list[Any]] = [["image", "label", "fp32", *(file.label for file in report.files)]]
    labels = report.labels or [""] * len(report.images)
    return rows + [
        [name, label, *map(float, scores)]
        for name, label, scores in zip(report.images, labels, report.scores.T, strict=True)
    ]
