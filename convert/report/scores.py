"""The page's part about scores: every file's gates and plots, and the images that moved most, with both scores."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from convert.accuracy_report.gates import Verdict
from convert.accuracy_report.measure import Images
from convert.accuracy_report.report import FileReport, Report
from convert.report import plots
from mobileiqa.evaluation.results import RESAMPLES
from mobileiqa.html_page import number, pairs, paragraph, table, verdict
from mobileiqa.photos.loading import load_image
from mobileiqa.text import escape

WORST = 3  # images shown for each file
THUMBNAIL_PX, QUALITY = 256, 80


def section(report: Report, images: Images) -> Iterator[str]:
    """Gates and plots of every file, then the images."""
    yield "<h2>Scores</h2>"
    yield paragraph(
        f"{len(report.images)} images of {report.data}, each against FP32 ({report.fp32}). Shifts are in units of "
        f"{report.unit:g} of the score, higher being better. Intervals: 95 %, {RESAMPLES} resamples of "
        f"{report.resampled}.", "soft",
    )  # fmt: skip
    for row, file in enumerate(report.files, 1):
        yield from _file(report, file, row)
    yield from _images(report, images)


def _file(report: Report, file: FileReport, row: int) -> Iterator[str]:
    fp32, scores = report.scores[[0, row]]
    yield f"<h3>{escape(file.label)}</h3>"
    if file.note:
        yield paragraph(file.note, "soft")
    yield table(
        f"Gates of {file.label}", ("gate", "", "found", "limit"), map(_gate, file.verdicts), words=True
    )
    yield from _correlations(file)
    if not len(scores) or not np.isfinite([fp32, scores]).all():
        yield paragraph(f"Nothing to draw: {file.agreement.failure}", "bad")
        return
    limit = next((v.limit for v in file.verdicts if v.gate == "max_shift"), None)
    drawn = (plots.scatter(fp32, scores, file.label), plots.histogram(scores - fp32, file.label, limit))
    yield '<div class="grid">' + "".join(f"<figure>{one}</figure>" for one in drawn) + "</div>"


def _gate(gate: Verdict) -> list[str]:
    sign = "at least" if gate.at_least else "at most"
    reason = f'<div class="soft">{escape(gate.reason)}</div>' if gate.reason else ""
    limit, value = f"{sign} {gate.limit:g}", number(gate.value, ".4g")
    return [escape(gate.title), f"{verdict(gate.passed)}{reason}", value, limit]


def _correlations(file: FileReport) -> Iterator[str]:
    """What has an interval, in one line."""
    parts = [f"{name.upper()} with FP32 {value}" for name, value in file.agreement.correlations.items()]
    if file.labelled and file.labelled.drop:
        parts += [f"drop of SRCC with labels {file.labelled.drop}"]
    if parts:
        yield paragraph("; ".join(parts), "soft")


def _images(report: Report, images: Images) -> Iterator[str]:
    """A card for each image that is among the WORST of a file."""
    shown = [w.image for file in report.files for w in file.agreement.worst[:WORST]]
    if not shown:
        return
    paths = dict(zip(images.names, images.paths, strict=True))
    shifts = np.abs(report.scores - report.scores[0]).max(axis=0)
    rows = sorted({report.images.index(name) for name in shown}, key=lambda i: -shifts[i])
    yield '<h2>Images that moved most</h2>\n<div class="grid">'
    for i in rows:
        yield _card(report, i, paths[report.images[i]])
    yield "</div>"


def _card(report: Report, image: int, path: Path) -> str:
    fp32, *others = report.scores[:, image]
    figures = [("FP32", f"{fp32:.4f}")] + [
        (file.label, f'{score:.4f} <span class="soft">{score - fp32:+.4f}</span>')
        for file, score in zip(report.files, others, strict=True)
    ]
    name = report.images[image]
    if report.labels:
        figures.append(("label", f"{report.labels[image]:.4f}"))
    return (
        f'<div class="card"><img alt="{escape(name)}" src="{thumbnail(path)}">'
        f"<div><div>{escape(name)}</div>{pairs(figures)}</div></div>"
    )


def thumbnail(path: Path) -> str:
    """The whole image as a data URI: JPEG, upright, at most THUMBNAIL_PX on a side. UserError as load_image's."""
    image, file = load_image(path), io.BytesIO()
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    image.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
