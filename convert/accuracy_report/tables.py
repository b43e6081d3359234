"""The accuracy report's tables, for people."""

from convert.accuracy_report.agreement import RANKED, Labelled
from convert.accuracy_report.layer_sqnr import Layer, LayerTable
from convert.accuracy_report.report import FileReport, Latency, Report
from mobileiqa.evaluation.results import RESAMPLES
from mobileiqa.text import printable, table

SHOWN_LAYERS = 8


def text(report: Report) -> str:
    """The tables: a column per file; then each file's worst images, worst layers and gates."""
    header = (
        f"{report.model}: {len(report.images)} images of {report.data}; one unit is {report.unit:g} of the score; "
        f"[95 % interval of {RESAMPLES} resamples of {report.resampled}]"
    )
    rows = [row for row in _rows(report) if set(row[1:]) != {"-"}]
    parts = [
        printable(header),
        table([["", f"FP32: {report.fp32}", *(f.label for f in report.files)], *rows]),
    ]
    parts += ["\n".join(_details(file)) for file in report.files]
    return "\n\n".join([*parts, "\n".join(map(printable, report.notes))] if report.notes else parts)


def _rows(report: Report) -> list[list[str]]:
    """Every row, FP32's cell first; a row of "-" alone has nothing to say."""
    files, agreements = report.files, [file.agreement for file in report.files]
    labelled = [file.labelled for file in files]
    first = labelled[0].fp32 if labelled and labelled[0] else {}
    size = "-" if report.fp32_bytes is None else f"{report.fp32_bytes / 1e6:.2f}"
    distinct = str(max((a.distinct_fp32 for a in agreements), default=0) or "-")
    return [
        *(
            [f"{n.upper()} with FP32", "-", *(str(a.correlations.get(n, "-")) for a in agreements)]
            for n in RANKED
        ),
        *(
            [f"{n.upper()} with labels", str(first.get(n, "-")), *(_against(x, n) for x in labelled)]
            for n in RANKED
        ),
        ["drop of SRCC with labels", "-", *(str(x.drop) if x and x.drop else "-" for x in labelled)],
        ["mean shift", "-", *(_number(a.mean_shift) for a in agreements)],
        ["mean shift, signed", "-", *(_number(a.bias, "+.4f") for a in agreements)],
        ["largest shift", "-", *(_number(a.max_shift) for a in agreements)],
        ["pairs reversed", "-", *(_percent(a.pair_reversed) for a in agreements)],
        ["pairs that become ties", "-", *(_percent(a.pair_tied) for a in agreements)],
        ["threshold flips, mean", "-", *(_percent(a.thresholds and a.thresholds.mean) for a in agreements)],
        ["threshold flips, worst", "-", *(_percent(a.thresholds and a.thresholds.worst) for a in agreements)],
        ["likeliest reasons that agree", "-", *(_percent(a.reasons_agree) for a in agreements)],
        ["distinct scores", distinct, *(str(a.distinct or "-") for a in agreements)],
        ["smallest gap of scores", "-", *(_number(a.smallest_gap, ".1e") for a in agreements)],
        ["step of the output", "-", *(_number(f.score_step, ".1e") for f in files)],
        ["file, MB", size, *(f"{f.file_bytes / 1e6:.2f}" for f in files)],
        ["file, share of FP32's", "-", *(_number(f.size_ratio, ".3f") for f in files)],
        ["XNNPACK partitions", "-", *(str(f.partitions) for f in files)],
        ["operators delegated", "-", *(f"{f.nodes_delegated} of {f.nodes_total}" for f in files)],
        [
            "median, ms",
            _fp32_ms(files[0].latency),
            *(_number(f.latency and f.latency.median_ms, ".1f") for f in files),
        ],
        ["times FP32's speed", "-", *(_speedup(f.latency) for f in files)],
    ]


def _against(labelled: Labelled | None, name: str) -> str:
    return str(labelled.candidate.get(name, "-")) if labelled else "-"


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)


def _fp32_ms(latency: Latency | None) -> str:
    return f"{latency.median_ms * latency.speedup:.1f}" if latency else "-"


def _speedup(latency: Latency | None) -> str:
    if latency is None:
        return "-"
    return f"{latency.speedup:.2f}{', DISTURBED' if latency.disturbed else ''}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _details(file: FileReport) -> list[str]:
    """A converted file's worst images, its worst layers, its gates."""
    agreement = file.agreement
    lines = [printable(f"{file.label} ({file.precision}){', ' + file.note if file.note else ''}")]
    if agreement.worst:
        worst = [[f"  {w.image}", f"{w.fp32:.4f}", f"{w.candidate:.4f}"] for w in agreement.worst]
        lines += [table([["  largest shifts", "FP32", "here"], *worst])]
    if file.layers:
        lines += [_layer_table(file.layers)]
    return [*lines, *(printable(f"  {verdict}") for verdict in file.verdicts)]


def _layer_table(layers: LayerTable) -> str:
    worst = layers.worst_first()
    exact = len(layers.layers) - len(worst)
    rows = [
        [f"  {_db(x)}", _number(x.plain_db, ".1f"), str(x.index), x.operator, x.dtype, x.name[-60:]]
        for x in worst[:SHOWN_LAYERS]
    ]
    head = (
        f"  lowest SQNR of {len(layers.layers)} activations over {layers.images} images; "
        f"{exact} equal FP32's, {len(layers.missing)} of FP32's have no counterpart"
        f"{'; * without the gains of its channels' if any(x.scaled for x in worst[:SHOWN_LAYERS]) else ''}"
    )
    return (
        f"{head}\n{table([['  dB', 'plain', 'at', 'operator', 'type', 'tensor'], *rows])}" if rows else head
    )


def _db(layer: Layer) -> str:
    if layer.sqnr_db is not None:
        return f"{layer.sqnr_db:.1f}{' *' if layer.scaled else ''}"
    return "no signal" if layer.finite else "not finite"
