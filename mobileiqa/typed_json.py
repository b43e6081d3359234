"""JSON that came from outside, read into frozen dataclasses: the one door for metadata, sidecars and specs.

`parse` bounds what Python's own reader does not: bytes, depth, digits of an integer; NaN, Infinity and a key that
stands twice are no JSON here. `decode` checks every field against the dataclass's own annotations, so that no
value of another type ever reaches the code behind it: True is no integer, "512" no flag, 64.0 no size.
"""

import dataclasses
import json
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from mobileiqa.errors import UserError

T = TypeVar("T")

MAX_BYTES = 64 << 20
MAX_DEPTH = 32
MAX_DIGITS = 18  # every such integer fits 64 bits
MAX_TEXT = 65_536  # characters of one string field


@dataclasses.dataclass(frozen=True)
class Check:
    """What a field's values must be besides their type, in words and as a test: `metadata={"check": Check(...)}`."""

    words: str
    accepts: Callable[[Any], bool]


Limits = Mapping[str, Any]  # a field's metadata
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TODO = "copy or write the file again"


def parse(content: bytes | str, source: str, todo: str = _TODO, max_digits: int = MAX_DIGITS) -> Any:
    """The JSON value in `content`. Raises UserError, naming `source`, for anything else or out of bounds."""

    def integer(text: str) -> int:
        if (digits := len(text.lstrip("-"))) > max_digits:
            raise ValueError(f"an integer of {digits} digits, more than {max_digits}")
        return int(text)

    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        if len(text) > MAX_BYTES:
            raise ValueError(f"{len(text)} characters")
        if (depth := _depth(text)) > MAX_DEPTH:
            raise ValueError(f"{depth} levels of nesting, more than {MAX_DEPTH}")
        return json.loads(
            text, parse_int=integer, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"JSON in {source}", shortened(str(error)), todo) from error


def content_of(path: Path) -> bytes:
    """A file's bytes for `parse`, which refuses more than MAX_BYTES: no more than that is read. Raises OSError."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def parse_object(content: bytes | str, source: str, todo: str = _TODO) -> dict[str, Any]:
    """The JSON object in `content`. Raises UserError as `parse` does, and for another value."""
    value = parse(content, source, todo)
    if not isinstance(value, dict):
        raise UserError(f"a JSON object in {source}", _shown(value), todo)
    return value


def decode(cls: type[T], value: Any, source: str, todo: str = _TODO, where: str = "") -> T:
    """`value`, as `parse` gives it, as the dataclass `cls`; fields with defaults may be absent, none may be extra.

    A field's type is str, int, float, bool, a StrEnum, another dataclass, `X | None`, tuple[X, ...], tuple[X, Y],
    list[X], dict[str, X] or Any. Its metadata say more: "range" (low, high) of a number, "check" a Check (of a tuple:
    each), "least" values of a tuple or list. `where` is the value's own place in `source`.
    A UserError of the class's own __post_init__ is passed on. Raises UserError, naming `source` and the field.
    """
    try:
        return _dataclass(cls, value, where)
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{cls.__name__} as this version writes it, in {source}", shortened(str(error)), todo
        ) from error


def conform(instance: Any) -> None:
    """Checks the fields of a frozen dataclass as `decode` does, in its __post_init__; strings become StrEnums.

    Raises TypeError or ValueError, naming the field.
    """
    hints = _hints(type(instance))
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        typed = _typed(hints[field.name], value, field.name, field.metadata)
        object.__setattr__(instance, field.name, typed)


def known(cls: type, value: Any) -> Any:
    """`value` without the fields that `cls` does not have, for `decode` of what newer versions may add to."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {k: v for k, v in value.items() if k in names} if isinstance(value, dict) else value


def shortened(text: str, characters: int = 300) -> str:
    """`text`, its middle left out where it is longer: an error stays readable whatever the file holds."""
    if len(text) <= characters:
        return text
    return f"{text[: characters // 2]}...{text[-characters // 2 :]}"


def _depth(text: str) -> int:
    """The deepest nesting of brackets outside strings."""
    deepest = depth = 0
    for character in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if character in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shortened(text, 40)}, which no float64 holds")
    return value


