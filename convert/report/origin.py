"""The page's parts about where files come from: checkpoint, rewrites, versions, hashes, and the commands."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from convert.output_file import Rewritten
from convert.report.content import Content
from convert.report.files import File, Origin
from convert.rewrites.approximations import APPROXIMATIONS
from mobileiqa.html_page import code, pairs, paragraph, table
from mobileiqa.spec import ModelSpec
from mobileiqa.text import escape

K = TypeVar("K", bound=Hashable)
Changes = tuple[tuple[Rewritten, ...], float | None, tuple[str, ...]]


def section(content: Content) -> Iterator[str]:
    """The model, then what was done to it, then every file's hashes."""
    yield "<h2>What was converted</h2>"
    yield pairs(_model(content.spec, content.files), "wide")
    for changes, labels in _alike(content.files, _changes):
        yield from _rewrites(changes, labels)
    yield "<h3>Files</h3>"
    for file in content.files:
        yield f"<details><summary>{escape(file.label)}</summary>{pairs(_file(file), 'wide')}</details>"
    yield from _versions(content.files)
    for name, reason in content.left_out.items():
        yield paragraph(f"{name} is not compared: {reason}.", "soft")


def commands(content: Content) -> Iterator[str]:
    """What to type again: each file's own command, then this page's."""
    typed = [file.origin.command for file in content.files if file.origin and file.origin.command]
    yield "<h2>Commands</h2>"
    lines = map(escape, dict.fromkeys([*typed, content.command]))
    yield f"<pre>{chr(10).join(lines)}</pre>"


def _model(spec: ModelSpec, files: Sequence[File]) -> Iterator[tuple[str, str]]:
    low, high = spec.score_range
    better = "higher" if spec.higher_is_better else "lower"
    yield "model", escape(spec.name)
    yield "score", f"{low:g} to {high:g}, {better} is better"
    for one in spec.inputs:
        size = f"{one.width_px}x{one.height_px}, {one.fit}, {one.color_space}"
        yield f"input {one.name}", escape(size)
    for name in ("trained_on", "origin", "license"):
        if text := getattr(spec, name):
            yield name.replace("_", " "), escape(text)
    for digest, labels in _alike(
        files, lambda file: str(file.graph.description.get("checkpoint_sha256") or "")
    ):
        what = code(digest) if digest else "none: seeded, untrained weights"
        yield f"checkpoint{_of(labels, files)}", what


def _changes(file: File) -> Changes:
    origin = file.origin or Origin()
    return origin.rewrites, origin.max_abs_error, origin.approximations


def _rewrites(changes: Changes, labels: Sequence[str]) -> Iterator[str]:
    """Rewrites and approximations that these files have in common."""
    rewrites, error, approximations = changes
    if not rewrites and not approximations:
        return
    yield f"<h3>Changes: {escape(', '.join(labels))}</h3>"
    applied = [one for one in rewrites if one.sites or one.refused]
    if applied:
        yield table(
            "Rewrites, exact", ("rewrite, exact", "sites", "equation"), map(_rewrite, applied), words=True
        )
    if error is not None:
        yield paragraph(f"All of them together moved the score by {error:.1e}, in float64.", "soft")
    for name in approximations:
        meaning = APPROXIMATIONS[name].meaning if name in APPROXIMATIONS else "not known to this version"
        yield paragraph(f"Approximation, not exact: {name}: {meaning}.", "bad")


def _rewrite(one: Rewritten) -> list[str]:
    refused = "".join(f'<div class="bad">refused: {escape(reason)}</div>' for reason in one.refused)
    return [escape(one.name), str(one.sites), f"{code(one.equation)}{refused}"]


def _file(file: File) -> Iterator[tuple[str, str]]:
    yield "SHA-256", code(file.sha256)
    yield "bytes", f"{file.graph.file_bytes:,}"
    yield "precision, by content", file.precision
    if file.origin is None:
        yield "sidecar", "none"
        return
    yield "sidecar", "of this file"  # any other is refused
    if file.origin.via:
        yield "converter", escape(file.origin.via)
    if file.origin.calibration_sha256:
        yield "calibration set", code(file.origin.calibration_sha256)


def _versions(files: Sequence[File]) -> Iterator[str]:
    for tools, labels in _alike(files, lambda file: file.origin.tools if file.origin else ()):
        if tools:
            text = ", ".join(f"{name} {version}" for name, version in tools)
            yield paragraph(f"Versions{_of(labels, files)}: {text}.", "soft")


def _alike(files: Sequence[File], key: Callable[[File], K]) -> list[tuple[K, list[str]]]:
    """Keys in order of appearance, each with the labels of the files that share it."""
    labels: dict[K, list[str]] = {}
    for file in files:
        labels.setdefault(key(file), []).append(file.label)
    return list(labels.items())


def _of(labels: Sequence[str], files: Sequence[File]) -> str:
    """Which files, where it is not all of them."""
    return "" if len(labels) == len(files) else f" of {', '.join(labels)}"
