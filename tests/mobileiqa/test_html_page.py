"""A page needs nothing from elsewhere, follows light and dark, and holds names as text."""

import re

from mobileiqa.html_page import STYLE, cards, document, pairs, paragraph, table


def test_a_document_needs_nothing_from_elsewhere() -> None:
    page = document("a <b>", ["<h1>x</h1>"])
    assert page.startswith("<!DOCTYPE html>") and "<title>a &lt;b&gt;</title>" in page
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    for index in range(6):
        assert STYLE.count(f"--c{index}: ") == 2  # a colour for a light page and one for a dark one
    assert "LIGHT" not in STYLE and "DARK" not in STYLE


def test_names_are_text() -> None:
    evil = '"><script>'
    for html in (paragraph(evil), pairs([(evil, "1")]), table(evil, ["h"], [["c"]])):
        assert "<script" not in html


def test_a_cell_of_a_card_says_its_heading() -> None:
    html = cards(["model", "ms"], [["a", "1"], ["b", "2"]])
    assert re.findall(r'<td data-label="(\w+)">(\w)</td>', html) == [
        ("model", "a"), ("ms", "1"), ("model", "b"), ("ms", "2"),
    ]  # fmt: skip
