"""Whatever a file says of itself, its sources hold it as text: read back, compiled, run, in all five languages."""

import ast
import dataclasses
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from convert.snippets.languages import KEYWORDS, LANGUAGES, comment, number, side, word
from convert.snippets.render import SOURCES, Facts, SizeFacts, sources
from mobileiqa.errors import UserError
from tests.convert.snippets.lexer import Text, lex, shape, texts

STUBS = sorted((Path(__file__).with_name("programs") / "stubs").rglob("*.java"))
HOSTILE = (
    "plain", "", " ", '"', '\\"', "\\", "\\\\", "\\\\\\", "'", "`", "\\u000a int x;", "\\\\u000a",
    "\\uuuu0022+evil()+\\u0022", "\\u002a/ evil();", "*/", "*/ evil(); /*", "/*", "/* /* ", "//", "// */",
    "/** {@code x} @param", "${evil()}", "$evil", "$", "$$", "${", "\\(evil())", "#{x}", "\"\"\"", "'''",
    '"""; evil(); """', "a\nevil();", "a\r\nevil();", "a\revil();", "\u2028evil()", "\u2029", "\x85", "\x0b",
    "\x0c", "\x1a", "\x1b[2J", "\x7f", "\u202e evil \u2066", "\u200f", "\ufeff", "end \\", "end ??/",
    "??/\nevil();", "??/??/", "trailing \\ ", "\\\nevil();", "%n%s", "{0} {x!r}", "@@literal(file)", "@@file",
    "\\N{BEL}", "\\x41", "\\101", "\\0", "1\x012", "coding: utf-7", "-*- coding=latin-1 -*-",
    "+ACI-",
    "éñß 写真 🙂", "class", "1abc", "<script>", "&amp;", "]]>", "a" * 4000, "#include <x>", "#define x", "\t",
    "\b",
)  # fmt: skip
IMPOSSIBLE = ("\0", "a\0b", "\ud800", "\udcff")
FACTS = Facts("camera.tflite", "camera", "CameraScorer", "camera_scorer", "t", "a", "s", "f", "image", ("score",),
              ("blur",), 0.001, ("ramp", "tiles", "noise"),
              (SizeFacts("serving_default", 64, 48, {"ramp": 0.5}),))  # fmt: skip


def random_texts(count: int) -> list[str]:
    draw = random.Random(0)
    alphabet = [
        *"\"\\'`$*/?u{}()\n\r\t%@#;0 a<>&",
        "\\u000a",
        "*/",
        "??/",
        '"""',
        "\u2028",
        "\u202e",
        "é",
        "🙂",
    ]
    return ["".join(draw.choices(alphabet, k=draw.randrange(1, 30))) for _ in range(count)]


def hostile_facts(text: str) -> Facts:
    """FACTS with `text` wherever there is text, but in names of classes and files."""
    sizes = (dataclasses.replace(FACTS.sizes[0], signature=text),)
    names = ("file", "stem", "title", "about", "score", "fit", "input")
    return dataclasses.replace(
        FACTS, **dict.fromkeys(names, text), outputs=(text,), reasons=(text,), images=(text,) * 3, sizes=sizes
    )


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "python"])
def test_literals_are_read_back(language: str) -> None:
    for text in (*HOSTILE, *random_texts(300)):
        literal = LANGUAGES[language].literal(text)
        assert literal.isascii() and literal.isprintable()
        assert lex(f"a {literal} b", language) == ["a", Text(text), "b"], (text, literal)


def test_pythons_literals_are_read_back() -> None:
    for text in (*HOSTILE, *random_texts(300)):
        assert ast.literal_eval(LANGUAGES["python"].literal(text)) == text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_what_no_source_holds_is_refused(language: str, text: str) -> None:
    with pytest.raises(UserError, match="without NUL and half characters"):
        LANGUAGES[language].literal(text)
    with pytest.raises(UserError, match="at most 4096 characters"):
        LANGUAGES[language].literal("a" * 4097)
    assert comment(text).isascii() and comment(text).isprintable()


def test_comments_say_what_was_there() -> None:
    assert (
        comment("lar-iqa-kan (fp16): 90x70 or 70x90, 0 to 1") == "lar-iqa-kan (fp16): 90x70 or 70x90, 0 to 1"
    )
    assert comment("a\\u000ab */ é") == "a(U+005C)u000ab (U+002A)/ (U+00E9)"
    assert comment("two\nlines") == "two lines" and len(comment("x" * 9000)) < 400


