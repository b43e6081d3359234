r"""The rows of mobileiqa.score, written as they are made: table, CSV, JSON lines, or one JSON object at the end.

Every row is flushed, so an interrupted run keeps what it has: on stdout as it stands, of `--out NAME` in
NAME.partial, which becomes NAME when the last row is there. A full disk leaves whole rows. NAME.partial of a `.json`
holds JSON lines. File names: a table shows what cannot be printed as `\x1b`; in CSV and JSON, which are UTF-8, a byte
that is no UTF-8 is `\udc80` to `\udcff`, as in Python's own strings (`os.fsencode` gives the byte back), and a cell of
CSV that a spreadsheet would compute begins with "'".
"""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.files.outputs import STREAM, put, refuse_other
from mobileiqa.preprocess import what_is_read
from mobileiqa.spec import ModelSpec
from mobileiqa.text import csv_text, printable

FORMATS = ("table", "csv", "json", "jsonl")


@dataclass(frozen=True)
class Row:
    """One image's score, or why it has none; what the model says of it, and how much of the photo it read."""

    image: str
    score: float | None
    error: str = ""
    reasons: Mapping[str, float] = field(default_factory=dict)  # name -> probability, the likeliest first
    full_size_share: float | None = None  # of the photo's pixels, read unreduced

    @property
    def reason(self) -> tuple[str, float | None]:
        """The likeliest reason and its probability; empty and None where there is none."""
        return next(iter(self.reasons.items()), ("", None))


@dataclass(frozen=True)
class Origin:
    """What made the scores: the spec, the runtime, what must be said of untrained weights, what was left out."""

    spec: ModelSpec
    runtime: str
    note: str
    left_out: Mapping[str, int] = field(default_factory=dict)  # pictures by reason


@dataclass(frozen=True)
class _Format:
    """How a stream of rows begins, and each of them as a line."""

    head: Callable[[Origin], str]
    line: Callable[[Row, Origin], str]


def write(rows: Iterable[Row], origin: Origin, form: str, out: Path | None) -> list[Row]:
    """Writes the rows as they come, to `out` or to stdout, and returns them. `form`: one of FORMATS.

    An interruption or an error says where the rows are that were made. Raises UserError where stdout is closed.
    """
    if out is not None and out != STREAM:
        return _to_file(rows, origin, form, out)
    if sys.stdout is None:
        raise UserError("an open stdout for the scores", "a closed one", "write them to a file with --out")
    return _object_to_stdout(rows, origin) if form == "json" else _to_stdout(rows, origin, form)


def partial_path(out: Path) -> Path:
    """Where the rows of an unfinished run are: scores.csv -> scores.csv.partial."""
    return out.with_name(f"{out.name}.partial")


def summary(rows: list[Row], origin: Origin) -> dict[str, Any]:
    """The last line: the model, counts, the mean, and what has no score."""
    scores = [row.score for row in rows if row.score is not None]
    return {
        "model": origin.spec.name,
        "runtime": origin.runtime,
        "note": origin.note,
        "reads": what_is_read(origin.spec),
        "score_range": origin.spec.score_range,
        "higher_is_better": origin.spec.higher_is_better,
        "images": len(rows),
        "scored": len(scores),
        "mean": math.fsum(scores) / len(scores) if scores else None,
        "failed": [{"image": row.image, "error": row.error} for row in rows if row.score is None],
        "left_out": dict(origin.left_out),
    }


def _to_stdout(rows: Iterable[Row], origin: Origin, form: str) -> list[Row]:
    row_format, written = _FORMATS[form], []
    _print(row_format.head(origin))
    try:
        for row in rows:
            _print(row_format.line(row, origin))
            written.append(row)
    except KeyboardInterrupt as error:
        raise type(error)(f"the rows of {len(written)} images were written") from error
    return written


def _object_to_stdout(rows: Iterable[Row], origin: Origin) -> list[Row]:
    """One object at the end; of an interrupted run too, which it says."""
    written = []
    try:
        for row in rows:
            written.append(row)
    except KeyboardInterrupt as error:
        _print(_object(written, origin, interrupted=True))
        raise type(error)(f"the rows of {len(written)} images were written") from error
    _print(_object(written, origin))
    return written


def _to_file(rows: Iterable[Row], origin: Origin, form: str, out: Path) -> list[Row]:
    partial, row_format, written = partial_path(out), _FORMATS["jsonl" if form == "json" else form], []
    if refuse_other(partial):
        cli.note(f"the rows of an unfinished run in {printable(str(partial))} are replaced")
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileIO(partial, "w") as file:
        whole = 0
        try:
            _write_all(file, row_format.head(origin))
            for row in rows:
                _write_all(file, row_format.line(row, origin))
                written.append(row)
                whole = file.tell()
        except BaseException as error:
            _keep(file, partial, whole)
            if written:
                _say_where(error, f"the rows of {len(written)} images are in {partial}")
            raise
    if form == "json":
        cli.write_text(out, _object(written, origin))
        partial.unlink()
    else:
        put(partial, out)
    return written


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


def _object(rows: list[Row], origin: Origin, **more: bool) -> str:
    """One compact object: the summary and the results."""
    results = [_scored(row) for row in rows if row.score is not None]
    return _compact({**summary(rows, origin), **more, "results": results}) + "\n"


def _table_head(origin: Origin) -> str:
    low, high = origin.spec.score_range
    better = "higher" if origin.spec.higher_is_better else "lower"
    lines = [
        f"{origin.spec.name}: score {low:g}..{high:g}, {better} is better; reads {what_is_read(origin.spec)}"
    ]
    lines += [origin.note] if origin.note else []
    return "\n".join([*lines, f"{'score':>9}{_reason_column('reason', origin)}  image"]) + "\n"


def _table_line(row: Row, origin: Origin) -> str:
    name, probability = row.reason
    reason = f"{name} ({probability:.2f})" if probability is not None else ""
    score = "-" if row.score is None else format(row.score, ".4f")
    return f"{score:>9}{_reason_column(reason, origin)}  {printable(row.image)}\n"


def _reason_column(text: str, origin: Origin) -> str:
    """`text` as wide as the longest reason with its probability; empty for a model that gives none."""
    width = max(map(len, origin.spec.reasons), default=-9) + len(" (0.00)")
    return f"  {text:<{width}}" if origin.spec.reasons else ""


def _csv_head(origin: Origin) -> str:
    return f"image,score,{'reason,probability,' if origin.spec.reasons else ''}error,note\n"


def _csv_line(row: Row, origin: Origin) -> str:
    """Every row says when the weights are untrained, since rows get copied around."""
    reason = row.reason if origin.spec.reasons else ()
    return csv_text([(row.image, row.score, *reason, row.error, origin.note)])


def _json_line(row: Row, origin: Origin) -> str:
    note = {"note": origin.note} if origin.note else {}
    if row.score is None:
        return _compact({"image": row.image, "score": None, "error": row.error, **note}) + "\n"
    return _compact({**_scored(row), **note}) + "\n"


def _scored(row: Row) -> dict[str, Any]:
    """A scored image in JSON."""
    more = {"reasons": row.reasons, "full_size_share": row.full_size_share}
    return {"image": row.image, "score": row.score, **{k: v for k, v in more.items() if v not in (None, {})}}


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


_FORMATS = {
    "table": _Format(_table_head, _table_line),
    "csv": _Format(_csv_head, _csv_line),
    "jsonl": _Format(lambda origin: "", _json_line),
}
