"""A strict lexer of Kotlin, Java, Swift and C++, as far as the snippets use them, for compilers that are not here.

Comments and strings are found by the languages' own rules: Java's unicode escapes and C++'s trigraphs and joined
lines first, nested comments in Kotlin and Swift, templates in Kotlin's and Swift's strings as code of their own.
"""

import re
from dataclasses import dataclass

NESTED = ("kotlin", "swift")
SIMPLE = {
    "kotlin": {"n": "\n", "t": "\t", "r": "\r", "b": "\b", '"': '"', "'": "'", "\\": "\\", "$": "$"},
    "java": {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "s": " ", '"': '"', "'": "'", "\\": "\\"},
    "swift": {"n": "\n", "t": "\t", "r": "\r", "0": "\0", '"': '"', "'": "'", "\\": "\\"},
    "c++": {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "?": "?", '"': '"', "'": "'", "\\": "\\"},
}
WORD = re.compile(r"\w+")
TRIGRAPHS = dict(zip("=/'()!<>-", "#\\^[]|{}~", strict=True))


@dataclass(frozen=True)
class Text:
    """A string literal's value; code inside it is one "{}" in `value`, its tokens in `code`."""

    value: str
    code: tuple = ()


def lex(source: str, language: str) -> list:
    """Tokens: words, single characters, Text, and "//" for a comment. Raises ValueError for what is no such source."""
    tokens, end = _lex(_translated(source, language), 0, language, "")
    assert end == -1
    return tokens


def shape(tokens: list) -> list:
    """The tokens without what strings and comments say."""
    return ["S" if isinstance(token, Text) and not token.code else
            ["S", *map(shape, token.code)] if isinstance(token, Text) else token for token in tokens]  # fmt: skip


def texts(tokens: list) -> list[str]:
    """The values of all plain strings."""
    return [token.value for token in tokens if isinstance(token, Text) and not token.code]


def _translated(source: str, language: str) -> str:
    if language == "java":  # JLS 3.3: behind an even number of backslashes
        return re.sub(r"(?<!\\)((?:\\\\)*)\\u+([0-9a-fA-F]{4})", lambda m: m[1] + chr(int(m[2], 16)), source)
    if language == "c++":
        source = re.sub(r"\?\?([=/'()!<>-])", lambda m: TRIGRAPHS[m[1]], source)
        return re.sub(r"\\[ \t]*\r?\n", "", source)
    return source


def _lex(source: str, at: int, language: str, closing: str) -> tuple[list, int]:
    """Tokens up to `closing`, and where it is; -1 at the source's end."""
    tokens, depth, opening = [], 0, {"}": "{", ")": "("}.get(closing, "")
    while at < len(source):
        if source.startswith("//", at):
            ends = [i for i in (source.find("\n", at), source.find("\r", at)) if i >= 0]
            tokens.append("//")
            at = min(ends, default=len(source))
        elif source.startswith("/*", at):
            tokens.append("//")
            at = _comment_end(source, at, language)
        elif source.startswith('"""', at):
            raise ValueError("a text block")
        elif source[at] == '"':
            text, at = _text(source, at + 1, language)
            tokens.append(text)
        elif source[at] == "'" and language != "swift":
            at = source.index("'", at + 2) + 1
            tokens.append("'")
        elif match := WORD.match(source, at):
            tokens.append(match[0])
            at = match.end()
        else:
            if closing and source[at] == closing and not depth:
                return tokens, at
            depth += (source[at] == opening) - (source[at] == closing)
            tokens += [] if source[at].isspace() else [source[at]]
            at += 1
    if closing:
        raise ValueError("no end of code in a string")
    return tokens, -1


def _comment_end(source: str, at: int, language: str) -> int:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(source, at):
        depth = (
            depth + 1
            if match[0] == "/*" and (language in NESTED or not depth)
            else depth - (match[0] == "*/")
        )
        if not depth:
            return match.end()
    raise ValueError("a comment without end")


def _text(source: str, at: int, language: str) -> tuple[Text, int]:
    value, code = [], []
    while source[at] != '"':
        if source[at] in "\n\r":
            raise ValueError("a line ends inside a string")
        name = re.compile(r"\$(\{|[A-Za-z_]\w*)").match(source, at) if language == "kotlin" else None
        if name or (language == "swift" and source.startswith("\\(", at)):
            inner, end = ([name[1]], name.end() - 1) if name else ([], 0)
            if not name or name[1] == "{":
                inner, end = _lex(source, at + 2, language, "}" if name else ")")
            code, at = [*code, inner], end + 1
            value.append("{}")
        elif source[at] == "\\":
            character, at = _escape(source, at + 1, language)
            value.append(character)
        else:
            value.append(source[at])
            at += 1
    joined = "".join(value)
    if language in ("java", "kotlin"):  # halves of UTF-16
        joined = joined.encode("utf-16", "surrogatepass").decode("utf-16")
    elif language == "c++":
        joined = joined.encode("latin-1").decode()
    return Text(joined, tuple(code)), at + 1


def _escape(source: str, at: int, language: str) -> tuple[str, int]:
    patterns = {
        "kotlin": r"u([0-9a-fA-F]{4})", "swift": r"u\{([0-9a-fA-F]{1,8})\}", "java": r"([0-3]?[0-7]{1,2})",
        "c++": r"([0-7]{1,3})",
    }  # fmt: skip
    if match := re.compile(patterns[language]).match(source, at):
        return chr(int(match[1], 16 if language in NESTED else 8)), match.end()
    return SIMPLE[language][source[at]], at + 1
