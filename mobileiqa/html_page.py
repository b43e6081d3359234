"""HTML pages of one file, without a script, a font, a picture or a style from anywhere else: frame, style, tables.

Made to be read on a phone. A page itself never scrolls sideways: a wide table or command does, in its own box, with
its first column in place, or its rows become cards. Colours follow the reader's light or dark setting. Nothing is
imported beyond the standard library: every package may use this.
"""

import re
from collections.abc import Iterable, Sequence

from mobileiqa.svg import COLORS
from mobileiqa.text import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #17212b; --soft: #5a6773; --line: #d5dce2; --box: #f4f6f8;
  --bad: #b3261e; --good: #146c43; LIGHT }
@media (prefers-color-scheme: dark) { :root { --paper: #11171d; --ink: #e6ebf0; --soft: #9fadb9; --line: #303b45;
  --box: #1a222a; --bad: #ff9a90; --good: #6fd6a0; DARK } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: 0 0 .5rem } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem } p, li { max-width: 60rem; margin: .3rem 0 }
.soft { color: var(--soft); font-size: .875rem } .bad { color: var(--bad); font-weight: 600 }
.good { color: var(--good); font-weight: 600 }
.scroll { overflow-x: auto; margin: .4rem 0 } .scroll:focus-visible { outline: 2px solid var(--c0) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9375rem }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: normal; min-width: 4.5rem }
thead th { color: var(--soft); font-size: .875rem; overflow-wrap: anywhere }
tbody th { font-weight: 400; color: var(--soft) }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); min-width: 7rem }
.words td, .words th { text-align: left; min-width: 0; white-space: nowrap }
.words td div { white-space: normal; min-width: 14rem; max-width: 24rem }
pre { background: var(--box); padding: .6rem .8rem; border-radius: .4rem; overflow-x: auto; font-size: .8125rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem .9rem; margin: .4rem 0 }
dt { color: var(--soft) } dd { margin: 0 } code { font-size: .875em }
details { margin: .4rem 0 } summary { cursor: pointer }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)) }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .6rem; display: flex; gap: .7rem }
.card img { width: 8rem; height: 8rem; object-fit: contain; flex: none; background: var(--box) }
.card dl { gap: 0 .6rem; font-size: .875rem; align-content: start; grid-template-columns: 1fr max-content }
.card dt { overflow-wrap: anywhere } figure { margin: 0; max-width: 30rem } figcaption { font-size: .875rem }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--ink) }
svg .axis { stroke: var(--line); fill: none } svg .mark { stroke: var(--soft); stroke-dasharray: 4 3; fill: none }
.tag { border: 1px dashed var(--soft); border-radius: .3rem; padding: 0 .3rem; font-size: .8rem; white-space: nowrap }
.key { list-style: none; padding: 0; margin: .3rem 0; font-size: .875rem } .key span { display: inline-block;
  width: .8rem; height: .8rem; border-radius: 50%; border: 2px solid; margin-right: .5rem; vertical-align: -.1rem }
.map svg { height: 1.6rem } .map { margin: .3rem 0 }
@media (max-width: 30em) { .card img { width: 6.5rem; height: 6.5rem }
  dl.wide { display: block } .wide dd { margin: 0 0 .4rem } }
.cards { width: 100% } .cards thead th { overflow-wrap: normal }
.cards td:first-child { text-align: left; overflow-wrap: anywhere }
@media (max-width: 46em) {
  .cards thead { display: none } .cards, .cards tbody { display: block }
  .cards tr { display: grid; grid-template-columns: 1fr 1fr; column-gap: 1.5rem; border: 1px solid var(--line);
    border-radius: .6rem; margin: .7rem 0; padding: .4rem .7rem }
  .cards td { display: flex; justify-content: space-between; gap: .8rem; border: 0; padding: .1rem 0 }
  .cards td::before { content: attr(data-label); color: var(--soft); flex: none }
  .cards td:first-child, .cards td:nth-child(n + 8) { grid-column: 1 / -1 }
  .cards td:first-child { display: block; font-weight: 600 } .cards td:first-child::before { content: none }
  .cards td .soft { font-weight: 400 } }
"""
_SIDES = [" ".join(f"--c{index}: {pair[side]};" for index, pair in enumerate(COLORS)) for side in (0, 1)]
STYLE = STYLE.replace("LIGHT", _SIDES[0]).replace("DARK", _SIDES[1])


def document(title: str, body: Iterable[str]) -> str:
    """A whole HTML document; `body` is HTML already, `title` is text."""
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        *body, "</body>", "</html>", "",
    ])  # fmt: skip


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[str]], words: bool = False) -> str:
    """A table in a box of its own that scrolls; cells are HTML, `label` is text. words: all columns to the left."""
    cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = [
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    ]
    kind = ' class="words"' if words else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table{kind}>\n'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table></div>"
    )


def pairs(items: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Names (text) and what they stand for (HTML)."""
    body = "".join(f"<dt>{breakable(name)}</dt><dd>{value}</dd>" for name, value in items)
    return f'<dl class="{kind}">{body}</dl>' if kind else f"<dl>{body}</dl>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def code(text: str) -> str:
    """A hash or another string of a machine."""
    return f"<code>{escape(text)}</code>"


def breakable(name: str) -> str:
    """A file's name that may break after its dots and lines."""
    return re.sub(r"([._-])", r"\1<wbr>", escape(name))


def verdict(passed: bool | None) -> str:
    """pass, FAIL or not judged."""
    kind, word = {True: ("good", "pass"), False: ("bad", "FAIL"), None: ("soft", "not judged")}[passed]
    return f'<span class="{kind}">{word}</span>'


def number(value: float | None, form: str = ".4f") -> str:
    """A figure; - where there is none."""
    return "-" if value is None else format(value, form)


def cards(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose rows become cards on a phone, with their headings beside the values; cells are HTML."""
    cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = (
        "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in zip(head, row, strict=True))
        for row in rows
    )
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table class="cards">\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'