@pytest.mark.parametrize("language", SOURCES)
def test_hostile_facts_change_nothing_but_strings_and_comments(language: str) -> None:
    plain = [sources(FACTS)[name] for name in names(language)]
    for text in (*HOSTILE, *random_texts(15)):
        rendered = [sources(hostile_facts(text))[name] for name in names(language)]
        assert "".join(rendered).isascii() and not re.search(r"[^\n -~]", "".join(rendered))
        assert [structure(source, language) for source in rendered] == [
            structure(s, language) for s in plain
        ], text
        held = [value for source in rendered for value in strings(source, language)]
        assert held.count(text) >= 4, "the file's name, the golden images and the signature"


def names(language: str) -> list[str]:
    parts = [source.name for source in SOURCES[language]]
    return [
        p.replace("@@word(class_name)", "CameraScorer").replace("@@word(snake)", "camera_scorer")
        for p in parts
    ]


def structure(source: str, language: str) -> object:
    """A source without its strings, and of comments only that they are there."""
    if language != "python":
        return shape(lex(source, language))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "S"
    return ast.dump(tree), compile(
        source.encode(), "scorer.py", "exec"
    ).co_names  # bytes: with the coding of its head


def strings(source: str, language: str) -> list[str]:
    if language != "python":
        return texts(lex(source, language))
    return [
        n.value
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]


@pytest.mark.parametrize(
    ("source", "language", "seen"),
    [
        ("// \\u000a evil", "java", ["//", "evil"]),
        ("/* \\u002a/ evil", "java", ["//", "evil"]),
        ('"\\u0022 evil', "java", ["S", "evil"]),
        ("// ??/\ngood", "c++", ["//"]),
        ("// \\\ngood", "c++", ["//"]),
        ("/* /* */ evil", "java", ["//", "evil"]),
        ("/* /* */ good */", "kotlin", ["//"]),
        ('"${evil("x")} $y"', "kotlin", [["S", ["evil", "(", "S", ")"], ["y"]]]),
        ('"\\(evil)"', "swift", [["S", ["evil"]]]),
    ],
)
def test_the_lexer_sees_what_a_compiler_sees(source: str, language: str, seen: list) -> None:
    assert shape(lex(source, language)) == seen


