"""The comparison as one HTML page, to be read on the phone that was measured: there each row becomes a card."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from android_bench.comparison.plot import COLORS, Series, series, svg
from android_bench.comparison.regression_gate import ALPHA, FAILING, Row, Verdict, passed
from android_bench.comparison.tables import FIGURES, describe, figures, names, shown, speed_text
from android_bench.results.entries import Entry
from mobileiqa.html_page import cards, document
from mobileiqa.text import escape, printable


def page(rows: Sequence[Row], baseline: Sequence[Path] = (), max_slowdown: float | None = None) -> str:
    """A whole HTML document of the rows. `max_slowdown`: that of the gate, None where there is none."""
    body = [
        "<h1>Latency</h1>",
        *_gate(rows, baseline, max_slowdown),
        *_picture(series(rows), len(rows)),
        "<h2>Figures, in ms</h2>",
        _table(rows),
        *_reading(rows),
        *_settings(rows),
    ]
    return document("Latency", body)


def _gate(rows: Sequence[Row], baseline: Sequence[Path], max_slowdown: float | None) -> Iterator[str]:
    if max_slowdown is None:
        return
    good = passed(rows)
    kind, word = ("good", "passed") if good else ("bad", "failed")
    against = ", ".join(path.name for path in baseline)
    yield f'<p class="{kind}">Gate {word}, against {escape(against)}.</p>'
    yield (
        f'<p class="soft">A row fails when its median takes more than {max_slowdown:g} times as long and '
        f"Mann-Whitney's U over the runs gives p &lt; {ALPHA:g}; so does one that the baseline has and the new "
        "results do not, and a gate that could judge nothing.</p>"
    )


def _picture(drawn: Sequence[Series], count: int) -> Iterator[str]:
    if drawn:
        yield f"<h2>Against input size</h2>\n<figure>{svg(drawn)}\n<ul class='key'>"
        for index, one in enumerate(drawn):
            color = f"var(--c{index % len(COLORS)})"
            fill = "transparent" if one.points[0].by_hand else color
            swatch = f'<span style="border-color: {color}; background: {fill}"></span>'
            yield f"<li>{swatch}{escape(one.label)}</li>"
        yield "</ul></figure>"
    missing = count - sum(len(one.points) for one in drawn)
    if missing:
        yield f'<p class="soft">Not drawn: {missing} row(s) without an input size, or without a measurement.</p>'


def _table(rows: Sequence[Row]) -> str:
    gated = any(row.verdict for row in rows)
    listed = names([row.entry for row in rows])
    cells = [
        [
            _title(row, name),
            *map(shown, figures(row).values()),
            _speed(row),
            *([_verdict(row)] if gated else []),
        ]
        for row, name in zip(rows, listed, strict=True)
    ]
    return cards(["model", *FIGURES.values(), "speed", *(["verdict"] if gated else [])], cells)


def _title(row: Row, name: str) -> str:
    """The first cell: what was measured, on what, and whether somebody typed it in."""
    entry = row.entry
    tag = ' <span class="tag">by hand</span>' if entry.by_hand else ""
    lines = [f"{escape(name)} {escape(entry.size)}{tag}"]
    lines += [f'<div class="soft">{escape(text)}</div>' for text in _under(row) if text]
    return "".join(lines)


def _under(row: Row) -> tuple[str, ...]:
    return f"{row.entry.precision}, {row.entry.device}", row.entry.note, row.reason


def _speed(row: Row) -> str:
    """Beside what is said here only without a gate: a baseline's row is of the same name."""
    named = row.reference if row.verdict is None else None
    beside = f'<div class="soft">beside {escape(describe(named))}</div>' if named else ""
    return f"<div>{escape(speed_text(row))}{beside}</div>"


def _verdict(row: Row) -> str:
    kinds = {**dict.fromkeys(FAILING, "bad"), Verdict.FASTER: "good"}
    p = "" if row.p is None else f'<div class="soft">p {row.p:.2g}</div>'
    kind = kinds.get(row.verdict, "") if row.verdict else ""
    return f'<div><span class="{kind}">{row.verdict or ""}</span>{p}</div>'


def _reading(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        '<h2>How to read this</h2>\n<p class="soft">Mean: of all runs, as AI Benchmark prints it. Peak MB: resident '
        "memory in 10<sup>6</sup> bytes, less what the imported runtime holds. Speed: the other row's median over "
        "this one's, above 1 when this one is faster, with a 95 % bootstrap interval over launches and runs; only "
        "rows of the same device and settings are set against each other.</p>"
    )
    if any(row.entry.by_hand for row in rows):
        yield (
            '<p class="soft"><span class="tag">by hand</span> figures were read off a screen and typed in: a mean '
            "without its runs, so without spread, interval or significance.</p>"
        )


def _settings(rows: Sequence[Row]) -> Iterator[str]:
    yield '<h2>How it was measured</h2>\n<ul class="soft">'
    for text in dict.fromkeys(_setting(row.entry) for row in rows):
        yield f"<li>{escape(text)}</li>"
    yield "</ul>"


def _setting(entry: Entry) -> str:
    name = printable(Path(entry.json).name)
    if not entry.measured:
        return f"{name}: by hand, mean of {entry.runs} runs on {entry.device}"
    result = entry.measured
    setting = ", ".join(
        f"{key} {value}" for key, value in entry.setting if key not in ("source", "precision")
    )
    counts = f"{result.config.runs} runs x {result.config.launches} launch(es)"
    return f"{name}: {setting}, {counts}; {result.runtime}; {result.device.platform}"
