"""Where rows of scores go, as they are made: stdout, or a file that an interrupted run can be resumed from.

Every row is flushed, so an interrupted run keeps what it has: on stdout as it stands, of `--out NAME` in
NAME.partial, which becomes NAME when the last row is there. A full disk leaves whole rows. NAME.partial of a `.json`
and of a `.parquet` holds JSON lines. `resume` reads the whole rows of such a file, and `write` goes on behind them.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any

from mobileiqa import cli
from mobileiqa.errors import UserError, install_command
from mobileiqa.files.outputs import STREAM, put, refuse_other
from mobileiqa.scoring.rows import (
    FORMATS,
    LINE_FORMATS,
    Origin,
    Row,
    Tally,
    csv_head,
    json_object,
    scored_row,
)
from mobileiqa.text import csv_name, printable
from mobileiqa.variants import gives_votes

FILE_FORMATS = (*FORMATS, "parquet")
LINES = {"json": "jsonl", "parquet": "jsonl"}  # a format, and that of its unfinished file
ROW_GROUP = 10_000  # rows of a Parquet file that are read together
ANEW = "resume with the same photos, model, settings and version, or leave --resume out to start anew"


@dataclass(frozen=True)
class Unfinished:
    """The whole rows of an interrupted run: what they come to, and where in its file they end."""

    tally: Tally
    bytes: int


def write(
    rows: Iterable[Row], origin: Origin, form: str, out: Path | None, unfinished: Unfinished | None = None
) -> Tally:
    """Writes the rows as they come, to `out` or to stdout, and returns what they come to. `form`: of FILE_FORMATS.

    unfinished: what `resume` read; the rows are those behind it. An interruption or an error says where the rows are
    that were made. Raises UserError where stdout is closed, and for Parquet without a file or without pyarrow.
    """
    if out is not None and out != STREAM:
        return _to_file(rows, origin, form, out, unfinished)
    if sys.stdout is None:
        raise UserError("an open stdout for the scores", "a closed one", "write them to a file with --out")
    if form == "parquet":
        raise UserError("a file for Parquet", "stdout", "write it to a file with --out")
    return _object_to_stdout(rows, origin) if form == "json" else _to_stdout(rows, origin, form)


def resume(photos: Sequence[str], origin: Origin, form: str, out: Path) -> Unfinished | None:
    """The whole rows in `out`'s unfinished file, None where there is none: of the first of `photos`, in their order.

    Raises UserError for rows of other photos, of another model or of another version.
    """
    partial, lines_form = partial_path(out), LINES.get(form, form)
    if lines_form == "table":
        raise UserError(
            "--out in CSV, JSON, JSONL or Parquet with --resume", "a table", "name it so, or pass --format"
        )
    if not refuse_other(partial):
        return None
    tally, whole = Tally(), 0
    read = _csv_rows if lines_form == "csv" else _json_rows
    with partial.open("rb") as file:
        for row, fields, end in read(file, origin):
            whole = end
            expected = photos[tally.images] if tally.images < len(photos) else "no more photos"
            if row.image != expected or fields != origin.fields:
                raise UserError(
                    f"{expected} by {_listed(origin.fields)} as row {tally.images + 1} of {partial}",
                    f"{row.image} by {_listed(fields)}",
                    ANEW,
                )
            tally.add(row)
    return Unfinished(tally, whole)


def refuse_other_settings(out: Path, form: str, settings: str) -> None:
    """Raises UserError where the rows of a finished file say other settings than these."""
    theirs = _settings_of(out, form)
    if theirs is not None and theirs != settings:
        expected = f"scores of {settings or 'the model as it is'} in {out}"
        raise UserError(expected, theirs or "the model as it is", f"{ANEW} with another --out")


def _settings_of(out: Path, form: str) -> str | None:
    """What a finished file's first row says; None of a file without rows, of a table and of another content."""
    first: Any = None
    try:
        if form == "parquet":
            first = next(iter(_parquet()[1].ParquetFile(out).iter_batches(1)), None)
            first = first.to_pylist()[0] if first is not None else None
        elif form == "csv":
            with out.open(newline="", encoding="utf-8", errors="replace") as file:
                first = next(csv.DictReader(file), None)
        elif form in ("json", "jsonl"):
            with out.open("rb") as file:
                first = json.loads(file.readline())
    except (ValueError, csv.Error):  # pyarrow's errors are ValueErrors
        return None
    return (first.get("settings") or "") if isinstance(first, dict) else None


