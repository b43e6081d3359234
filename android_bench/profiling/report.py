"""A profile for people: two tables, and a picture as SVG that needs no library.

The picture has bars by kind of operator above a strip of all operators in the order in which they ran, each as
wide as its time. Colour is the kind; hatching says that LiteRT's own kernel ran it because XNNPACK did not.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from android_bench.results.tflite_file import takes
from mobileiqa.svg import COLORS
from mobileiqa.text import escape, table

if TYPE_CHECKING:
    from android_bench.profile import Kind, Profile

OTHERS = "#9aa5af"  # the colour of every kind after the first six
SHOWN = 12  # kinds in the picture; what comes after is one bar
WIDTH, LABEL, BAR, ROW, STRIP = 830, 320, 290, 24, 54
TOP = 62


def tables(measured: "Profile", top: int) -> str:
    """By kind, then the `top` most expensive operators, then what the figures are."""
    kinds, whole = measured.kinds(), measured.operators_ms or 1.0
    lines = [["kind of operator", "kernels", "count", "ms", "share", "together"]]
    together = 0.0
    for kind in kinds:
        together += kind.share
        lines.append([kind.name, kind.by, str(kind.count), *_figures(kind.ms, kind.share), f"{together:.1%}"])
    parts = [table(lines, left=(0, 1))]
    ranked = sorted(enumerate(measured.operators), key=lambda pair: -pair[1].ms)[:top]
    if ranked:
        lines = [["operator", "kernels", "runs as", "ms", "share", "partition"]]
        for index, one in ranked:
            partition = "-" if one.partition is None else str(one.partition)
            lines.append([one.name, one.by, f"#{index}", *_figures(one.ms, one.ms / whole), partition])
        parts.append(table(lines, left=(0, 1)))
    return "\n\n".join([*parts, _sentence(measured)])


def _figures(ms: float, share: float) -> tuple[str, str]:
    return f"{ms:.3f}", _percent(share)


def _percent(share: float) -> str:
    """Of the operators' time; what was measured and rounds to nothing is not nothing."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _sentence(measured: "Profile") -> str:
    figures, config = measured.summary(), measured.config
    return (
        f"{figures['operators']} operators in {figures['partitions']} XNNPACK partition(s) take "
        f"{figures['operators_ms']:.3f} ms of {figures['profiled_median_ms']:.3f} ms; "
        f"{figures['plain_median_ms']:.3f} ms without the profiler; {figures['not_delegated']} were not delegated\n"
        f"{measured.name}, {takes(measured.input_types, measured.input_shapes)}; "
        f"{measured.runtime}, {measured.device.cpu}, "
        f"{config.threads} thread(s) on CPU "
        f"{','.join(map(str, measured.cpus))}, medians of {config.runs} runs"
    )


def svg(measured: "Profile") -> str:
    """A whole SVG document."""
    kinds = measured.kinds()
    colors = {
        (kind.name, kind.by): COLORS[index][0] if index < len(COLORS) else OTHERS
        for index, kind in enumerate(kinds)
    }
    rows = min(len(kinds), SHOWN) + (len(kinds) > SHOWN)
    bottom = TOP + rows * ROW
    height = bottom + STRIP + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="Time by operator" font-family="sans-serif" font-size="12">',
        _hatching(),
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        *_heading(measured),
        *_bars(kinds, colors),
        *_strip(measured, colors, bottom + 34),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _hatching() -> str:
    return (
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="3" height="6" fill="#fff" opacity=".65"/></pattern></defs>'
    )


def _heading(measured: "Profile") -> Iterator[str]:
    figures = measured.summary()
    yield f'<text x="14" y="24" font-size="15" font-weight="600">{escape(measured.name)}</text>'
    sentence = (
        f"{figures['operators_ms']:.2f} ms in {figures['operators']} operators, {figures['not_delegated']} of them "
        f"not delegated, {figures['partitions']} XNNPACK partition(s); "
        f"{measured.config.threads} thread(s), {measured.device.cpu}"
    )
    yield f'<text x="14" y="43" fill="#5a6773">{escape(sentence)}</text>'


def _bars(kinds: "Sequence[Kind]", colors: dict[tuple[str, str], str]) -> Iterator[str]:
    """One bar a kind; those beyond SHOWN in one."""
    longest = max([kind.ms for kind in kinds[:SHOWN]] + [sum(kind.ms for kind in kinds[SHOWN:])]) or 1.0
    for row, kind in enumerate(kinds[:SHOWN]):
        label = f"{kind.name} ×{kind.count}"
        color = colors[kind.name, kind.by]
        yield from _bar(row, label, kind.ms, kind.share, longest, color, kind.by == "LiteRT")
    if rest := kinds[SHOWN:]:
        label = f"{len(rest)} other kinds ×{sum(kind.count for kind in rest)}"
        ms, share = sum(kind.ms for kind in rest), sum(kind.share for kind in rest)
        yield from _bar(SHOWN, label, ms, share, longest, OTHERS, False)


def _bar(
    row: int, label: str, ms: float, share: float, longest: float, color: str, hatched: bool
) -> Iterator[str]:
    y, width = TOP + row * ROW, max(1.0, BAR * ms / longest)
    words = f"{ms:.3f} ms, {_percent(share)}{', not delegated' * hatched}"
    yield f'<text x="{LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(label)}</text>'
    yield from _box(LABEL, y + 3, width, ROW - 7, color, hatched, f"{label}: {words}")
    yield f'<text x="{LABEL + width + 6:.1f}" y="{y + 15}" fill="#5a6773">{escape(words)}</text>'


def _strip(measured: "Profile", colors: dict[tuple[str, str], str], y: int) -> Iterator[str]:
    """Every operator in running order, as wide as its time."""
    yield f'<text x="14" y="{y - 8}" font-weight="600">In running order</text>'
    x, whole = 14.0, measured.operators_ms or 1.0
    for index, one in enumerate(measured.operators):
        width = (WIDTH - 28) * one.ms / whole
        title = f"#{index} {one.name}, {one.by}: {one.ms:.3f} ms, {_percent(one.ms / whole)}"
        yield from _box(x, y, width, STRIP - 20, colors[one.name, one.by], one.partition is None, title)
        x += width
    yield (
        f'<text x="14" y="{y + STRIP}" fill="#5a6773">Colours as above, grey: kinds that cost less. '
        "Hatched: not delegated, LiteRT's built-in kernels.</text>"
    )


def _box(
    x: float, y: float, width: float, height: float, color: str, hatched: bool, title: str
) -> Iterator[str]:
    shape = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{height}"'
    edge = ' stroke="#fff" stroke-width=".4"' * (width > 2)
    yield f'<g><title>{escape(title)}</title><rect {shape} fill="{color}"{edge}/>'
    yield f'<rect {shape} fill="url(#hatch)"/></g>' if hatched else "</g>"
