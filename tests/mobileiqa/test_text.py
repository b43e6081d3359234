"""Hostile text is shown as text: in terminals, CSV, XML and plots."""

import csv
import io
import os
import re
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mobileiqa.errors import UserError, one_line
from mobileiqa.text import csv_cell, csv_name, csv_text, csv_value, escape, plot_text, printable, table

NAMES = (
    "plain.jpg", "Übung ñ 写真 🙂.jpg", "a\nb", "a\r0.99", "\x1b[2J", "\x1b]0;title\x07", "\u202egpj.exe",
    "\u2066x\u2069", "\u200f", "x\u2028y", "\x85", "\x9b31m", "\ufeff", "\udcff\udc80", "\ue000", "\ufffe", "\x00",
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-1", "'quoted'", "＝1", "<script>alert(1)</script>",
    '"onload="x', "'x", "]]>", "&amp;", "$a$", "\\$x$", "$", "_hidden", "a^{b}", "\\frac", "%n{0}", "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("写真 é.jpg", "写真 é.jpg"),
        ("a\n0.99  b.jpg\r\t", r"a\n0.99  b.jpg\r\t"),
        ("\x1b]8;;http://x\x07", r"\x1b]8;;http://x\x07"),
        ("\u202egpj.exe\u2069", r"\u202egpj.exe\u2069"),
        ("\x85\u2028\U000e0001", r"\u0085\u2028\U000e0001"),
        (os.fsdecode(b"\xff.jpg"), r"\udcff.jpg"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_not_seen_as_itself_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("name", NAMES)
def test_no_control_or_direction_survives(name: str) -> None:
    shown = printable(name)
    assert not any(unicodedata.category(c)[0] == "C" or unicodedata.bidirectional(c) == "B" for c in shown)
    shown.encode()  # no surrogate is left, so it prints
    assert printable(shown) == shown


def test_what_is_kept_is_named() -> None:
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_errors_are_printable() -> None:
    error = UserError("an image", "\x1b[31m\u202ex\n  of\tit", "look")
    assert one_line(str(error)) == r"expected an image; found \x1b[31m\u202ex of it; look"


@pytest.mark.parametrize("name", NAMES)
def test_a_csv_cell_is_no_formula_and_comes_back(name: str) -> None:
    cell = csv_cell(name)
    assert cell[:1] not in tuple("=+-@\t\r＝") and csv_value(cell) == name
    (row,) = csv.reader(io.StringIO(csv_text([[name, -1.5, None]]), newline=""), strict=True)
    assert [csv_value(value) for value in row] == [name, "-1.5", ""]


@pytest.mark.parametrize("name", NAMES)
def test_markup_is_text_in_elements_and_attributes(name: str) -> None:
    root = ElementTree.fromstring(f"<a b=\"{escape(name)}\" c='{escape(name)}'>{escape(name)}</a>")
    assert [root.text or "", root.get("b"), root.get("c")] == [printable(name)] * 3 and len(root) == 0


@pytest.mark.parametrize("name", NAMES)
def test_matplotlib_draws_the_text_itself(name: str) -> None:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    drawn, is_formula = Text()._preprocess_math(plot_text(name))
    assert not is_formula and drawn.removeprefix(" ") == printable(name)
    axes = Figure().add_subplot()
    axes.plot([1], label=plot_text(name))
    assert not name or len(axes.legend().get_texts()) == 1


HOSTILE = r"m$x^$y_{\frac_$\q$ %s" + "\x1b\n"


@pytest.fixture
def drawn(monkeypatch) -> list[str]:
    """What the figures that are saved say, as matplotlib draws it; a formula fails."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    output: list[str] = []
    save = Figure.savefig

    def spy(figure: Figure, *arguments: object, **options: object) -> None:
        save(figure, *arguments, **options)
        for text in figure.findobj(Text):
            shown, is_formula = text._preprocess_math(text.get_text())
            assert not is_formula or text.get_text().startswith("$\\mathdefault"), text.get_text()
            output.append(shown)

    monkeypatch.setattr(Figure, "savefig", spy)
    return output


def test_the_evaluations_scatter_shows_names_as_they_are(tmp_path, drawn) -> None:
    from types import SimpleNamespace as Fake

    import numpy as np

    from mobileiqa.evaluation.report import _scatter

    evaluation = Fake(fitted=None, metrics={name: Fake(value=0.5) for name in ("srcc", "plcc")})
    images = Fake(samples=[Fake(score=0.1), Fake(score=0.2)], dataset=Fake(score_name=HOSTILE))
    compared = Fake(
        models=[Fake(label=HOSTILE)], scores=np.array([[0.1, 0.2]]), evaluations=[evaluation], images=images
    )
    _scatter(compared, tmp_path / "scatter.png")
    assert printable(HOSTILE) in drawn and f"{printable(HOSTILE)}\nSRCC 0.5000, PLCC 0.5000" in drawn


def test_a_sets_picture_shows_names_as_they_are(tmp_path, drawn) -> None:
    from mobileiqa.datasets.core import Dataset, Sample
    from mobileiqa.datasets.summary import as_text, draw, summarize

    samples = tuple(
        Sample(Path(f"{i}.png"), i / 4, i / 4, "train", distortion=1, level=i, distortion_name=HOSTILE)
        for i in (1, 2, 3)
    )
    summary = summarize(Dataset(HOSTILE, samples, (0, 1), HOSTILE, HOSTILE, HOSTILE))
    draw(tmp_path / "set.png", summary)
    assert {printable(HOSTILE), f"mean {printable(HOSTILE)}", f"1 {printable(HOSTILE.rstrip())}"} <= {
        text.strip() for text in drawn
    }
    assert all(line.isprintable() for line in as_text(summary))


def test_a_contact_sheet_shows_names_as_they_are(tmp_path, photo, drawn) -> None:
    from mobileiqa.distortions.sheet import draw

    photo(1, 40, 30).save(tmp_path / "a.png")
    draw(tmp_path / "sheet.png", [[tmp_path / "a.png"]], [HOSTILE], [HOSTILE], HOSTILE)
    assert drawn.count(printable(HOSTILE)) >= 3


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"=\xff\x80.jpg", "ü写.jpg".encode(), rb"a\udcxx.jpg"])
def test_a_file_name_comes_back_from_a_csv_file(name: bytes) -> None:
    text = csv_text([[os.fsdecode(name)]]).encode("utf-8", "backslashreplace").decode()
    (row,) = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert os.fsencode(csv_name(row[0])) == name


NUMBERS_ONLY = {"mobileiqa/training/state.py", "mobileiqa/data.py"}


def test_text_becomes_markup_and_csv_in_one_place() -> None:
    root = Path(__file__).resolve().parents[2]
    packages = ("mobileiqa", "convert", "calibration", "android_bench")
    files = [path for package in packages for path in (root / package).rglob("*.py")]
    sources = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in files}
    pattern = re.compile(r"^(import html\b|from html import)|csv\.(Dict)?[wW]riter", re.MULTILINE)
    own = {name for name, source in sources.items() if pattern.search(source)}
    assert own - NUMBERS_ONLY == {"mobileiqa/text.py"}


def test_a_table_is_aligned_and_its_cells_are_text():
    rows = [["file", "ms"], ["a\x1b[2J\nb", "10.00"], ["c", "9.50"]]
    assert table(rows, left=(0,)).splitlines() == [
        "file            ms",
        "a\\x1b[2J\\nb  10.00",
        "c             9.50",
    ]
    assert table(rows[:1] + rows[2:]).splitlines() == ["file  ms", "c     9.50"]
