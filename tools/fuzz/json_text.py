"""JSON made wrong: a value of another type, an extreme number, a key gone or there twice, and what is no JSON."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tools.fuzz.damage import Mutation, damage, tried

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 64.0, 0.5, 1e9, 1e308, -1e308, 2**31, 2**63, 2**64, 10**30, "", "512", "true",
    "NaN", "a" * 70_000, "a\nb", "\x1b[31mred", "\\u000a", "\0", "\ud800", "$x$ $", "=1+1", "../../x", "/etc/passwd",
    "<b>&amp;", [], [[]], {}, [None], [1, 2, 3], {"a": 1},
)  # fmt: skip
RAW = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 6000, "-" + "9" * 20, "01", "0x10", "'a'", "[" * 400 + "]" * 400,
       '{"a":' * 300 + "1" + "}" * 300, "1e-400", "tru", "")  # fmt: skip

Place = tuple[Any, Any]  # a container and the key or index of one of its values


def mutated_json(content: bytes, rng: random.Random) -> Mutation:
    """One mutation of a JSON text; blind damage where it is no JSON any more."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return damage(content, rng)
    name = rng.choice(list(OPERATIONS))
    places = list(_places(value))
    if not places:
        return damage(content, rng)
    container, key = rng.choice(places)
    return tried(
        lambda _, rng: (OPERATIONS[name](value, container, key, rng), f"{name} at {key!r}"[:120]),
        content,
        rng,
    )


def _places(value: Any) -> Iterator[Place]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _value(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    container[key] = rng.choice(VALUES)
    return _written(value)


def _scaled(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    """A number a little or far off; what is no number becomes one."""
    number = container[key] if isinstance(container[key], int | float) else 1
    container[key] = rng.choice(
        (-number, number + 1, number - 1, number * 1000, number / 3, float(number), str(number))
    )
    return _written(value)


def _raw(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    """Text that json.dumps would not write."""
    container[key] = "@RAW@"
    return _written(value).replace(b'"@RAW@"', rng.choice(RAW).encode())


def _gone(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    del container[key]
    return _written(value)


def _renamed(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    if isinstance(container, dict):
        container[rng.choice(("", "x", f"{key} ", str(key).upper(), "__class__", "\n"))] = container.pop(key)
    return _written(value)


def _added(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    if isinstance(container, dict):
        container[rng.choice(("extra", "self", "schema", ""))] = rng.choice(VALUES)
    else:
        container.insert(key, rng.choice(VALUES))
    return _written(value)


def _twice(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    """A key that stands twice, or an element."""
    if isinstance(container, list):
        container.insert(key, container[key])
        return _written(value)
    container["@TWICE@"] = rng.choice((container[key], *VALUES))
    return _written(value).replace(b'"@TWICE@"', json.dumps(key).encode())


def _wrapped(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    container[key] = rng.choice(([container[key]], {"value": container[key]}, str(container[key])))
    return _written(value)


def _whole(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    """Another value in place of the whole."""
    return rng.choice((_written([value]), *(_written(v) for v in VALUES), *(raw.encode() for raw in RAW)))


def _encoded(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    """Another encoding, a mark of byte order, a tail."""
    text = json.dumps(value)
    plain = text.encode()
    others = (b"\xef\xbb\xbf" + plain, plain + b"\0", b"\xff" + plain, plain * 2)
    return rng.choice((text.encode("utf-16"), text.encode("utf-32"), *others))


def _damaged(value: Any, container: Any, key: Any, rng: random.Random) -> bytes:
    return damage(_written(value), rng)[0]


def _written(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


OPERATIONS: dict[str, Callable[[Any, Any, Any, random.Random], bytes]] = {
    "another value": _value, "another number": _scaled, "no JSON": _raw, "gone": _gone, "renamed": _renamed,
    "added": _added, "twice": _twice, "wrapped": _wrapped, "another whole": _whole, "another encoding": _encoded,
    "damaged": _damaged,
}  # fmt: skip
