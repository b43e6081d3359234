"""The Swift package: its sources parse, and what the file says stays inside literals. Nothing compiles it here."""

import re
from pathlib import Path

import pytest

from convert.app.__main__ import main
from convert.app.expressions import SYNTAX, expression
from convert.app.facts import Drawn, Photo
from mobileiqa.errors import UserError
from tests.convert.app.conftest import write_two_views
from tests.convert.conftest import FlatbufferBuilder

HOSTILE = Photo('a"\\(exit(1))\n$x', "\\u000a*/ ??/\u2028", 0.5, (1.0, -2.5e-7))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ios")
    model = write_two_views(FlatbufferBuilder(), folder / "two-views.tflite")
    assert main([str(model), "--platform", "ios", "--out", str(folder / "app")]) == 0
    return folder / "app/ios"


def test_the_package_is_whole(package: Path) -> None:
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    sources = {
        f"Sources/MobileIQA/{name}.swift"
        for name in ("Views", "Checks", "ApplePhotos", "PhotoScorer", "ModelFacts", "Burst", "Shifts")
    }
    resources = {f"Sources/MobileIQA/Resources/{name}" for name in ("two-views.tflite", "golden/turned.jpg")}
    assert (
        sources | resources | {"Package.swift", "Tests/MobileIQATests/SelfTest.swift", "LICENSE", "NOTICE"}
        <= names
    )
    text = "".join(path.read_text() for path in package.rglob("*.swift"))
    assert "@@" not in text and not re.search("cocoapods|podspec|TensorFlowLite", text, re.IGNORECASE)


def test_the_sources_parse(package: Path) -> None:
    swift = pytest.importorskip("tree_sitter_swift", reason="no tree-sitter-swift: pip install -e '.[dev]'")
    from tree_sitter import Language, Parser

    parser = Parser(Language(swift.language()))
    broken = [
        path.name for path in package.rglob("*.swift") if parser.parse(path.read_bytes()).root_node.has_error
    ]
    assert not broken
    hostile = f"let photo = {expression(HOSTILE, SYNTAX['swift'])}\n"
    root = parser.parse(hostile.encode()).root_node
    assert not root.has_error and root.child_count == 1
    assert parser.parse(b"func x( {").root_node.has_error, "the parser sees what is wrong"


def test_facts_are_literals_in_every_language() -> None:
    kotlin = (
        r'Photo("a\u0022\u005c(exit(1))\u000a\u0024x", "\u005cu000a*/ ??/\u2028", 0.5, listOf(1.0, -2.5e-07))'
    )
    assert expression(HOSTILE, SYNTAX["kotlin"]) == kotlin
    assert expression(HOSTILE, SYNTAX["swift"]).startswith(
        r'Photo(file: "a\u{22}\u{5c}(exit(1))\u{a}$x", what: '
    )
    assert r"\077\077/\342\200\250" in expression(HOSTILE, SYNTAX["c++"])
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match="finite numbers"):
            expression(Drawn("x", 1, 1, (value,)), SYNTAX["kotlin"])
