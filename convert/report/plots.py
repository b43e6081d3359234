"""The page's plots: scores over FP32's, how far they moved, SQNR and partitions along the graph."""

import numpy as np
from numpy.typing import NDArray

from convert.accuracy_report.files import HIGHEST_DB
from convert.accuracy_report.layer_sqnr import LayerTable
from convert.delegation.partitions import Forecast
from mobileiqa import svg
from mobileiqa.text import escape

Values = NDArray[np.float64]

BINS = 31  # odd, so that no difference has a bar of its own
MARK = 'class="mark"'


def scatter(fp32: Values, scores: Values, name: str) -> str:
    """A file's scores over FP32's, finite both, with the line on which they would be equal."""
    low, high = float(min(fp32.min(), scores.min())), float(max(fp32.max(), scores.max()))
    x, y = svg.across(low, high, "FP32 score"), svg.up(low, high, "score")
    line = svg.line([(x.at(x.low), y.at(y.low)), (x.at(x.high), y.at(y.high))], MARK)
    points = zip(map(x.at, fp32), map(y.at, scores), strict=True)
    return svg.plot(f"Scores of {name} over FP32's", x, y, [line, svg.dots(points, 0)])


def histogram(shifts: Values, name: str, limit: float | None = None) -> str:
    """How far scores moved: counts of converted file - FP32, zero in the middle; a limit on |shift| as two lines."""
    widest = float(np.abs(shifts).max()) or 1e-9
    counts, edges = np.histogram(shifts, BINS, (-widest, widest))
    x, y = svg.across(-widest, widest, "score less FP32's"), svg.up(0, float(counts.max()), "images")
    bars = "".join(
        f"M{x.at(a):.1f} {y.start}V{y.at(n):.1f}H{x.at(b):.1f}V{y.start}Z"
        for n, a, b in zip(counts, edges, edges[1:], strict=False)
        if n
    )
    marks = [v for v in ((-limit, limit) if limit else ()) if abs(v) <= widest]
    lines = [svg.line([(x.at(v), y.start), (x.at(v), y.end)], MARK) for v in marks]
    return svg.plot(f"Shifts of {name}", x, y, [f'<path d="{bars}" fill="var(--c0)"/>', *lines])


def along_the_graph(layers: LayerTable, name: str) -> str:
    """SQNR, dB, of every activation that differs from FP32's, in running order: floats and integers in two colours.

    An empty string where none has a figure.
    """
    known = [(x, min(x.sqnr_db, HIGHEST_DB)) for x in layers.layers if x.sqnr_db is not None]
    if not known:
        return ""
    x = svg.across(0, max(layer.index for layer, _ in known), "operator, in running order")
    y = svg.up(min(0, *(db for _, db in known)), max(db for _, db in known), "SQNR, dB")

    def dots(color: int, floats: bool) -> str:
        some = [(layer, db) for layer, db in known if layer.dtype.startswith("float") == floats]
        return svg.dots([(x.at(layer.index), y.at(db)) for layer, db in some], color)

    return svg.plot(f"SQNR along {name}", x, y, [dots(0, floats=True), dots(1, floats=False)])


def delegation_map(expected: Forecast, name: str) -> str:
    """A bar over the operators in running order: partitions of the delegate by turns, what it refuses in red."""
    owner = {index: number for number, part in enumerate(expected.partitions) for index in part}
    spans: list[tuple[int | None, int, int]] = []
    for index in range(expected.total):
        kind = owner.get(index)
        if spans and spans[-1][0] == kind:
            spans[-1] = (kind, spans[-1][1], index + 1)
        else:
            spans.append((kind, index, index + 1))
    parts = "".join(
        f'<rect x="{a}" width="{b - a}" height="10" fill="{_shade(kind)}"/>' for kind, a, b in spans
    )
    return (
        f'<svg viewBox="0 0 {max(expected.total, 1)} 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(f"Partitions of {name}")}">{parts}</svg>'
    )


def _shade(partition: int | None) -> str:
    return "var(--bad)" if partition is None else f"var(--c{partition % 2})"