def _constant(text: str) -> Any:
    raise ValueError(f"{text}, which is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _dataclass(cls: type[T], value: Any, where: str) -> T:
    if not isinstance(value, dict):
        raise TypeError(f"{where or cls.__name__}: {_shown(value)}, expected an object")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    if unknown := sorted(set(value) - set(fields)):
        raise ValueError(f"{prefix}{shortened(unknown[0], 60)}: no such field")
    required = (f.name for f in fields.values() if _is_required(f))
    if missing := [name for name in required if name not in value]:
        raise ValueError(f"{prefix}{missing[0]}: missing")
    hints = _hints(cls)
    arguments = {
        name: _typed(hints[name], content, f"{prefix}{name}", fields[name].metadata)
        for name, content in value.items()
    }
    try:
        return cls(**arguments)
    except UserError as error:  # of the class's own __post_init__, which does not know where it is
        if not where:
            raise
        raise ValueError(f"{where}: {error.actual}, expected {error.expected}") from error


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _typed(hint: Any, value: Any, where: str, limits: Limits) -> Any:
    """`value` as the annotation `hint` has it. Raises TypeError or ValueError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, where, limits)
    if origin in (tuple, list):
        return _sequence(origin, arguments, value, where, limits)
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(f"{where}: {_shown(value)}, expected an object")
        return {
            key: _typed(arguments[1], content, f"{where}.{key}", limits) for key, content in value.items()
        }
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value  # it checked itself
        return _dataclass(hint, value, where)  # type: ignore[arg-type]
    return value if hint is Any else _scalar(hint, value, where, limits)


def _union(hints: tuple[Any, ...], value: Any, where: str, limits: Limits) -> Any:
    if value is None and type(None) in hints:
        return None
    errors: list[Exception] = []
    for hint in (hint for hint in hints if hint is not type(None)):
        try:
            return _typed(hint, value, where, limits)
        except (TypeError, ValueError) as error:
            errors.append(error)
    raise errors[0]


def _sequence(kind: type, hints: tuple[Any, ...], value: Any, where: str, limits: Limits) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{where}: {_shown(value)}, expected a list")
    each = hints[:1] * len(value) if kind is list or hints[-1] is Ellipsis else hints
    if len(each) != len(value):
        raise ValueError(f"{where}: {len(value)} values, expected {len(each)}")
    if len(value) < limits.get("least", 0):
        raise ValueError(f"{where}: {len(value)} values, expected at least {limits['least']}")
    parts = zip(each, value, strict=True)
    return kind(_typed(hint, part, f"{where}[{i}]", limits) for i, (hint, part) in enumerate(parts))


def _scalar(hint: Any, value: Any, where: str, limits: Limits) -> Any:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if not isinstance(value, str) or value not in tuple(hint):
            raise ValueError(f"{where}: {_shown(value)}, expected one of {', '.join(hint)}")
        return hint(value)
    accepted = (int, float) if hint is float else (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"{where}: {_shown(value)}, expected {hint.__name__}")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise ValueError(f"{where}: {len(value)} characters, more than {MAX_TEXT}")
    if hint is float and not abs(value) <= sys.float_info.max:  # an integer may be larger than any float
        raise ValueError(f"{where}: {_shown(value)}, expected a finite number")
    low, high = limits.get("range") or (-math.inf, math.inf)
    if hint in (int, float) and not low <= value <= high:
        shown = f"{value:g}" if abs(value) <= sys.float_info.max else _shown(value)
        raise ValueError(f"{where}: {shown}, expected {low:g}..{high:g}")
    if (check := limits.get("check")) and not check.accepts(value):
        raise ValueError(f"{where}: {_shown(value)}, expected {check.words}")
    return float(value) if hint is float else value


def _shown(value: Any) -> str:
    """A value in an error: its JSON type and as much of it as stays readable."""
    names = {dict: "an object", list: "a list", tuple: "a list", type(None): "null"}
    return names.get(type(value)) or shortened(repr(value), 60)
