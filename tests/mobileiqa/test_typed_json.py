"""typed_json: what is let through keeps its type; everything else is one UserError that names the field."""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from mobileiqa import typed_json
from mobileiqa.errors import UserError


class Shade(StrEnum):
    DARK = "dark"
    LIGHT = "light"


@dataclass(frozen=True)
class Inner:
    side_px: int = field(metadata={"range": (1, 8192)})


@dataclass(frozen=True)
class Outer:
    name: str
    inner: tuple[Inner, ...]
    scale: float = 1.0
    flag: bool = False
    pair: tuple[int, str] | None = None
    shade: Shade = Shade.DARK
    extra: dict[str, float] = field(default_factory=dict)


def decoded(value: Any) -> Outer:
    return typed_json.decode(Outer, value, "a.json")


def test_a_whole_object_keeps_its_types() -> None:
    value = {
        "name": "n",
        "inner": [{"side_px": 64}],
        "scale": 2,
        "flag": True,
        "pair": [1, "x"],
        "shade": "light",
        "extra": {"a": 1.5},
    }
    result = decoded(typed_json.parse(json.dumps(value), "a.json"))
    assert result == Outer("n", (Inner(64),), 2.0, True, (1, "x"), Shade.LIGHT, {"a": 1.5})
    assert type(result.scale) is float and type(result.shade) is Shade


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ["x"]}, "name: a list, expected str"),
        ({"name": None}, "name: null, expected str"),
        ({"inner": {"side_px": 64}}, "inner: an object, expected a list"),
        ({"inner": [{"side_px": 64.0}]}, "inner[0].side_px: 64.0, expected int"),
        ({"inner": [{"side_px": True}]}, "inner[0].side_px: True, expected int"),
        ({"inner": [{"side_px": 0}]}, "inner[0].side_px: 0, expected 1..8192"),
        ({"inner": [{"side_px": 10**9}]}, "inner[0].side_px: 1e+09, expected 1..8192"),
        ({"inner": [{}]}, "inner[0].side_px: missing"),
        ({"scale": "1"}, "scale: '1', expected float"),
        ({"scale": float("inf")}, "scale: inf, expected a finite number"),
        ({"scale": True}, "scale: True, expected float"),
        ({"flag": "512"}, "flag: '512', expected bool"),
        ({"flag": 1}, "flag: 1, expected bool"),
        ({"pair": [1]}, "pair: 1 values, expected 2"),
        ({"pair": ["x", 1]}, "pair[0]: 'x', expected int"),
        ({"shade": "grey"}, "shade: 'grey', expected one of dark, light"),
        ({"shade": []}, "shade: a list, expected one of dark, light"),
        ({"extra": {"a": "1"}}, "extra.a: '1', expected float"),
        ({"other": 1}, "other: no such field"),
        ({"name": "x" * 70_000}, "name: 70000 characters"),
    ],
)
def test_a_value_of_another_type_or_size_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        decoded({"name": "n", "inner": [], **change})
    assert words in str(error.value) and "a.json" in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "levels of nesting"),
        (b'{"a":' * 5_000, "levels of nesting"),
        (b'{"a": ' + b"9" * 6_000 + b"}", "an integer of 6000 digits"),
        (b'{"a": 1e999}', "no float64"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b"\xff\xfe{}", "utf-8"),
        (b"", "Expecting value"),
        (b'{"a": 1', "delimiter"),
    ],
)
def test_text_that_is_no_bounded_json_is_one_line(content: bytes, words: str) -> None:
    with pytest.raises(UserError) as error:
        typed_json.parse(content, "a.json")
    assert words in str(error.value) and "a.json" in str(error.value) and len(str(error.value)) < 600


def test_brackets_inside_strings_are_text() -> None:
    text = json.dumps({"a": "[" * 100 + '\\"{' * 50})
    assert json.loads(text) == typed_json.parse_object(text, "a.json")


def test_only_an_object_is_an_object() -> None:
    with pytest.raises(UserError, match=r"a JSON object in a\.json"):
        typed_json.parse_object("[1]", "a.json")
