r"""How text becomes part of a source file, in every language of the snippets: the one place where it does.

Facts of a file come from outside: its name, names of its signatures and input, its model's name and precision. In
code they are literals, which escape whatever does not stand as itself in that language; in comments they are ASCII
without the characters that end or continue a comment or that tools of the language read in one. Java translates
\u000a before it finds the end of a comment, C++ joins a line that ends in a backslash (or in ??/) with the next,
Swift's and Kotlin's comments nest, Kotlin's strings have $templates, Python's second line may name another encoding.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from mobileiqa.errors import UserError, one_line
from mobileiqa.typed_json import shortened

AGAIN = "package the model again"
LONGEST = 4096  # characters of a literal: Java's constants end at 65,535 bytes
COMMENT = 300  # characters of a fact in a comment
LARGEST_SIDE = 26_754  # of a square image whose bytes an int counts

# Reserved in at least one of the languages, also where context decides: a name that is none of them is one in all.
_RESERVED = (
    # Java and Kotlin
    "abstract annotation as assert boolean break by byte case catch char class companion const constructor continue"
    " crossinline data default delegate do double dynamic else enum exports extends external false field file final"
    " finally float for fun get goto if implements import in infix init inline inner instanceof int interface internal"
    " is it lateinit long module native new noinline non-sealed null object open opens operator out override package"
    " param permits private property protected provides public receiver record reified requires return sealed set"
    " setparam short static strictfp super suspend switch synchronized tailrec this throw throws to transient"
    " transitive true try typealias typeof uses val value var vararg void volatile when where while with yield"
    # Swift
    " Any Protocol Self Type actor associatedtype associativity async await borrowing consuming convenience defer"
    " deinit didSet distributed each extension fallthrough fileprivate func guard indirect inout isolated lazy left let"
    " macro mutating nil none nonisolated nonmutating optional package postfix precedence precedencegroup prefix"
    " protocol repeat required rethrows right self some struct subscript unowned weak willSet"
    # C++
    " alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor bool char16_t"
    " char32_t char8_t co_await co_return co_yield compl concept const_cast consteval constexpr constinit decltype"
    " delete dynamic_cast explicit export extern friend import mutable namespace noexcept not not_eq nullptr or or_eq"
    " reflexpr register reinterpret_cast signed sizeof static_assert static_cast template thread_local typedef typeid"
    " typename union unsigned using virtual wchar_t xor xor_eq main linux unix"
    # Python
    " False None True def del elif except from global lambda match nonlocal pass print raise exec"
)
KEYWORDS = frozenset(_RESERVED.split())


@dataclass(frozen=True)
class Language:
    """`special`: printable ASCII that does not stand as itself in a string literal. `code(c)`: an escape for it, and
    for every character outside printable ASCII."""

    name: str
    special: str
    code: Callable[[str], str]

    def literal(self, text: str) -> str:
        """`text` as a string literal, quotes included; printable ASCII. Raises UserError for NUL and surrogates."""
        if len(text) > LONGEST:
            raise UserError(f"at most {LONGEST} characters for a string in a source", f"{len(text)}", AGAIN)
        if "\0" in text or any(0xD800 <= ord(character) <= 0xDFFF for character in text):
            raise UserError(
                "text without NUL and half characters for a source", ascii(shortened(text, 60)), AGAIN
            )
        return f'"{"".join(map(self._stand, text))}"'

    def _stand(self, character: str) -> str:
        return (
            character if " " <= character <= "~" and character not in self.special else self.code(character)
        )


def _java(character: str) -> str:
    r"""Three octal digits, which a digit behind them cannot lengthen: \u is translated before strings are found."""
    code = ord(character)
    return f"\\{code:03o}" if code < 0x100 else _utf16(character)


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _cpp(character: str) -> str:
    """The bytes of UTF-8 in three octal digits each: hexadecimal escapes have no end."""
    return "".join(f"\\{byte:03o}" for byte in character.encode())


def _python(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


LANGUAGES = {
    language.name: language
    for language in (
        Language("kotlin", '"\\$', _utf16),
        Language("java", '"\\', _java),
        Language("swift", '"\\', lambda character: f"\\u{{{ord(character):x}}}"),
        Language("c++", '"\\?', _cpp),
        Language("python", '"\\', _python),
    )
}


def comment(text: str) -> str:
    r"""`text` in a comment of any of the languages, whatever stands before and behind it on its line.

    Letters, digits and harmless signs stand as themselves, others as their code: \ is (U+005C). Long text is cut.
    """
    return re.sub(r"[^A-Za-z0-9 .,:;()_+%'=/#~|!-]", _named, shortened(one_line(text), COMMENT))


def _named(match: re.Match[str]) -> str:
    return f"(U+{ord(match[0]):04X})"


def word(text: str) -> str:
    """`text`, which is a name in code: an identifier in every language, a keyword in none. Raises UserError."""
    if not re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z_][A-Za-z0-9_]{0,127}", text) or text in KEYWORDS:
        raise UserError(
            "names of letters, digits and '_' in the file, that are no keyword of a language",
            ascii(shortened(text, 60)),
            AGAIN,
        )
    return text


def number(value: float) -> str:
    """A finite number as the shortest decimals that give the same double. Raises UserError for any other."""
    if not math.isfinite(value):
        raise UserError("finite numbers in the file", f"{value}", AGAIN)
    return repr(value)


def side(value: int) -> str:
    """Width or height of an image. Raises UserError where no image can be as large."""
    if not 1 <= value <= LARGEST_SIDE:
        raise UserError(f"sides of 1 to {LARGEST_SIDE} pixels in the file", f"{value}", AGAIN)
    return str(value)
