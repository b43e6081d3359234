import dataclasses
import io
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from android_bench import compare
from android_bench.comparison import plot as chart
from android_bench.comparison.html import page
from android_bench.comparison.plot import png
from android_bench.comparison.regression_gate import judge, lay_out
from android_bench.results.entries import read
from mobileiqa.errors import UserError

VOID = {"meta", "br", "hr", "img", "input", "link"}
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """Checks that tags nest, and collects attributes, text and the cells of table rows."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.rows = [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture
def rows(steady, measured, write_bench, by_hand):
    sizes = [("238x153", 1460), ("224x224", 1488), ("1907x1231", 3500)]
    hand = [by_hand(size=size, mean_ms=mean) for size, mean in sizes]
    return lay_out(read(write_bench("bench.json", [*steady, *hand])))


def drawing(text):
    """The page's <svg>, parsed as XML."""
    (result,) = re.findall(r"<svg.*</svg>", text, re.DOTALL)
    return ElementTree.fromstring(result)


def test_page_is_whole_self_contained_and_made_for_phones(rows):
    text = page(rows)
    parsed = Page(text)
    metas = [attrs for tag, attrs in parsed.tags if tag == "meta"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text)
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in parsed.tags)
    assert {"src", "href", "srcset", "action"}.isdisjoint(name for _, attrs in parsed.tags for name in attrs)
    assert "prefers-color-scheme: dark" in text
    assert len({text.count(f"--c{index}: ") for index in range(6)} | {2}) == 1


def test_page_says_every_figure_and_marks_by_hand(rows):
    parsed = Page(page(rows))
    head, small, big, hand, *_ = parsed.rows
    assert head == ["model", "median", "mean", "p5", "p95", "init", "peak MB", "speed"]
    result = rows[1].entry.measured
    assert big[1:3] == [f"{result.run_ms.median:.1f}", f"{result.run_ms.mean:.1f}"]
    assert small[-1] == "reference" and big[-1].startswith("0.25") and "beside tiny 48x32" in big[-1]
    assert "317x205" not in hand[0] and "by hand" in hand[0] and "AI Benchmark, one CPU" in hand[0]
    assert hand[1:] == ["-", "1460.0", "-", "-", "-", "-", "reference"]
    assert "without its runs, so without spread, interval or significance" in parsed.text
    assert parsed.text.count("by hand, mean of 10 runs on Xiaomi 10S") == 1


def test_page_of_a_gate_says_what_failed(steady, write_bench, scaled, tmp_path):
    base, new = write_bench("base.json", steady), write_bench("new.json", [scaled(steady[0], 1.2)])
    parsed = Page(page(judge(read(new), read(base)), [base], 1.05))
    assert "Gate failed, against base.json." in parsed.text
    assert [row[-1].split("p ")[0] for row in parsed.rows] == ["verdict", "slower", "lost"]
    assert (
        Page(page(judge(read(base), read(base)), [base], 1.05)).text.count("Gate passed, against base.json.")
        == 1
    )


def test_names_cannot_break_out_of_the_page(write_bench, by_hand):
    evil = '"><script>alert(1)</script><b x="&amp;'
    parsed = Page(page(lay_out(read(write_bench("x.json", [by_hand(model=evil, device=evil, note=evil)])))))
    assert "script" not in [tag for tag, _ in parsed.tags]
    assert parsed.text.count(evil) >= 4  # name, device, note, key: as text


def test_a_row_without_a_size_is_said_not_to_be_drawn(steady, write_bench):
    (no_size,) = ({k: v for k, v in steady[0].items() if k != "input_shapes"},)
    text = page(lay_out(read(write_bench("x.json", [no_size]))))
    assert "<svg" not in text and "Not drawn: 1 row(s)" in Page(text).text


