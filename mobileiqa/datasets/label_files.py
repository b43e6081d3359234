"""Label files as they lie on disk: CSV, plain text, Excel, MATLAB. Every defect is named with its line.

Column names are matched without regard to case, and a blank counts as an underscore: the same set is passed
around with "Image name" and with "image_name". How text is decoded and cut into cells is in text.py.
"""

import importlib.util
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

import numpy as np

from mobileiqa.datasets.text import NUMBER, SEPARATORS, column, decoded, parsed
from mobileiqa.errors import UserError
from mobileiqa.text import csv_name
from mobileiqa.workers import process_pool

_MAX_EXCEL_ROWS = 1 << 20  # of the format
_MAX_EXCEL_BYTES = 512_000_000  # a hundred times what the largest published set's labels unpack to
_MAX_MATLAB_BYTES = 64_000_000
_MAX_MATLAB_DEPTH = 8  # of cells in cells
_INT32, _MATRIX, _COMPRESSED = 5, 14, 15  # types of elements
FETCH_AGAIN = "download or unpack the set again"  # of a published set
CORRECT = "correct the file"  # of a user's own

# What openpyxl and scipy raise on damaged files: neither has one error of its own.
_BAD_EXCEL = (zipfile.BadZipFile, ParseError, zlib.error, EOFError, ValueError, LookupError, TypeError,
              AttributeError, OSError, OverflowError, MemoryError, NotImplementedError, RuntimeError)  # fmt: skip
_BAD_MATLAB = (ValueError, NotImplementedError, TypeError, LookupError, AttributeError, OSError, OverflowError,
               MemoryError, zlib.error)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of a label file: its cells by column, and where it stands."""

    where: str  # "dmos.csv, line 2"
    cells: Mapping[str, Any]
    decimal_mark: str = "."
    todo: str = FETCH_AGAIN  # what an error advises

    def text(self, column: str) -> str:
        """The cell as text without blanks around it. Raises UserError where it is empty or missing."""
        cell = self.cells.get(column)
        text = "" if cell is None else str(cell).strip()
        if not text:
            raise UserError(f"a value in column {column} of {self.where}", "an empty cell", self.todo)
        return text

    def image(self, column: str, base: Path) -> str:
        """An image's name: without ./ in front, and Windows' backslashes turned unless a file below `base` has them.

        A name that a spreadsheet or UTF-8 cannot hold is as our own CSV files write it. Raises UserError as `text`.
        """
        name = self.text(column)
        if (base / csv_name(name)).is_file():
            name = csv_name(name)
        elif "\\" in name and not (base / name).is_file():
            name = name.replace("\\", "/")
        while name.startswith("./"):
            name = name[2:].lstrip("/")
        return name

    def number(self, column: str) -> float:
        """The cell as a finite number. Raises UserError for anything else."""
        text = self.text(column)
        plain = text.replace(",", ".") if self.decimal_mark == "," else text
        value = float(plain) if NUMBER.fullmatch(plain) else math.nan
        if not math.isfinite(value):
            raise UserError(f"a finite number in column {column} of {self.where}", repr(text), self.todo)
        return value

    def count(self, column: str) -> int:
        """The cell as a whole number of 0 or more. Raises UserError for anything else."""
        value = self.number(column)
        if value < 0 or value != int(value):
            raise UserError(
                f"a whole number of 0 or more in column {column} of {self.where}",
                repr(self.text(column)),
                self.todo,
            )
        return int(value)


def existing(path: Path, what: str, todo: str = FETCH_AGAIN) -> Path:
    """`path`, if it is a file. Raises UserError naming it and saying `what` it is."""
    if not path.is_file():
        raise UserError(f"{what} at {path}", "a folder" if path.is_dir() else "nothing", todo)
    return path


def subfolder(root: Path, *names: str) -> Path:
    """The first of the named folders below `root` that exists. Raises UserError naming them all."""
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(f"the folder {' or '.join(names)} in {root}", "none", FETCH_AGAIN)
    return folder


def images_by_name(folders: Iterable[Path]) -> dict[str, Path]:
    """The files directly in the folders by lower-case name: some sets' labels spell the case differently.

    Raises UserError where two files have one name.
    """
    paths: dict[str, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        other = paths.setdefault(path.name.lower(), path)
        if other is not path:
            raise UserError(f"one file called {path.name} in any case", f"{other} and {path}", "remove one")
    return paths


def read_csv(path: Path, required: Sequence[str], todo: str = CORRECT) -> list[Row]:
    """The rows of a CSV file with a header, separated and encoded as datasets.text says.

    Raises UserError, advising `todo`, naming the missing file, column or bad line.
    """
    table = parsed(_text(path, todo), path.name, required, todo)
    by = (
        ""
        if table.separator == ","
        else f", separated by {SEPARATORS.get(table.separator, repr(table.separator))},"
    )
    return _rows(path, table.lines, required, todo, table.decimal_mark, by)


def read_plain(path: Path, columns: Sequence[str], separator: str | None = None) -> list[Row]:
    """The rows of a text file without a header; `separator` None: blanks. Raises UserError as read_csv does."""
    lines = [
        (f"{path.name}, line {number}", line.split(separator))
        for number, line in enumerate(_text(path, FETCH_AGAIN).splitlines(), 1)
    ]
    return _rows(path, [("", columns), *lines], columns, FETCH_AGAIN)


def read_excel(path: Path, required: Sequence[str]) -> list[Row]:
    """The rows of a workbook's active sheet, which has a header. Raises UserError as read_csv does."""
    return _rows(path, excel_lines(path), required, FETCH_AGAIN)


