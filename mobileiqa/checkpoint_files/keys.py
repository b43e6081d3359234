"""Published key names <-> own key names (no torch).

Each model file lists its own prefix -> published prefix; here they are applied to whole state dicts. Renaming
touches names only: tensors pass through untouched.
"""

from collections.abc import Iterable


def rename(key: str, prefixes: dict[str, str]) -> str | None:
    """`key` with its longest matching prefix replaced, or None when no prefix matches."""
    matching = [p for p in prefixes if key.startswith(p)]
    if not matching:
        return None
    longest = max(matching, key=len)
    return prefixes[longest] + key[len(longest) :]


def to_published(keys: Iterable[str], prefixes: dict[str, str]) -> dict[str, str]:
    """own key -> published key. Raises KeyError for a key that the table does not cover."""
    table = {key: rename(key, prefixes) for key in keys}
    uncovered = [key for key, name in table.items() if name is None]
    if uncovered:
        raise KeyError(f"no published name for {uncovered[:3]}")
    return {key: name for key, name in table.items() if name is not None}
