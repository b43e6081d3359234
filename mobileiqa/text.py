"""Text from outside (file names, model names, messages of other programs) where people or programs read it.

A file name may hold anything but NUL and '/': a line feed and it forges a row of a table, ESC and it moves the
cursor or sets the window's title, '=' and a spreadsheet computes it, '<script>' and a page runs it, two '$' and
matplotlib reads a formula. Each place that shows text has one function here, and text that went through it is text.
Nothing is imported beyond the standard library: every package may use this.
"""

import csv
import html
import io
import os
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import IO, Any

# In every PNG that a command draws: a search for images knows it by this, and leaves it out.
PLOT_METADATA = {"Software": "mobileiqa"}

_INTEGER = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?|nan", re.IGNORECASE)
_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_FORMULA = re.compile(
    r"'*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"
)  # the last four: full width, which Excel takes for the same


def integer(text: str) -> int:
    """A whole number in ASCII digits. ValueError for what int() takes besides: 1_0, blanks, other scripts' digits."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"no whole number: {text!r}")
    return int(text)


def real(text: str) -> float:
    """A number in ASCII digits, with inf and nan; ValueError as `integer`."""
    if not _REAL.fullmatch(text):
        raise ValueError(f"no number: {text!r}")
    return float(text)


def printable(text: str, keep: str = "") -> str:
    r"""`text` with every character that is not seen as itself written out: ESC as \x1b, line feed as \n.

    That is all of Unicode's control, format (also those that turn the direction of writing round), separator,
    surrogate, private and unassigned characters, but the blank and those in `keep`. A byte that is no UTF-8 is
    written as in JSON and CSV: \udcff. For tables, notes, logs and errors.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def escape(text: str, keep: str = "") -> str:
    """`text` for an element or a quoted attribute of HTML, SVG or XML; what XML forbids is written out."""
    return html.escape(printable(text, keep))


def plot_text(text: str) -> str:
    r"""`text` for matplotlib, which draws it as it is: no formula between two '$', no entry left out for its '_'."""
    drawn = printable(text).replace("$", r"\$")
    return f" {drawn}" if drawn.startswith("_") else drawn


def csv_cell(value: Any) -> Any:
    """`value` for a cell of a CSV file: text that a spreadsheet would compute gets a "'" in front.

    Only text: numbers stay numbers. Text that begins with "'" and such a sign gets one more, so that `csv_value`
    gives every text back as it was.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def csv_value(cell: str) -> str:
    """What `csv_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_name(cell: str) -> str:
    r"""The file name that a cell of our CSV files stands for: `csv_value`, and \udcff is the byte ff, no UTF-8."""
    return _BYTE.sub(lambda match: chr(int(match[1], 16)), csv_value(cell))


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    r"""Rows as CSV with '\n' at their ends, every cell through `csv_cell`."""
    return "".join(map(_csv_row, rows))


def _csv_row(row: Iterable[Any]) -> str:
    r"""One row. Python's writer quotes '\r' in a cell only where rows end with it, so they do until here."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([csv_cell(value) for value in row])
    return line.getvalue().removesuffix("\r\n") + "\n"


def note(text: str) -> None:
    """One line about what is going on, on stderr; lost where nobody reads that."""
    if sys.stderr is None:
        return
    try:
        print(printable(text, "\n"), file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        flush_or_drop(sys.stderr)


def flush_or_drop(stream: IO[str] | None) -> None:
    """Writes what is buffered; where that fails, Python would say so once more, at its very end."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())  # type: ignore[union-attr]
            os.close(null)


def table(rows: Sequence[Sequence[str]], left: Collection[int] | None = None) -> str:
    """Rows as lines of text, the headings first: columns two blanks apart, every cell `printable`.

    left: the columns whose cells stand to the left, as words do; figures stand to the right. None: all of them.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = (
        [
            cell.ljust(width) if left is None or index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    )
    return "\n".join("  ".join(row).rstrip() for row in aligned)