def excel_lines(path: Path) -> list[tuple[str, Sequence[Any]]]:
    """(where, cells) of a workbook's active sheet, without empty lines behind the first. Raises UserError."""
    _need("openpyxl", path)
    with existing(path, "an Excel label file").open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and validation, which labels do not have
        try:
            rows = list(_filled_rows(file))
        except _BAD_EXCEL as error:
            raise UserError(f"an Excel workbook in {path.name}", _reason(error), FETCH_AGAIN) from error
    width = max((len(row) for _, row in rows), default=0)  # a row ends at its last filled cell
    return [(f"{path.name}, row {number}", (*row, *[None] * (width - len(row)))) for number, row in rows]


def _filled_rows(file: BinaryIO) -> Iterator[tuple[int, Sequence[Any]]]:
    """(number, cells) of the rows. In a damaged file billions of empty ones can stand before the next."""
    from openpyxl import load_workbook

    inflated = sum(member.file_size for member in zipfile.ZipFile(file).infolist())
    if inflated > _MAX_EXCEL_BYTES:
        raise ValueError(f"{inflated / 1e6:.0f} MB when unpacked, more than {_MAX_EXCEL_BYTES / 1e6:.0f}")
    sheet = load_workbook(file, read_only=True, data_only=True).active
    sheet.reset_dimensions()  # some writers record a sheet of one cell
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > _MAX_EXCEL_ROWS:
            raise ValueError(f"a row beyond {_MAX_EXCEL_ROWS}, the last that a sheet can have")
        if number == 1 or any(cell is not None for cell in row):
            yield number, row


def read_matlab(variables: Mapping[Path, str]) -> list[list[Any]]:
    """The entries of one vector or cell array in each of several .mat files (up to version 7.2). Raises UserError.

    In a process of its own: scipy's reader ends the one that it runs in (SIGSEGV) where one bit of a size is wrong.
    """
    for path in variables:
        _need("scipy", path)
        existing(path, "a MATLAB label file")
    entries = []
    with process_pool(1) as pool:
        for path, variable in variables.items():
            try:
                entries.append(pool.submit(_matlab_entries, path, variable).result())
            except BrokenProcessPool as error:
                reason = "a damaged one, which ends the process that reads it"
                raise UserError(f"a MATLAB file in {path.name}", reason, FETCH_AGAIN) from error
    return entries