def test_svg_puts_every_point_where_its_figures_say(rows):
    svg = drawing(page(rows))
    got = {c.find("title").text: (float(c.get("cx")), float(c.get("cy"))) for c in svg.iter("circle")}
    assert len(got) == len(rows)
    numbers = {text.text: text for text in svg.iter("text")}
    ticks_x = {
        float(t): float(e.get("x"))
        for t, e in numbers.items()
        if e.get("text-anchor") == "middle" and t[0].isdigit()
    }
    ticks_y = {float(t): float(e.get("y")) - 4 for t, e in numbers.items() if e.get("text-anchor") == "end"}
    for row in rows:
        entry = row.entry
        (at,) = (
            point
            for label, point in got.items()
            if label.startswith(f"{entry.size}: {entry.central_ms:.4g} ms")
        )
        assert at == pytest.approx((on(ticks_x, entry.pixels / 1e6), on(ticks_y, entry.central_ms)), abs=0.2)


def on(ticks, value):
    """Where a value lies by the two outer ticks of a logarithmic axis."""
    (low, start), (high, end) = min(ticks.items()), max(ticks.items())
    assert low <= value <= high
    return start + (end - start) * math.log(value / low) / math.log(high / low)


def test_svg_draws_by_hand_dashed_and_hollow(rows):
    groups = drawing(page(rows)).findall("g")
    assert [g[0].get("stroke-dasharray") for g in groups] == [None, None, "5 3"]
    assert [{c.get("fill") for c in g.iter("circle")} for g in groups][2] == {"var(--paper)"}
    assert groups[2][0].get("d").count("L") == 2


def test_png_shows_each_series_in_its_colour(rows):
    from PIL import Image

    def pixels(drawn):
        return np.asarray(Image.open(io.BytesIO(png(drawn))).convert("RGB")).astype(int)

    drawn = chart.series(rows)
    whole, part = pixels(drawn), pixels(drawn[:1])
    assert whole.shape == (825, 1200, 3)
    for index in range(len(drawn)):
        color = [int(chart.COLORS[index][0][at : at + 2], 16) for at in (1, 3, 5)]
        near = lambda image: int((abs(image - color).max(-1) < 12).sum())  # noqa: E731, B023
        assert near(whole) > 100, index
        assert index == 0 or near(part) < 20


def test_png_draws_by_hand_hollow(rows):
    from PIL import Image

    def has_a_dot(one):  # 7x7 pixels of ink: more than a line or a ring has
        ink = np.asarray(Image.open(io.BytesIO(png([one]))).convert("L")) < 150
        return bool(np.lib.stride_tricks.sliding_window_view(ink, (7, 7)).all((2, 3)).any())

    hand = chart.series(rows)[-1]
    filled = chart.Series(hand.label, tuple(dataclasses.replace(p, by_hand=False) for p in hand.points))
    assert (has_a_dot(hand), has_a_dot(filled)) == (False, True)


def test_png_needs_matplotlib_and_something_to_draw(steady, write_bench, capsys, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="a result with an input size"):
        png([])
    path, plot, table = write_bench("b.json", steady), tmp_path / "p.png", tmp_path / "t.csv"
    assert compare.main([str(path), "--plot", str(plot), "--csv", str(table)]) == 0
    assert plot.read_bytes()[:4] == b"\x89PNG"
    plot.unlink(), table.unlink()
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    capsys.readouterr()
    assert compare.main([str(path), "--plot", str(plot), "--csv", str(table)]) == 2
    assert "matplotlib, which draws --plot" in capsys.readouterr().err
    assert not plot.exists() and not table.exists()  # all outputs or none


@pytest.mark.slow
def test_page_opens_in_a_real_browser(rows, tmp_path):
    from PIL import Image

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on this machine")
    file, shot = tmp_path / "page.html", tmp_path / "shot.png"
    file.write_text(page(rows), encoding="utf-8")
    options = [
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--hide-scrollbars",
    ]
    options += ["--headless", "--window-size=400,1600", f"--screenshot={shot}"]
    subprocess.run([browser, *options, file.as_uri()], check=True, timeout=120, capture_output=True)
    image = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert image.shape == (1600, 400, 3)
    for pair in chart.COLORS[:3]:  # each curve, on a light or a dark page
        shades = [[int(shade[at : at + 2], 16) for at in (1, 3, 5)] for shade in pair]
        assert max((abs(image - shade).max(-1) < 12).sum() for shade in shades) > 20
