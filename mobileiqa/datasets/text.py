"""Label files as text: their encoding, the separator of their cells and the decimal mark of their numbers.

Each is taken from the file itself where only one reading is possible; else the error names what was seen. Excel in
much of Europe writes `;` between cells and 1,5 for one and a half; PowerShell and Excel's "Unicode text" write UTF-16.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mobileiqa.errors import UserError
from mobileiqa.typed_json import shortened

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

# The longer marks first: UTF-32's little-endian one begins as UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be", codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be",
}  # fmt: skip
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", re.ASCII)
_OTHER_FILES = {b"PK\x03\x04": "an Excel workbook or ZIP archive", b"\xd0\xcf\x11\xe0": "an old Excel workbook",
                b"\x1f\x8b": "a gzip archive", b"%PDF": "a PDF", b"\x89PNG": "an image",
                b"\xff\xd8\xff": "an image"}  # fmt: skip
_FETCHED_PAGE = re.compile(r"\s*<(!doctype|html)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """The lines of a CSV file as cells, each with where it stands ("labels.csv, line 2")."""

    lines: tuple[tuple[str, tuple[str, ...]], ...]
    separator: str
    decimal_mark: str  # "." or ","


def decoded(content: bytes, name: str, todo: str) -> str:
    """The text of a file, lines ending in a line feed, without its byte order mark.

    Raises UserError, naming the encoding where it can, for other bytes.
    """
    if kind := next((kind for magic, kind in _OTHER_FILES.items() if content.startswith(magic)), None):
        raise UserError(f"text in {name}", kind, "save its table as CSV")
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    encoding = _MARKS.get(mark) or _unmarked(content)
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        reason = _undecodable(content[len(mark) :], encoding, error)
        raise UserError(f"UTF-8 or UTF-16 text in {name}", reason, "save it as UTF-8") from error
    if "\0" in text:
        raise UserError(f"text in {name}", "NUL characters, as a damaged or a binary file has", todo)
    if _FETCHED_PAGE.match(text):
        raise UserError(f"labels in {name}", "a web page", todo)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unmarked(content: bytes) -> str:
    """UTF-16 without a mark shows as NULs in every other byte, since headers are ASCII; else UTF-8."""
    head = content[:200]
    pairs = len(head) // 2
    if pairs >= 4 and len(content) % 2 == 0:
        if head[1::2].count(0) > 0.9 * pairs and not head[0::2].count(0):
            return "utf-16-le"
        if head[0::2].count(0) > 0.9 * pairs and not head[1::2].count(0):
            return "utf-16-be"
    return "utf-8"


def _undecodable(content: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8":
        return f"{encoding.upper()}'s byte order mark, then bytes that are none"
    line = content[: error.start].count(b"\n") + 1
    return f"the byte 0x{content[error.start]:02x} in line {line}, as Windows-1252 and Latin-1 files have it"


def parsed(text: str, name: str, required: Sequence[str], todo: str) -> Table:
    """The cells of CSV text whose first line that is not empty names the columns; `required` are among them.

    Excel's `sep=;` line is obeyed. Raises UserError for no or several possible separators and for broken quotes.
    """
    rows = text.splitlines()
    first = next((number for number, row in enumerate(rows) if row.strip()), 0)
    head = rows[first] if rows else ""
    skipped = 0
    if declared := re.fullmatch(r"\"?sep=(.)\"?", head.strip("\r\n"), re.IGNORECASE):
        separator, skipped = declared[1], first + 1
    else:
        separator = _separator(head, required, name, todo)
    lines = _cells(text, separator, name, todo)
    table = tuple(line for line in lines if skipped == 0 or int(line[0].rpartition(" ")[2]) > skipped)
    while table and not any(cell.strip() for cell in table[0][1]):
        table = table[1:]
    return Table(table, separator, _decimal_mark(table, name, todo))


def column(cell: object) -> str:
    """A column's name as it is compared: without case, a blank counting as an underscore."""
    return "" if cell is None else str(cell).strip().lower().replace(" ", "_")


def _separator(head: str, required: Sequence[str], name: str, todo: str) -> str:
    """The one separator under which the header `head` has all the required columns."""
    if len(required) == 1 and column(head.strip('"')) == required[0]:
        return ","  # one column needs none
    fitting = []
    for separator in SEPARATORS:
        try:
            cells = next(csv.reader([head], delimiter=separator), [])
        except csv.Error:
            continue
        if set(required) <= {column(cell) for cell in cells}:
            fitting.append(separator)
    if len(fitting) > 1:
        raise UserError(
            f"one separator in the header of {name}",
            " and ".join(SEPARATORS[separator] for separator in fitting),
            "separate cells by commas",
        )
    return fitting[0] if fitting else _refuse_header(head, required, name, todo)


def _refuse_header(head: str, required: Sequence[str], name: str, todo: str) -> str:
    """Raises UserError; what it says depends on what the line looks like."""
    separator = max(SEPARATORS, key=head.count)
    cells = [cell.strip().strip('"') for cell in head.split(separator)]
    columns = ", ".join(filter(None, map(column, cells))) or "none"
    description = f"columns {shortened(columns, 120)}"
    if separator != "," and separator in head:
        description = f"{description}, separated by {SEPARATORS[separator]}"
    words = {column(word.strip('"')) for word in re.split("[ :/]+", head)}
    if separator not in head and words.issuperset(required):
        description, todo = f"{shortened(head.strip(), 120)!r}, separated by blanks or colons", "use commas"
    if any(NUMBER.fullmatch(cell.replace(",", ".")) for cell in cells):
        description, todo = f"{description}: no header", f"write {','.join(required)} as the first line"
    raise UserError(f"columns {', '.join(required)} in {name}", description, todo)


def _cells(text: str, separator: str, name: str, todo: str) -> list[tuple[str, tuple[str, ...]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return [(f"{name}, line {reader.line_num}", tuple(line)) for line in reader]
    except csv.Error as error:
        place = f"{name}, line {reader.line_num}"
        words = {",": "comma", ";": "semicolon", "\t": "tab"}.get(separator, repr(separator))
        raise UserError(f"{words} separated values in {place}", str(error), todo) from error


def _decimal_mark(lines: Iterable[tuple[str, tuple[str, ...]]], name: str, todo: str) -> str:
    """A comma where cells such as 1,5 are there, none such as 1.5, and they cannot be thousands."""
    commas = [
        (where, cell.strip())
        for where, line in lines
        for cell in line
        if _COMMA_NUMBER.fullmatch(cell.strip())
    ]
    if not commas:
        return "."
    point = next(
        (
            (where, cell.strip())
            for where, line in lines
            for cell in line
            if _POINT_NUMBER.fullmatch(cell.strip())
        ),
        None,
    )
    if point:
        raise UserError(
            f"one decimal mark in {name}",
            f"{commas[0][1]} in {commas[0][0]} and {point[1]} in {point[0]}",
            "write all numbers with a point",
        )
    if all(_THOUSANDS.fullmatch(cell) for _, cell in commas):
        raise UserError(
            f"numbers with a decimal point in {name}",
            f"{commas[0][1]} in {commas[0][0]}, whose comma may mark decimals or thousands",
            "write all numbers with a point",
        )
    return ","