def _matlab_entries(path: Path, variable: str) -> list[Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        _check_matlab(path)
        content = loadmat(path, squeeze_me=True)
    except (*_BAD_MATLAB, MatReadError) as error:
        raise UserError(f"a MATLAB file in {path.name}", _reason(error), FETCH_AGAIN) from error
    if variable not in content:
        entries = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise UserError(f"the variable {variable} in {path.name}", entries, FETCH_AGAIN)
    return list(np.atleast_1d(content[variable]).ravel())


def _check_matlab(path: Path) -> None:
    """Raises ValueError where reading a version 5 file would take memory that its size does not show.

    Behind a header of 128 bytes each element is (type, bytes, content); a compressed one holds an element.
    """
    data = path.read_bytes()
    if len(data) > _MAX_MATLAB_BYTES:
        raise ValueError(f"{len(data) / 1e6:.0f} MB, more than {_MAX_MATLAB_BYTES / 1e6:.0f}")
    if data[126:128] in (b"IM", b"MI"):
        _check_elements(data[128:], ">" if data[126:128] == b"MI" else "<")


def _check_elements(data: bytes, order: str, depth: int = 0) -> None:
    """Raises ValueError for an element that unpacks to too much, or an array of too many entries, at any depth."""
    at = number = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        small = kind >> 16  # then up to four bytes of content stand in the tag itself
        start, size, kind = (at + 4, small, kind & 0xFFFF) if small else (at + 8, size, kind)
        content = data[start : start + size]
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(content, _MAX_MATLAB_BYTES)
            if len(unpacked) == _MAX_MATLAB_BYTES:
                raise ValueError(f"{_MAX_MATLAB_BYTES / 1e6:.0f} MB or more when unpacked")
            _check_elements(unpacked, order, depth)
        elif kind == _MATRIX and depth < _MAX_MATLAB_DEPTH:
            _check_elements(content, order, depth + 1)
        elif number == 1 and kind == _INT32 and depth:  # the second part of an array: its dimensions
            sides = struct.unpack(f"{order}{len(content) // 4}i", content[: len(content) // 4 * 4])
            if math.prod(sides) > _MAX_MATLAB_BYTES // 8:
                raise ValueError(f"an array of {' x '.join(map(str, sides[:4]))} entries")
        at = start + 4 if small else start + size + (-size % 8 if kind != _COMPRESSED else 0)
        number += 1


def _need(package: str, path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package}, to read {path.name}", "no such package", f"pip install {package}")


def _text(path: Path, todo: str) -> str:
    return decoded(existing(path, "a label file", todo).read_bytes(), path.name, todo)


def _rows(
    path: Path,
    lines: Sequence[tuple[str, Sequence[Any]]],
    required: Sequence[str],
    todo: str,
    decimal_mark: str = ".",
    by: str = "",
) -> list[Row]:
    """The first line names the columns; empty lines are left out, lines of another length are refused."""
    header = [column(cell) for cell in lines[0][1]] if lines else []
    missing = [name for name in required if name not in header]
    if missing:
        columns = ", ".join(filter(None, header)) or "none"
        raise UserError(f"columns {', '.join(required)} in {path}", f"columns {columns}", todo)
    if len(set(filter(None, header))) != len([name for name in header if name]):
        raise UserError(f"different column names in {path}", ", ".join(header), "rename or remove one")
    rows = []
    for where, line in lines[1:]:
        if all(_is_empty(cell) for cell in line):
            continue
        cells = list(line[: len(header)]) if all(map(_is_empty, line[len(header) :])) else line
        if len(cells) != len(header):
            raise UserError(f"{len(header)} cells{by} in {where}", f"{len(cells)}", todo)
        rows.append(Row(where, dict(zip(header, cells, strict=True)), decimal_mark, todo))
    if not rows:
        raise UserError(f"at least one row in {path}", "none", todo)
    return rows


def _is_empty(cell: Any) -> bool:
    return cell is None or not str(cell).strip()


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
