"""The report as one HTML document: its parts in the order in which one asks."""

from collections.abc import Iterator

from convert.comparison.compare import ParityReport
from convert.comparison.stages import first_failing_stage
from convert.report import cost, origin, scores
from convert.report.content import Content
from mobileiqa.html_page import breakable, document, number, paragraph, table, verdict
from mobileiqa.text import escape
from mobileiqa.zoo import UNTRAINED


def page(content: Content) -> str:
    """A whole HTML document that needs no other file."""
    title = f"{content.spec.name}, converted"
    return document(title, _body(content, title))


def _body(content: Content, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield from _verdict(content)
    yield from cost.overview(content)
    yield from _stages(content)
    if content.report and content.images:
        yield from scores.section(content.report, content.images)
    yield from cost.layers(content)
    yield from cost.delegation(content)
    yield from origin.section(content)
    yield from origin.commands(content)


def _verdict(content: Content) -> Iterator[str]:
    """What to know first: whether all is well, and what the figures cannot say."""
    problems = [f"{file.label}: {text}" for file in content.files for text in content.problems(file)]
    if content.report is None:
        yield paragraph(
            "No images were named, so no score was compared: name some with --images or --data.", "bad"
        )
    elif content.passed:
        yield paragraph("Every gate passed.", "good")
    if first := first_failing_stage(content.stages):
        yield paragraph(
            f"The first stage that breaks is {first.candidate} in {first.runtime}: {first.reason}", "bad"
        )
    for text in problems:
        yield paragraph(text, "bad")
    if content.spec.untrained:
        yield paragraph(f"{content.spec.name} is {UNTRAINED}.", "bad")
    for note in content.report.notes if content.report else ():
        yield paragraph(note, "soft")


def _stages(content: Content) -> Iterator[str]:
    """Every stage of the conversion against the published model."""
    if content.stages:
        yield "<h2>Stages</h2>"
        yield paragraph(
            "Each against the published model; the first that fails is where the error came in.", "soft"
        )
        heads = ("stage", "file", "runtime", "", "images", "largest error", "mean error", "SRCC", "tolerance")
        yield table("Stages", heads, map(_stage, content.stages), words=True)


def _stage(stage: ParityReport) -> list[str]:
    reason = f'<div class="soft">{escape(stage.reason)}</div>' if stage.reason else ""
    return [
        escape(stage.stage), breakable(stage.candidate.rpartition("/")[2]), escape(stage.runtime),
        f"{verdict(stage.passed)}{reason}", str(stage.n), number(stage.max_abs, ".1e"), number(stage.mean_abs, ".1e"),
        number(stage.srcc), escape(str(stage.tolerance)),
    ]  # fmt: skip
