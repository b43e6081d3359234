"""Facts as an expression of a language: nested dataclasses become constructors, tuples lists, strings literals.

A dataclass is declared in each platform's sources with the same name and fields in the same order; Swift also names
them. How a string, a number and a name become source is languages.py's. Java has no expressions of its own: it calls
what is written in Kotlin.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convert.snippets.languages import LANGUAGES, Language, number, word


@dataclass(frozen=True)
class Syntax:
    """How a language writes lists of expressions and constructors of (name, [(field, expression)...])."""

    language: Language
    sequence: Callable[[list[str]], str]
    constructor: Callable[[str, list[tuple[str, str]]], str]


def _positional(name: str, fields: list[tuple[str, str]]) -> str:
    return f"{name}({', '.join(value for _, value in fields)})"


def _labelled(name: str, fields: list[tuple[str, str]]) -> str:
    return f"{name}({', '.join(f'{_camel(field)}: {value}' for field, value in fields)})"


def _braces(name: str, fields: list[tuple[str, str]]) -> str:
    return f"{name}{{{', '.join(value for _, value in fields)}}}"


SYNTAX = {
    "kotlin": Syntax(LANGUAGES["kotlin"], lambda items: f"listOf({', '.join(items)})", _positional),
    "swift": Syntax(LANGUAGES["swift"], lambda items: f"[{', '.join(items)}]", _labelled),
    "c++": Syntax(LANGUAGES["c++"], lambda items: f"{{{', '.join(items)}}}", _braces),
}


def expression(value: Any, syntax: Syntax) -> str:
    """`value` in a language. Raises UserError for text and numbers that no source can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f.name, expression(getattr(value, f.name), syntax)) for f in dataclasses.fields(value)]
        return syntax.constructor(word(type(value).__name__), fields)
    if isinstance(value, tuple):
        return syntax.sequence([expression(each, syntax) for each in value])
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return number(value) if isinstance(value, float) else syntax.language.literal(value)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
