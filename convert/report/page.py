"""The report as one HTML document: its parts in the order in which one asks."""

from collections.abc import Iterator

from convert.report import cost, origin, scores
from convert.report.content import Content
from mobileiqa.html_page import document, paragraph
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
    elif not problems:
        yield paragraph("Every gate passed.", "good")
    for text in problems:
        yield paragraph(text, "bad")
    if content.spec.untrained:
        yield paragraph(f"{content.spec.name} is {UNTRAINED}.", "bad")
    for note in content.report.notes if content.report else ():
        yield paragraph(note, "soft")
