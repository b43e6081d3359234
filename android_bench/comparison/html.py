"""The comparison as one HTML file: no script, no font, no picture and no style from anywhere else.

Made to be read on the phone that was measured: below 46 em each table row becomes a card with its headings
beside the values, the picture is drawn for that width, and colours follow the reader's light or dark setting.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from android_bench.comparison.regression_gate import ALPHA, FAILING, Row, Verdict, passed
from android_bench.comparison.svg import COLORS, Series, series, svg
from android_bench.comparison.tables import FIGURES, describe, figures, names, shown, speed_text
from android_bench.results.entries import Entry
from mobileiqa.text import escape, printable

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #17212b; --soft: #5a6773; --line: #d5dce2;
  --bad: #b3261e; --good: #146c43; LIGHT }
@media (prefers-color-scheme: dark) { :root { --paper: #11171d; --ink: #e6ebf0; --soft: #9fadb9; --line: #303b45;
  --bad: #ff9a90; --good: #6fd6a0; DARK } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: 0 0 .5rem } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem }
p, li { max-width: 60rem } .soft { color: var(--soft); font-size: .875rem }
.bad { color: var(--bad); font-weight: 600 } .good { color: var(--good); font-weight: 600 }
figure { margin: 0; max-width: 44rem } svg { width: 100%; height: auto; display: block }
svg text { fill: var(--ink) } svg .grid { stroke: var(--line); fill: none }
.key { list-style: none; padding: 0; margin: .3rem 0 } .key span { display: inline-block; width: .8rem; height: .8rem;
  border-radius: 50%; border: 2px solid; margin-right: .5rem; vertical-align: -.1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top }
td:not(:first-child), th { overflow-wrap: normal } /* else a browser breaks numbers to make columns narrow */
th:first-child, td:first-child { text-align: left } th { font-weight: 600; color: var(--soft); font-size: .875rem }
.tag { border: 1px dashed var(--soft); border-radius: .3rem; padding: 0 .3rem; font-size: .8rem; white-space: nowrap }
@media (max-width: 46em) {
  thead { display: none } table, tbody { display: block }
  tr { display: grid; grid-template-columns: 1fr 1fr; column-gap: 1.5rem; border: 1px solid var(--line);
    border-radius: .6rem; margin: .7rem 0; padding: .4rem .7rem }
  td { display: flex; justify-content: space-between; gap: .8rem; border: 0; padding: .1rem 0 }
  td::before { content: attr(data-label); color: var(--soft); flex: none }
  td:first-child, td:nth-child(n + 8) { grid-column: 1 / -1 }
  td:first-child { display: block; font-weight: 600 } td:first-child::before { content: none }
  td .soft { font-weight: 400 } .key { font-size: .875rem } }
"""


def page(rows: Sequence[Row], baseline: Sequence[Path] = (), max_slowdown: float | None = None) -> str:
    """A whole HTML document of the rows. `max_slowdown`: that of the gate, None where there is none."""
    drawn = series(rows)
    body = [
        "<h1>Latency</h1>",
        *_gate(rows, baseline, max_slowdown),
        *_picture(drawn, len(rows)),
        *_table(rows),
        *_reading(rows),
        *_settings(rows),
    ]
    return "\n".join([*_head(), *body, "</body>", "</html>", ""])


def _head() -> Iterator[str]:
    light, dark = (
        " ".join(f"--c{index}: {pair[side]};" for index, pair in enumerate(COLORS)) for side in (0, 1)
    )
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    style = STYLE.replace("LIGHT", light).replace("DARK", dark)
    yield f"<title>Latency</title>\n<style>{style}</style>\n</head>\n<body>"


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


def _table(rows: Sequence[Row]) -> Iterator[str]:
    heads = ["model", *FIGURES.values(), "speed", *(["verdict"] if _gated(rows) else [])]
    yield "<h2>Figures, in ms</h2>\n<table>\n<thead><tr>"
    yield "".join(f'<th scope="col">{head}</th>' for head in heads) + "</tr></thead>\n<tbody>"
    for row, name in zip(rows, names([row.entry for row in rows]), strict=True):
        cells = [_title(row, name), *map(shown, figures(row).values()), _speed(row)]
        if _gated(rows):
            cells.append(_verdict(row))
        pairs = zip(heads, cells, strict=True)
        yield "<tr>" + "".join(f'<td data-label="{head}">{cell}</td>' for head, cell in pairs) + "</tr>"
    yield "</tbody>\n</table>"


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


def _gated(rows: Sequence[Row]) -> bool:
    return any(row.verdict for row in rows)


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
