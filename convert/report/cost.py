"""The page's parts about cost: the table of all files, SQNR along the graph, and which operators are delegated."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from convert.accuracy_report.layer_sqnr import Layer
from convert.accuracy_report.report import FileReport
from convert.delegation.partitions import Forecast, forecast
from convert.flatbuffer.reader import Graph
from convert.report import plots
from convert.report.content import Content
from convert.report.files import File
from convert.runtimes.latency import FileLatency
from mobileiqa.html_page import breakable, number, paragraph, table, verdict
from mobileiqa.text import escape

LAYERS = 8  # worst ones in a table
PARTITIONS = 8  # the first ones in a table
KINDS = 4  # operator types named of a partition, the most frequent


def overview(content: Content) -> Iterator[str]:
    """A column per file; a row of which no file has a figure is left out."""
    columns = [
        _column(content, file, inspected)
        for file, inspected in zip(content.files, content.inspected, strict=True)
    ]
    heads = [f"{f.precision.upper()}<br>{breakable(f.label)}" for f in content.files]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    yield "<h2>At a glance</h2>"
    yield table("At a glance", ["", *heads], [row for row in rows if set(row[1:]) != {"-"}])
    if content.latency:
        yield paragraph(
            f"Latency and memory: {content.latency.command}; {content.latency.setup['runtime']}, on this machine. "
            "Peak memory is resident MB less the imported runtime.", "soft",
        )  # fmt: skip


def _column(content: Content, file: File, inspected: dict[str, Any]) -> dict[str, str]:
    """One file's cells by the row's name."""
    row, first = content.measured(file), content.files[0]
    latency = content.latency.files if content.latency else [None] * len(content.files)
    timed = dict(zip((f.path for f in content.files), latency, strict=True))
    smaller = file is not first and first.precision == "fp32"
    share = number(file.graph.file_bytes / first.graph.file_bytes, ".3f") if smaller else "-"
    return {
        "result": verdict(not content.problems(file)) if row or content.problems(file) else "-",
        "file, MB": number(file.graph.file_bytes / 1e6, ".2f"),
        "share of FP32's": share,
        **_accuracy(row),
        **_latency(timed[file.path], timed[first.path] if smaller else None),
        "largest activations, MB": number(inspected["peak_activation_bytes"] / 1e6, ".2f"),
        "MACs, 10<sup>6</sup>": number(inspected["macs"] / 1e6, ",.0f"),
        "parameters, 10<sup>6</sup>": number(inspected["parameters"] / 1e6, ".2f"),
        "XNNPACK partitions": str(len(inspected["partitions"])),
        "delegated": f"{inspected['delegated']} of {inspected['operators']}",
        "FP16 arithmetic": "allowed" if inspected["fp16_capable"] else "-",
    }


def _accuracy(row: FileReport | None) -> dict[str, str]:
    agreement = row.agreement if row else None
    srcc = agreement.correlations.get("srcc") if agreement else None
    drop = row.labelled.drop if row and row.labelled else None
    return {
        "SRCC with FP32": number(srcc and srcc.value),
        "drop of SRCC, labels": number(drop and drop.value, "+.4f"),
        "pair flips": "-"
        if not agreement or agreement.pair_flips is None
        else f"{100 * agreement.pair_flips:.2f} %",
        "mean shift": number(agreement and agreement.mean_shift, ".2g"),
        "largest shift": number(agreement and agreement.max_shift, ".2g"),
    }


def _latency(cost: FileLatency | None, fp32: FileLatency | None) -> dict[str, str]:
    span = f"{cost.p5_ms:.1f} to {cost.p95_ms:.1f}" if cost else "-"
    mark = '<div class="bad">disturbed</div>' if cost and cost.timing.disturbed else ""
    return {
        "median, ms": number(cost and cost.median_ms, ".1f") + mark,
        "p5 to p95, ms": span,
        "FP32's median over it": number(cost and fp32 and fp32.median_ms / cost.median_ms, ".2f"),
        "first load, ms": number(cost and cost.init_ms, ".1f"),
        "peak memory, MB": number(cost and cost.peak_memory_mb, ".1f"),
    }


def layers(content: Content) -> Iterator[str]:
    """SQNR of every file that was compared along the graph."""
    rows = [row for row in content.report.files if row.layers] if content.report else []
    if not rows:
        return
    yield "<h2>Along the graph</h2>"
    yield paragraph(
        "SQNR of every activation against FP32's: blue in float, orange in integers. Noise stays in what follows, so "
        "look for where the dots step down. plain: without taking out gains of equalized channels.", "soft",
    )  # fmt: skip
    for row in rows:
        assert row.layers
        worst = row.layers.worst_first()[:LAYERS]
        yield f"<h3>{escape(row.label)}</h3>"
        if not worst:
            yield paragraph(f"Every one of {len(row.layers.layers)} activations equals FP32's.")
            continue
        yield f"<figure>{plots.along_the_graph(row.layers, row.label)}</figure>"
        heads = ("operator", "dB", "plain", "at", "type", "tensor")
        yield table(f"Lowest SQNR of {row.label}", heads, map(_layer, worst), words=True)


def _layer(layer: Layer) -> list[str]:
    if layer.sqnr_db is None:
        sqnr = "no signal" if layer.finite else "not finite"
    else:
        sqnr = f"{layer.sqnr_db:.1f}{' *' if layer.scaled else ''}"
    name = escape(layer.name[-40:])
    return [
        escape(layer.operator),
        sqnr,
        number(layer.plain_db, ".1f"),
        str(layer.index),
        escape(layer.dtype),
        name,
    ]


def delegation(content: Content) -> Iterator[str]:
    """What XNNPACK takes of every file, and why not the rest."""
    yield "<h2>Delegation</h2>"
    yield paragraph(
        "Operators in running order; partitions of XNNPACK are blue and orange by turns, what TFLite's own kernels "
        "run is red. A forecast from the file, compared with what LiteRT did on this machine.", "soft",
    )  # fmt: skip
    for file, inspected in zip(content.files, content.inspected, strict=True):
        expected = forecast(file.graph)
        yield f"<h3>{escape(file.label)}</h3>"
        yield f'<div class="map">{plots.delegation_map(expected, file.label)}</div>'
        heads, rows = ("partition", "operators", "which"), _partitions(file.graph, expected)
        yield table(f"Partitions of {file.label}", heads, rows, words=True)
        yield from _refusals(inspected)


def _partitions(graph: Graph, expected: Forecast) -> Iterator[list[str]]:
    for index, part in enumerate(expected.partitions[:PARTITIONS], 1):
        where = f"#{part[0]} to #{part[-1]}" if len(part) > 1 else f"#{part[0]}"
        yield [f"{index} of {len(expected.partitions)}", f"{len(part)}, {where}", _kinds(graph, part)]
    rest = expected.partitions[PARTITIONS:]
    if rest:
        yield [
            f"{len(rest)} more",
            str(sum(map(len, rest))),
            _kinds(graph, [i for part in rest for i in part]),
        ]
    if expected.refusals:
        yield ["not delegated", str(len(expected.refusals)), _kinds(graph, sorted(expected.refusals))]


def _kinds(graph: Graph, indices: Sequence[int]) -> str:
    """The most frequent operator types: CONV_2D 33, ADD 9, 2 other types."""
    counts = Counter(graph.operators[i].name for i in indices).most_common()
    parts = [f"{escape(name)} {n}" for name, n in counts[:KINDS]]
    return ", ".join([*parts, *([f"{len(counts) - KINDS} other types"] if len(counts) > KINDS else [])])


def _refusals(inspected: dict[str, Any]) -> Iterator[str]:
    for one in inspected["refusals"]:
        yield paragraph(
            f"Not delegated: {one['count']} x {one['op']}, first #{one['first']}: {one['reason']}"
        )
    if inspected["check"]["agrees"]:
        yield paragraph("LiteRT delegates as forecast.", "soft")
    for difference in inspected["check"]["differences"]:
        yield paragraph(f"Forecast and runtime differ: {difference}", "bad")
    for warning in inspected["warnings"]:
        yield paragraph(warning, "bad")
