"""Axes have few ticks, which hold the values; what is drawn is XML whose names are text."""

from xml.etree import ElementTree

import pytest

from mobileiqa.svg import COLORS, HEIGHT, WIDTH, across, dots, line, log_ticks, plot, up


@pytest.mark.parametrize("span", [(0, 1), (-0.03, 0.03), (0.4711, 0.4713), (0, 36), (-3e-8, 5e-8), (0, 1700)])
def test_ticks_are_few_and_inside(span: tuple[float, float]) -> None:
    axis = across(*span, "x")
    assert 3 <= len(axis.ticks) <= 7
    assert all(span[0] - 1e-12 <= tick <= span[1] + 1e-12 for tick in axis.ticks)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 10.0, [1, 2, 5, 10]),
        (99.0, 101.0, [50, 100, 200]),
        (3.0, 3.0, [2, 5]),
        (2.0, 2.0, [2, 5]),
        (0.0004, 0.0009, [0.0002, 0.0005, 0.001]),
        (0.03, 400, [0.02, 0.1, 1, 10, 100, 500]),
    ],
)
def test_ticks_hold_the_values(low, high, expected):
    assert log_ticks(low, high) == expected


def test_a_plot_puts_points_where_its_axes_say() -> None:
    x, y = across(1.0, 100.0, "a<b>", log=True), up(0.0, 4.0, "ms")
    points = [(x.at(10.0), y.at(1.0)), (x.at(100.0), y.at(4.0))]
    drawing = ElementTree.fromstring(plot('"x" & y', x, y, [line(points, 'class="mark"'), dots(points, 1)]))
    assert (drawing.get("viewBox"), drawing.get("aria-label")) == (f"0 0 {WIDTH} {HEIGHT}", '"x" & y')
    assert "a<b>" in [text.text for text in drawing.iter("text")]
    assert x.at(10.0) == pytest.approx((x.start + x.end) / 2) and y.at(1.0) == pytest.approx(
        y.start - (y.start - y.end) / 4
    )
    paths = [path.get("d") for path in drawing.iter("path") if path.get("class") != "axis"]
    assert paths == [
        f"M{points[0][0]:.1f} {points[0][1]:.1f}L{points[1][0]:.1f} {points[1][1]:.1f}",
        "".join(f"M{a:.1f} {b:.1f}h0" for a, b in points),
    ]
    numbers = [text.text for text in ElementTree.fromstring(plot("", up(0, 1700, "x"), x, [])).iter("text")]
    assert "1500" in numbers and not any("e+" in number for number in numbers)
    assert dots([], 0) == "" and len(COLORS) == 6