def partial_path(out: Path) -> Path:
    """Where the rows of an unfinished run are: scores.csv -> scores.csv.partial."""
    return out.with_name(f"{out.name}.partial")


def _to_stdout(rows: Iterable[Row], origin: Origin, form: str) -> Tally:
    row_format, tally = LINE_FORMATS[form], Tally()
    _print(row_format.head(origin))
    try:
        for row in rows:
            _print(row_format.line(row, origin))
            tally.add(row)
    except KeyboardInterrupt as error:
        raise type(error)(f"the rows of {tally.images} images were written") from error
    return tally


def _object_to_stdout(rows: Iterable[Row], origin: Origin) -> Tally:
    """One object at the end; of an interrupted run too, which it says."""
    tally, results = Tally(), []
    try:
        for row in rows:
            tally.add(row)
            results += [scored_row(row)] if row.score is not None else []
    except KeyboardInterrupt as error:
        _print(json_object(results, tally, origin, interrupted=True))
        raise type(error)(f"the rows of {tally.images} images were written") from error
    _print(json_object(results, tally, origin))
    return tally


def _to_file(
    rows: Iterable[Row], origin: Origin, form: str, out: Path, unfinished: Unfinished | None
) -> Tally:
    partial, row_format = partial_path(out), LINE_FORMATS[LINES.get(form, form)]
    if form == "parquet":
        _parquet()  # which says what is missing before any work
    if unfinished is None and refuse_other(partial):
        cli.note(f"the rows of an unfinished run in {printable(str(partial))} are replaced")
    tally, whole = (unfinished.tally, unfinished.bytes) if unfinished else (Tally(), 0)
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileIO(partial, "r+" if unfinished else "w") as file:
        try:
            file.truncate(whole)
            file.seek(whole)
            if not whole:
                _write_all(file, row_format.head(origin))
            for row in rows:
                _write_all(file, row_format.line(row, origin))
                tally.add(row)
                whole = file.tell()
        except BaseException as error:
            _keep(file, partial, whole)
            if tally.images:
                _say_where(error, f"the rows of {tally.images} images are in {partial}")
            raise
    _finish(partial, tally, origin, form, out)
    return tally


def _finish(partial: Path, tally: Tally, origin: Origin, form: str, out: Path) -> None:
    """Gives the file of all rows its name, or makes the object or the Parquet file of it."""
    if form == "json":
        with partial.open("rb") as file:
            results = [_result(line, origin) for line in map(json.loads, file) if line["score"] is not None]
        cli.write_text(out, json_object(results, tally, origin))
    elif form == "parquet":
        with partial.open("rb") as file, cli.atomic(out) as temporary:
            _write_parquet(map(json.loads, file), origin, temporary)
    else:
        put(partial, out)
        return
    partial.unlink()


def _result(line: dict[str, Any], origin: Origin) -> dict[str, Any]:
    """A row of JSON lines without what the object around it says."""
    return {name: value for name, value in line.items() if name != "note" and name not in origin.fields}


def _write_parquet(lines: Iterator[dict[str, Any]], origin: Origin, path: Path) -> None:
    """Row groups of ROW_GROUP, so that a reader of ten million rows needs the memory of few."""
    pa, parquet = _parquet()
    schema = pa.schema([
        ("image", pa.string()), ("score", pa.float64()), ("reason", pa.string()), ("probability", pa.float64()),
        ("reasons", pa.map_(pa.string(), pa.float64())), ("full_size_share", pa.float64()), ("error", pa.string()),
        ("note", pa.string()), ("model", pa.string()), ("model_sha256", pa.string()), ("version", pa.string()),
    ])  # fmt: skip
    if gives_votes(origin.spec.name):
        schema = schema.append(pa.field("votes", pa.list_(pa.float64())))
        schema = schema.append(pa.field("at_least", pa.float64()))
    if origin.settings:
        schema = schema.append(pa.field("settings", pa.string()))
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(lines, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist([_cells(line, origin) for line in group], schema))


