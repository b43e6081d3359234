"""tools.house: each figure counts what it names, on small trees where the right answer is plain."""

from pathlib import Path

import pytest

from tools import house

TREE = {
    "convert/__init__.py": "",
    "convert/onnx.py": "import onnx\n",
    "convert/a.py": "from convert.stages import b\n",
    "convert/stages/__init__.py": "",
    "convert/stages/b.py": "def f():\n    from convert.stages.c import g\n\n    found = g\n",
    "convert/stages/c.py": "import convert.a\nfrom convert.stages.b import f\n",
    "convert/stages/d.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from convert.stages import e\n",
    "tests/test_a.py": "def test_one():\n    wanted = found = 1\n" + "    pass\n" * 400,
    "tools/b.py": "import onnx\n",
    "convert/stages/e.py": "from convert.stages import d\n\n\ndef long():\n" + "    pass\n" * 61,
}


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, list[str]]:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return house.measure(house.read(tmp_path), house.read(tmp_path, house.AROUND))


def test_circles_between_files_and_between_a_file_and_a_folder(figures: dict[str, list[str]]) -> None:
    assert figures["file_circles"] == ["convert.a -> convert.stages.b -> convert.stages.c"]
    assert figures["folder_circles"] == ["convert.a -> convert.stages"]


def test_an_import_for_type_checkers_closes_no_circle(figures: dict[str, list[str]]) -> None:
    assert not any("stages.d" in row for row in figures["file_circles"])


def test_small_long_vague_and_shadowing(figures: dict[str, list[str]]) -> None:
    small = ("convert.a (1 lines)", "convert.stages.c (2 lines)", "convert.stages.d (4 lines)")
    assert figures["small_files"] == [f"{row}: no reason in tools/house.py" for row in small]
    assert figures["long_functions"] == [
        "convert.stages.e.long (62 lines)",
        "tests.test_a.test_one (402 lines)",
    ]
    assert figures["long_files"] == ["tests.test_a (402 lines)"]
    assert figures["vague_names_around"] == ["wanted in tests.test_a", "found in tests.test_a"]
    assert figures["vague_names"] == ["found x1"]
    assert figures["shadows"] == ["convert.onnx"]


def test_check_fails_where_a_figure_is_past_its_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "convert").mkdir()
    (tmp_path / "convert" / "a.py").write_text("x = 1\n" * 150, encoding="utf-8")
    assert house.main(["--root", str(tmp_path), "--check"]) == 0
    (tmp_path / "convert" / "a.py").write_text("made = 1\n" * 150, encoding="utf-8")
    assert house.main(["--root", str(tmp_path), "--check"]) == 1
    assert '"past":["vague_names"]' in capsys.readouterr().out
