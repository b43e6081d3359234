r"""The rows of mobileiqa.score: what one holds, what they come to, and each as a line of a table, CSV or JSON.

A table shows what cannot be printed as `\x1b`; in CSV and JSON, which are UTF-8, a byte that is no UTF-8 is `\udc80` to
`\udcff`, as in Python's own strings (`os.fsencode` gives the byte back), and a cell of CSV that a spreadsheet would
compute begins with "'".
"""

import json
import math
import tomllib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from mobileiqa.preprocess import what_is_read
from mobileiqa.spec import ModelSpec
from mobileiqa.text import csv_text, printable

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"  # of a checkout that is not installed
FORMATS = ("table", "csv", "json", "jsonl")
FIRST = 1000  # photos that are looked at where all scores are the same


def version() -> str:
    """Of mobileiqa, as it is installed or as its checkout says."""
    try:
        return metadata.version("mobileiqa")
    except metadata.PackageNotFoundError:
        with PYPROJECT.open("rb") as file:
            return tomllib.load(file)["project"]["version"]


@dataclass(frozen=True)
class Row:
    """One image's score, or why it has none; what the model says of it, and how much of the photo it read."""

    image: str
    score: float | None
    error: str = ""
    reasons: Mapping[str, float] = field(default_factory=dict)  # name -> probability, the likeliest first
    full_size_share: float | None = None  # of the photo's pixels, read unreduced
    votes: tuple[float, ...] = ()  # predicted shares of the votes 1 to 5
    at_least: float | None = None  # quality that all viewers but a share see at least, on the votes' scale

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
    model_sha256: str = ""  # of its file
    version: str = ""  # of mobileiqa
    quantile: float | None = None  # the share of Row.at_least; None: not asked for
    settings: str = ""  # how the model was run, where that is not its own way: "color_space=hsv; tta"

    @property
    def fields(self) -> dict[str, str]:
        """What every row says of the model and how it was run, since rows get copied around."""
        model = {"model": self.spec.name, "model_sha256": self.model_sha256, "version": self.version}
        return (model if self.model_sha256 else {}) | ({"settings": self.settings} if self.settings else {})


@dataclass
class Tally:
    """What the rows come to, without the rows: ten million are scored in the memory of one."""

    images: int = 0
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    failed: list[Row] = field(default_factory=list)
    first: list[str] = field(default_factory=list)  # photos that have a score, FIRST at most

    def add(self, row: Row) -> None:
        """Counts a row."""
        self.images += 1
        if row.score is None:
            self.failed.append(row)
            return
        self.scores.append(row.score)
        if len(self.first) < FIRST:
            self.first.append(row.image)


@dataclass(frozen=True)
class Format:
    """How a stream of rows begins, and each of them as a line."""

    head: Callable[[Origin], str]
    line: Callable[[Row, Origin], str]


def summary(tally: Tally, origin: Origin) -> dict[str, Any]:
    """The last line: the model, counts, the mean, and what has no score."""
    scored = len(tally.scores)
    return {
        "model": origin.spec.name,
        "runtime": origin.runtime,
        "note": origin.note,
        "reads": what_is_read(origin.spec),
        "score_range": origin.spec.score_range,
        "higher_is_better": origin.spec.higher_is_better,
        "images": tally.images,
        "scored": scored,
        "mean": math.fsum(tally.scores) / scored if scored else None,
        "failed": [{"image": row.image, "error": row.error} for row in tally.failed],
        "left_out": dict(origin.left_out),
        **{name: value for name, value in origin.fields.items() if name != "model"},
        **({"quantile": origin.quantile} if origin.quantile is not None else {}),
    }


def json_object(results: list[dict[str, Any]], tally: Tally, origin: Origin, **more: bool) -> str:
    """One compact object: the summary and the results."""
    return _compact({**summary(tally, origin), **more, "results": results}) + "\n"


def _table_head(origin: Origin) -> str:
    low, high = origin.spec.score_range
    better = "higher" if origin.spec.higher_is_better else "lower"
    lines = [
        f"{origin.spec.name}: score {low:g}..{high:g}, {better} is better; reads {what_is_read(origin.spec)}"
    ]
    lines += [origin.note] if origin.note else []
    if origin.quantile is not None:
        lines.append(f"{1 - origin.quantile:.0%} of the viewers see at least this, 1 bad to 5 excellent:")
    quantile = f"{'at least':>10}" if origin.quantile is not None else ""
    return "\n".join([*lines, f"{'score':>9}{quantile}{_reason_column('reason', origin)}  image"]) + "\n"


def _table_line(row: Row, origin: Origin) -> str:
    name, probability = row.reason
    reason = f"{name} ({probability:.2f})" if probability is not None else ""
    score = "-" if row.score is None else format(row.score, ".4f")
    quantile = f"{'-' if row.at_least is None else format(row.at_least, '.3f'):>10}"
    quantile = quantile if origin.quantile is not None else ""
    return f"{score:>9}{quantile}{_reason_column(reason, origin)}  {printable(row.image)}\n"


def _reason_column(text: str, origin: Origin) -> str:
    """`text` as wide as the longest reason with its probability; empty for a model that gives none."""
    width = max(map(len, origin.spec.reasons), default=-9) + len(" (0.00)")
    return f"  {text:<{width}}" if origin.spec.reasons else ""


def csv_head(origin: Origin) -> str:
    """The line of column names."""
    quantile = ["at_least"] if origin.quantile is not None else []
    columns = ["image", "score", *quantile, *(("reason", "probability") if origin.spec.reasons else ())]
    return ",".join([*columns, "error", "note", *origin.fields]) + "\n"


def _csv_line(row: Row, origin: Origin) -> str:
    """Every row says when the weights are untrained, since rows get copied around."""
    reason = row.reason if origin.spec.reasons else ()
    quantile = (row.at_least,) if origin.quantile is not None else ()
    cells = (row.image, row.score, *quantile, *reason, row.error, origin.note, *origin.fields.values())
    return csv_text([cells])


def _json_line(row: Row, origin: Origin) -> str:
    note = {**({"note": origin.note} if origin.note else {}), **origin.fields}
    if row.score is None:
        return _compact({"image": row.image, "score": None, "error": row.error, **note}) + "\n"
    return _compact({**scored_row(row), **note}) + "\n"


def scored_row(row: Row) -> dict[str, Any]:
    """A scored image in JSON."""
    more = {
        "reasons": row.reasons,
        "full_size_share": row.full_size_share,
        "votes": row.votes,
        "at_least": row.at_least,
    }
    return {
        "image": row.image,
        "score": row.score,
        **{k: v for k, v in more.items() if v not in (None, {}, ())},
    }


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


LINE_FORMATS = {
    "table": Format(_table_head, _table_line),
    "csv": Format(csv_head, _csv_line),
    "jsonl": Format(lambda origin: "", _json_line),
}