@pytest.mark.parametrize(
    ("source", "language"),
    [('"a\nb"', "java"), ("/* /* */", "swift"), ('"""a"""', "kotlin"), ('"\\(a"', "swift"), ("/*", "c++")],
)
def test_the_lexer_refuses_what_a_compiler_refuses(source: str, language: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        lex(source, language)


@pytest.mark.parametrize("name", ["class", "1abc", "", "_", "__", "a b", "a;b", "é", "def", "guard", "fun", "nullptr",
                                  "a" * 129,
                                  "x\n", "\u202ex", "None", "Self", "co_await", "non-sealed"])  # fmt: skip
def test_names_are_words_of_every_language(name: str) -> None:
    with pytest.raises(UserError, match="names of letters"):
        word(name)
    for field in ("class_name", "snake"):
        with pytest.raises(UserError, match="names of letters"):
            sources(dataclasses.replace(FACTS, **{field: name}))


def test_the_words_that_the_snippets_use_are_words() -> None:
    assert [
        word(name) for name in ("image", "score", "serving_default", "score_90x70", "_private", "Klasse1")
    ]
    assert {"class", "fun", "func", "template", "def"} <= KEYWORDS


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(UserError, match="finite numbers"):
        number(value)
    with pytest.raises(UserError, match="finite numbers"):
        sources(dataclasses.replace(FACTS, tolerance=value))
    assert number(1e-05) == "1e-05" and number(-0.1) == "-0.1" and number(1e300) == "1e+300"


@pytest.mark.parametrize("value", [0, -1, 26_755, 2**40])
def test_sides_are_those_of_images(value: int) -> None:
    with pytest.raises(UserError, match="sides of 1"):
        side(value)


def run(*command: str | Path, folder: Path) -> str:
    tool = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert tool.returncode == 0, tool.stdout + tool.stderr
    return tool.stdout


def need(*tools: str) -> str:
    """The first that is here; skips, saying what to install, without any."""
    tool = next(filter(None, map(shutil.which, tools)), None)
    return tool or pytest.skip(
        f"no {' or '.join(tools)} here (Debian: default-jdk, g++; kotlinc: of its releases)"
    )


def values(printed: str) -> list[str]:
    return [bytes.fromhex(line).decode() for line in printed.split("\n")[:-1]]


TEXTS = (*HOSTILE, *random_texts(100))


@pytest.mark.slow
def test_java_compiles_and_runs_hostile_text(tmp_path: Path) -> None:
    literals = ",\n".join(LANGUAGES["java"].literal(text) for text in TEXTS)
    comments = "\n".join(
        f"    // {comment(t)}\n    /* {comment(t)} */\n    /** {comment(t)} */" for t in TEXTS
    )
    (tmp_path / "Main.java").write_text(
        "import java.nio.charset.StandardCharsets;\npublic final class Main {\n" + comments + "\n"
        "  static final String[] ALL = {" + literals + "};\n"
        "  public static void main(String[] words) {\n    for (String s : ALL) {\n"
        "      StringBuilder hex = new StringBuilder();\n"
        '      for (byte b : s.getBytes(StandardCharsets.UTF_8)) hex.append(String.format("%02x", b));\n'
        "      System.out.println(hex);\n    }\n  }\n}\n"
    )
    run(
        need("javac"),
        "-Xlint:all",
        "-Werror",
        "-encoding",
        "US-ASCII",
        "-d",
        ".",
        "Main.java",
        folder=tmp_path,
    )
    assert values(run(need("java"), "-cp", ".", "Main", folder=tmp_path)) == list(TEXTS)


@pytest.mark.slow
def test_the_java_source_compiles_with_hostile_facts(tmp_path: Path) -> None:
    facts = hostile_facts('"\\u000a*/ evil(); /* ${x} ??/ \u2028\n\\u002a/ int evil; \\')
    (tmp_path / "CameraScorer.java").write_text(sources(facts)["CameraScorer.java"])
    run(need("javac"), "-Xlint:all", "-Xdoclint:html,syntax,reference", "-Werror", "-encoding", "US-ASCII",
        "-d", ".", *STUBS, "CameraScorer.java", folder=tmp_path)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("standard", ["c++14", "gnu++17"])
def test_cpp_compiles_and_runs_hostile_text(standard: str, tmp_path: Path) -> None:
    literals = ",\n".join(LANGUAGES["c++"].literal(text) for text in TEXTS)
    comments = "\n".join(f"// {comment(text)}\n/* {comment(text)} */" for text in TEXTS)
    (tmp_path / "main.cpp").write_text(
        f"#include <cstdio>\n#include <string>\n{comments}\nstatic const std::string ALL[] = {{{literals}}};\n"
        'int main() {\n  for (const auto &s : ALL) {\n    for (unsigned char c : s) std::printf("%02x", c);\n'
        '    std::printf("\\n");\n  }\n}\n'
    )
    run(
        need("g++", "c++"),
        f"-std={standard}",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        "main",
        "main.cpp",
        folder=tmp_path,
    )
    assert values(run("./main", folder=tmp_path)) == list(TEXTS)


@pytest.mark.slow
def test_the_cpp_source_compiles_with_hostile_facts(tmp_path: Path) -> None:
    facts = hostile_facts('"\\u000a*/ evil(); /* ${x} ??/ \u2028\n\\')
    for name in names("c++"):
        (tmp_path / name).write_text(sources(facts)[name])
    run(need("g++", "c++"), "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-trigraphs",
        "camera_scorer.cpp", folder=tmp_path)  # fmt: skip


@pytest.mark.slow
def test_kotlin_compiles_and_runs_hostile_text(tmp_path: Path) -> None:
    kotlinc = need("kotlinc")
    literals = ",\n".join(LANGUAGES["kotlin"].literal(text) for text in TEXTS)
    comments = "\n".join(f"// {comment(text)}\n/** {comment(text)} */" for text in TEXTS)
    (tmp_path / "Main.kt").write_text(
        f"{comments}\nval ALL = listOf({literals})\nfun main() {{ for (s in ALL) println(s.toByteArray()"
        '.joinToString("") { "%02x".format(it) }) }\n'
    )
    run(kotlinc, "-include-runtime", "-d", "main.jar", "Main.kt", folder=tmp_path)
    assert values(run(need("java"), "-jar", "main.jar", folder=tmp_path)) == list(TEXTS)
