"""The JSON of benchmark results as literal tables, and the one function that checks a value against them.

docs/bench.md explains the fields. A JSON-Schema library would be a dependency for two tables; this checker is
stricter in the ways that matter here: numbers must be finite, unknown fields are errors, and every error names
the field by its path.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from android_bench.errors import InputError

BY_HAND = "by hand"
SIZE = re.compile(r"(?:(?P<batch>[1-9]\d{0,5})x)?(?P<width>[1-9]\d{0,5})x(?P<height>[1-9]\d{0,5})")


@dataclass(frozen=True)
class Kind:
    """A leaf of a table: what a value must be, in words and as a test."""

    words: str
    accepts: Callable[[Any], bool]


def _number(value: Any) -> bool:
    """A finite JSON number; integers beyond 2**53 are no measurement, and overflow a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 2**53 and math.isfinite(value)


def _whole(value: Any, lowest: int) -> bool:
    return isinstance(value, int) and _number(value) and value >= lowest


def _text(value: Any) -> bool:
    """Printable, so that it can stand in any output: XML takes no control characters, UTF-8 no lone surrogate."""
    return isinstance(value, str) and value.isprintable() and len(value) <= 4096


TEXT = Kind("a printable text that is not empty", lambda value: _text(value) and bool(value.strip()))
MAYBE_TEXT = Kind("a printable text", _text)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number from 1", lambda value: _whole(value, 1))
WHOLE = Kind("a whole number from 0", lambda value: _whole(value, 0))
MASK = Kind(
    "a whole number from 0", lambda value: type(value) is int and value >= 0
)  # one bit per CPU: any size
NUMBER = Kind("a finite number", _number)
AMOUNT = Kind("a finite number from 0", lambda value: _number(value) and value >= 0)
# Wide enough for any measurement, and narrow enough that a quotient of two is a number.
TIME = Kind("a time from 1e-6 to 1e9 ms", lambda value: _number(value) and 1e-6 <= value <= 1e9)
SHA256 = Kind(
    "64 hex digits", lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))
)
PRECISION = Kind("'file' or 'fp16'", lambda value: value in ("file", "fp16"))
PIXELS = Kind(
    "a size such as '317x205', width first, or '25x224x224' for a batch of 25",
    lambda value: isinstance(value, str) and bool(SIZE.fullmatch(value)),
)

MAYBE_NUMBER = Kind("a finite number or null", lambda value: value is None or _number(value))
MAYBE_PERCENT = Kind(
    "a whole number to 100, or null", lambda value: value is None or (_whole(value, 0) and value <= 100)
)
MAYBE_WORD = Kind("a printable text or null", lambda value: value is None or _text(value))

# A dict lists the fields of an object, "?" behind the optional ones; a list is an array:
# of what comes first in it, at least as many as the number behind it.
EVIDENCE = {
    "preemptions": WHOLE,
    "pace_before_ms": TIME,
    "pace_after_ms": TIME,
    "workers": WHOLE,
    "wait_ms?": AMOUNT,
    "init_wait_ms?": AMOUNT,
    "steal_ms?": AMOUNT,
}
LAUNCH = {
    "cpus": [WHOLE, 1],
    "init_ms": TIME,
    "first_ms": TIME,
    "run_ms": [TIME, 1],
    "rss_after_import_mb": AMOUNT,
    "peak_rss_mb": AMOUNT,
    "delegate_kernels": WHOLE,
    "evidence?": EVIDENCE,
}
CONFIG = {
    "threads": COUNT,
    "cpu_mask": MASK,
    "warmup_runs": WHOLE,
    "runs": COUNT,
    "launches": COUNT,
    "precision": PRECISION,
    "use_xnnpack": FLAG,
    "cooldown_s": AMOUNT,
    "seed": WHOLE,
}
DEVICE = {"kind": TEXT, "cpu": TEXT, "cores": COUNT, "platform": TEXT, "fp16_hardware": FLAG}
CONDITION = {
    "battery_percent": MAYBE_PERCENT,
    "battery_c": MAYBE_NUMBER,
    "skin_c": MAYBE_NUMBER,
    "thermal_status": MAYBE_WORD,
}
PHONE = {"soc": TEXT, "android": TEXT, "governor": MAYBE_TEXT, "before": CONDITION, "after": CONDITION}
_TIMES = ("init", "first", "mean", "median", "p5", "p95", "min", "max")
SUMMARY = {
    "size_mb": AMOUNT,
    **{f"{name}_ms": AMOUNT for name in _TIMES},  # rounded: a tiny time may be 0
    "std_ms": AMOUNT,
    "peak_memory_mb": NUMBER,
    "delegate_kernels": WHOLE,
}
MEASURED_RESULT = {
    "file": TEXT,
    "artifact_sha256": SHA256,
    "size_bytes": COUNT,
    "fp16_capable": FLAG,
    "config": CONFIG,
    "device": DEVICE,
    "runtime": TEXT,
    "launches": [LAUNCH, 1],
    "input_shapes?": [[COUNT]],
    "input_types?": [TEXT],
    "signature?": MAYBE_TEXT,
    "file_precision?": MAYBE_TEXT,
    "phone?": PHONE,
    "repeated?": WHOLE,
    "summary": SUMMARY,
}
BY_HAND_RESULT = {
    "source": Kind(f"'{BY_HAND}'", lambda value: value == BY_HAND),
    "model": TEXT,
    "size": PIXELS,
    "precision": TEXT,
    "device": TEXT,
    "mean_ms": TIME,
    "runs": COUNT,
    "note?": TEXT,
}


def check(value: Any, table: Any, where: str) -> None:
    """Raises InputError, with the path of the field, at the first thing in `value` that `table` does not allow."""
    if isinstance(table, Kind):
        if not table.accepts(value):
            raise _error(where, table.words, _short(value))
    elif isinstance(table, list):
        if not isinstance(value, list):
            raise _error(where, "an array", _short(value))
        if len(value) < sum(table[1:]):
            raise _error(where, f"an array of at least {table[1]}", f"{len(value)}")
        for index, item in enumerate(value):
            check(item, table[0], f"{where}[{index}]")
    else:
        _check_object(value, table, where)


def _check_object(value: Any, table: dict[str, Any], where: str) -> None:
    if not isinstance(value, dict):
        raise _error(where, "an object", _short(value))
    names = {name.removesuffix("?"): name for name in table}
    for name in value:
        if name not in names:
            raise _error(f"{where}.{name}", f"only the fields {', '.join(names)}", "another one")
    for name, entry in names.items():
        if name in value:
            check(value[name], table[entry], f"{where}.{name}")
        elif not entry.endswith("?"):
            raise _error(f"{where}.{name}", "this field", "nothing")


def _error(where: str, expected: str, actual: str) -> InputError:
    return InputError(
        f"at {where} {expected}", actual, "correct the file (docs/bench.md has the fields) or measure again"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
