"""Pictures put every value where it belongs: read back from the SVG by its own ticks."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from convert.accuracy_report.layer_sqnr import Layer, LayerTable
from convert.delegation.partitions import Forecast
from convert.report import plots


def numbers(svg: ElementTree.Element, across: bool) -> dict[float, float]:
    """Tick -> its place, of an axis."""
    anchor, place, lift = ("middle", "x", 0) if across else ("end", "y", 4)
    return {
        float(t.text): float(t.get(place)) - lift
        for t in svg.iter("text")
        if t.get("text-anchor") == anchor and re.match(r"-?\d", t.text)
    }


def on(ticks: dict[float, float], value: float) -> float:
    """Where a value lies by the outer ticks of an axis."""
    (low, start), (high, end) = min(ticks.items()), max(ticks.items())
    return start + (end - start) * (value - low) / (high - low)


def dots(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"M([-\d.]+) ([-\d.]+)h0", path)]


def test_scatter_puts_points_where_their_scores_are() -> None:
    fp32, scores = np.array([0.2, 0.5, 0.93]), np.array([0.21, 0.47, 0.9])
    svg = ElementTree.fromstring(plots.scatter(fp32, scores, "a<b>.tflite"))
    x, y = numbers(svg, True), numbers(svg, False)
    (path,) = [p.get("d") for p in svg.iter("path") if "h0" in p.get("d")]
    expected = [(on(x, a), on(y, b)) for a, b in zip(fp32, scores, strict=True)]
    assert dots(path) == [pytest.approx(point, abs=0.2) for point in expected]
    assert svg.get("aria-label") == "Scores of a<b>.tflite over FP32's"


def test_histogram_counts_every_shift_and_marks_the_limit() -> None:
    shifts = np.array([-0.03] + [0.0] * 6 + [0.01] * 3)
    svg = ElementTree.fromstring(plots.histogram(shifts, "x", limit=0.02))
    x, y = numbers(svg, True), numbers(svg, False)
    bars = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)", svg.findall("path")[-3].get("d"))
    heights = [round((float(bottom) - float(top)) / (y[0.0] - on(y, 1))) for _, bottom, top, _ in bars]
    assert heights == [1, 6, 3]
    marks = [
        float(re.match(r"M([\d.]+)", p.get("d"))[1]) for p in svg.iter("path") if p.get("class") == "mark"
    ]
    assert marks == [pytest.approx(on(x, v), abs=0.2) for v in (-0.02, 0.02)]
    assert 'class="mark"' not in plots.histogram(shifts, "x", limit=1.0)  # beyond what is drawn


@pytest.mark.parametrize("values", [[0.5, 0.5], [0.5]])
def test_scores_that_do_not_vary_can_be_drawn(values: list[float]) -> None:
    same = np.array(values)
    for svg in (plots.scatter(same, same, "x"), plots.histogram(same - same, "x", 0.1)):
        assert not re.search("nan|inf", svg) and ElementTree.fromstring(svg) is not None


def layer(index: int, dtype: str, noise: float) -> Layer:
    return Layer(f"t{index}", index, "ADD", dtype, (1,), 1.0, noise, noise)


def test_floats_and_integers_have_their_own_colour_along_the_graph() -> None:
    table = LayerTable(1, (layer(2, "float32", 1e-3), layer(5, "int8", 1e-2), layer(7, "int8", 0.0)), ())
    svg = ElementTree.fromstring(plots.along_the_graph(table, "x"))
    result = {p.get("stroke"): dots(p.get("d")) for p in svg.iter("path") if p.get("stroke")}
    y = numbers(svg, False)
    assert result["var(--c0)"][0][1] == pytest.approx(on(y, 30), abs=0.2)
    assert result["var(--c1)"][0][1] == pytest.approx(on(y, 20), abs=0.2)
    assert [len(points) for points in result.values()] == [1, 1]  # what equals FP32 has no point
    assert plots.along_the_graph(LayerTable(1, (layer(1, "int8", 0.0),), ()), "x") == ""


def test_the_map_shows_each_operator_in_its_partition() -> None:
    expected = Forecast(6, {2: "no", 5: "no"}, ((0, 1, 4), (3,)))
    svg = ElementTree.fromstring(plots.delegation_map(expected, "x"))
    results = [(int(r.get("x")), int(r.get("width")), r.get("fill")) for r in svg.iter("rect")]
    blue, orange, red = "var(--c0)", "var(--c1)", "var(--bad)"
    assert results == [(0, 2, blue), (2, 1, red), (3, 1, orange), (4, 1, blue), (5, 1, red)]
