"""README's chart is what the stored measurements give; its pictures of scores need a model, and are drawn by hand."""

import re
from pathlib import Path

import pytest

from tools import docs_pictures

ROOT = Path(__file__).resolve().parents[2]


def test_the_chart_shows_the_stored_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_pictures, "OUT", tmp_path)
    assert docs_pictures.main(["latency"]) == 0
    chart = (tmp_path / "latency.svg").read_text(encoding="utf-8")
    assert chart == (docs_pictures.ROOT / "docs/images/latency.svg").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"!\[([^\]]*)\]\(docs/images/latency.svg\)", readme)
    assert re.findall(r"[\d.]+ (?:s|GB)", words) == re.findall(r"[\d.]+ (?:s|GB)", chart)


def test_bars_are_as_long_as_their_values() -> None:
    chart = docs_pictures.bar_chart([("a", 1.0, "one"), ("b", 4.0, "four")])
    short, long = map(float, re.findall(r'<rect [^>]* width="([\d.]+)"', chart))
    assert long == pytest.approx(4 * short)
