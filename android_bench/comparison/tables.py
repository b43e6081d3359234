"""Rows as tables: aligned text for a terminal, CSV, JSON, and JUnit XML for continuous integration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from android_bench.comparison.regression_gate import FAILING, JUDGED, Row, Verdict
from android_bench.results.entries import Entry
from mobileiqa import text
from mobileiqa.text import printable

# Column -> heading of the text and HTML tables; times in ms, MB = 10^6 bytes.
FIGURES = {
    "median_ms": "median",
    "mean_ms": "mean",
    "p5_ms": "p5",
    "p95_ms": "p95",
    "init_ms": "init",
    "peak_memory_mb": "peak MB",
}


def names(entries: Sequence[Entry]) -> list[str]:
    """A name per entry; where several rows would read alike, the result's file and the model's hash are added."""
    looks = [(entry.model, entry.size, entry.setting) for entry in entries]
    return [
        f"{entry.model} ({_mark(entry)})" if looks.count(look) > 1 else entry.model
        for entry, look in zip(entries, looks, strict=True)
    ]


def _mark(entry: Entry) -> str:
    stem = printable(Path(entry.json).stem)
    return f"{stem} {entry.measured.artifact_sha256[:6]}" if entry.measured else stem


def figures(row: Row) -> dict[str, float | None]:
    """FIGURES of one row; None for what a figure by hand does not have, and for a row that was not measured."""
    entry = row.entry
    if row.verdict is Verdict.LOST:
        return dict.fromkeys(FIGURES)
    if not entry.measured:
        return {**dict.fromkeys(FIGURES), "mean_ms": entry.mean_ms}
    summary = entry.measured.summary()
    return {name: summary[name] for name in FIGURES}


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One flat, JSON-ready dict per row: everything that is known of it, None where nothing is."""
    listed = names([row.entry for row in rows])
    return [_record(row, name) for row, name in zip(rows, listed, strict=True)]


def _record(row: Row, name: str) -> dict[str, Any]:
    entry, measured = row.entry, row.entry.measured
    low, high = row.interval or (None, None)
    return {
        "name": name,
        "source": entry.source,
        "size": entry.size,
        "pixels": entry.pixels,
        "precision": entry.precision,
        "device": entry.device,
        "threads": measured.config.threads if measured else None,
        "runs": entry.runs,
        "launches": len(entry.launches_ms) or None,
        **figures(row),
        "speed": row.speed,
        "speed_low": low,
        "speed_high": high,
        "relative_to": describe(row.reference) if row.reference else None,
        "p_slower": row.p,
        "verdict": str(row.verdict) if row.verdict else None,
        "reason": row.reason or None,
        "note": entry.note or None,
        "runtime": measured.runtime if measured else None,
        "setting": "; ".join(f"{key} {value}" for key, value in entry.setting),
        "file": measured.file if measured else None,
        "artifact_sha256": measured.artifact_sha256 if measured else None,
        "json": entry.json,
    }


def describe(entry: Entry) -> str:
    """Model, size, precision and the file that it was read from."""
    return f"{entry.model} {entry.size} {entry.precision} ({printable(Path(entry.json).name)})"


def speed_text(row: Row) -> str:
    """`1.23x (1.20 to 1.26)`, `1.23x (no interval)`, or `reference`."""
    if row.speed is None:
        return "-" if row.verdict else "reference"
    digits = 2 if row.speed >= 1 else 3 if row.speed >= 0.1 else 4
    ends = (f"{end:.{digits}f}" for end in row.interval or ())
    return f"{row.speed:.{digits}f}x ({' to '.join(ends) or 'no interval'})"


def shown(value: float | None) -> str:
    """Two decimals below 100, one above; a dash for what is not known."""
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"


def text_table(rows: Sequence[Row]) -> str:
    """Aligned columns for people."""
    heads = ["model", "size", "precision", "device", "source", *FIGURES.values(), "speed"]
    gated = any(row.verdict for row in rows)
    lines = [[*heads, "verdict"] if gated else heads]
    for row, name in zip(rows, names([row.entry for row in rows]), strict=True):
        entry = row.entry
        cells = [name, entry.size, entry.precision, entry.device, entry.source]
        cells += [*map(shown, figures(row).values()), speed_text(row)]
        lines.append([*cells, str(row.verdict)] if gated else cells)
    return text.table(lines, left={*range(5), len(heads)})


def csv_text(rows: Sequence[Row]) -> str:
    """`records` as CSV with a header; empty cells where nothing is known."""
    entries = records(rows)
    return text.csv_text([list(entries[0]), *(list(record.values()) for record in entries)])


def junit(rows: Sequence[Row], max_slowdown: float) -> bytes:
    """JUnit XML: a regression is a failure, a lost or unjudged row an error, whatever else was not judged skipped.

    When nothing was judged one more test case, `gate`, is an error: its exit code says so too.
    """
    suite = ElementTree.Element("testsuite", name="android_bench.compare")
    for row, name in zip(rows, names([row.entry for row in rows]), strict=True):
        entry = row.entry
        case = ElementTree.SubElement(
            suite, "testcase", classname=entry.device, name=f"{name} {entry.size} {entry.precision}"
        )
        _outcome(case, row, max_slowdown)
    if not any(row.verdict in JUDGED for row in rows):
        case = ElementTree.SubElement(suite, "testcase", classname="android_bench.compare", name="gate")
        ElementTree.SubElement(case, "error", message="no row could be judged", type="nothing judged")
    counts = {"tests": len(suite)}
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        counts[name] = len(suite.findall(f"testcase/{kind}"))
    suite.attrib.update({name: str(count) for name, count in counts.items()})
    root = ElementTree.Element(
        "testsuites", {n: v for n, v in suite.attrib.items() if n not in ("name", "skipped")}
    )
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _outcome(case: ElementTree.Element, row: Row, max_slowdown: float) -> None:
    figures_said = f"speed {speed_text(row)}"
    if row.verdict is Verdict.SLOWER:
        assert row.speed and row.reference and row.p is not None, "a judged row has all of them"
        message = (
            f"median {shown(row.entry.central_ms)} ms, {shown(row.reference.central_ms)} ms in the baseline: "
            f"{1 / row.speed:.3f} times as long, {max_slowdown:g} allowed; {figures_said}; p {row.p:.2g}"
        )
        ElementTree.SubElement(case, "failure", message=message, type=str(row.verdict))
    elif row.verdict in FAILING:
        ElementTree.SubElement(case, "error", message=row.reason, type=str(row.verdict))
    elif row.verdict not in JUDGED:
        ElementTree.SubElement(case, "skipped", message=row.reason)
    else:
        ElementTree.SubElement(case, "system-out").text = "; ".join(filter(None, [figures_said, row.reason]))