def _cells(line: dict[str, Any], origin: Origin) -> dict[str, Any]:
    r"""A row of a Parquet file; a byte of a name that is no UTF-8 is written `\udcff`, as in CSV."""
    reasons = line.get("reasons", {})
    reason, probability = next(iter(reasons.items()), (None, None))
    name = line["image"].encode("utf-8", "backslashreplace").decode()
    return {"model": origin.spec.name, **line, "image": name, "reasons": list(reasons.items()),
            "reason": reason, "probability": probability}  # fmt: skip


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise UserError("pyarrow for Parquet", "no such package", install_command("batch")) from error
    return pyarrow, parquet


def _json_rows(file: Iterable[bytes], origin: Origin) -> Iterator[tuple[Row, dict[str, str], int]]:
    """(row, what it says of the model, where it ends) of the whole lines of JSON."""
    end = 0
    for line in file:
        end += len(line)
        if not line.endswith(b"\n"):
            return
        try:
            cells = json.loads(line)
            row = Row(cells["image"], cells["score"], cells.get("error", ""))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError("rows of this command to resume", repr(line[:80]), ANEW) from error
        names = (*origin.fields, *(("settings",) if "settings" in cells else ()))
        yield row, {name: str(cells.get(name, "")) for name in names}, end


def _csv_rows(file: Iterable[bytes], origin: Origin) -> Iterator[tuple[Row, dict[str, str], int]]:
    """The same of CSV, whose rows may have several lines; nothing where the columns are others."""
    consumed = [0]

    def lines() -> Iterator[str]:
        for line in file:
            if line.endswith(b"\n"):
                consumed[0] += len(line)
                yield line.decode("utf-8", "replace")

    names = csv_head(origin).rstrip("\n").split(",")
    reader = csv.reader(lines())
    head = next(reader, names)
    for values in reader if head == names else [head]:
        if len(values) != len(names) or head != names:
            if next(reader, None) is None and head == names:
                return  # a row of several lines, half there
            raise UserError(f"rows of {', '.join(names)} to resume", ", ".join(values)[:80], ANEW)
        cells = dict(zip(names, values, strict=True))
        try:
            score = float(cells["score"]) if cells["score"] else None
        except ValueError as error:
            raise UserError("a score in each row to resume", repr(cells["score"][:80]), ANEW) from error
        row = Row(csv_name(cells["image"]), score, csv_name(cells["error"]))
        yield row, {name: csv_name(cells[name]) for name in origin.fields}, consumed[0]


def _listed(fields: Mapping[str, str]) -> str:
    """The model's hash is shortened; of rows without settings, that is said by nothing."""
    shown = (value[:12] if name == "model_sha256" else value for name, value in fields.items())
    return " ".join(shown) or "an unnamed model"


def _keep(file: FileIO, partial: Path, whole: int) -> None:
    """Cuts a row that is half there; without any row, nothing stays."""
    if whole:
        file.truncate(whole)
    else:
        partial.unlink()


def _say_where(error: BaseException, words: str) -> None:
    """Raises the same error ending in `words`, where it is one that becomes a line for people."""
    if isinstance(error, KeyboardInterrupt):
        raise type(error)(words) from error
    if isinstance(error, UserError):
        raise UserError(error.expected, error.actual, f"{error.todo}; {words}") from error
    if isinstance(error, OSError):
        raise OSError(f"{error}; {words}") from error


def _write_all(file: FileIO, text: str) -> None:
    """Unbuffered, so that a kill or a full disk loses no row that was made."""
    content = text.encode("utf-8", "backslashreplace")
    while content:
        content = content[file.write(content) or 0 :]


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
