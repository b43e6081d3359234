"""The accuracy report's files: JSON and CSV for machines, pictures for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.accuracy_report.layer_sqnr import Layer, LayerTable
from convert.accuracy_report.report import FILES, Report, as_json
from mobileiqa import cli
from mobileiqa.files.outputs import entries
from mobileiqa.text import csv_text, plot_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write(report: Report, folder: Path) -> None:
    """Writes FILES into `folder`, all or none; layers.png only where layers were compared."""
    with entries(folder) as staged:
        cli.write_json(staged / FILES[0], as_json(report))
        cli.write_text(staged / FILES[1], csv_text(_score_rows(report)))
        scatter(report, staged / FILES[2])
        if any(file.layers for file in report.files):
            along_the_graph(report, staged / FILES[3])


def _score_rows(report: Report) -> list[list[Any]]:
    """scores.csv, in units of the score range; the label's cell is empty where there is none."""
    rows: list[list[Any]] = [["image", "label", "fp32", *(file.label for file in report.files)]]
    labels = report.labels or [""] * len(report.images)
    return rows + [
        [name, label, *map(float, scores)]
        for name, label, scores in zip(report.images, labels, report.scores.T, strict=True)
    ]


MARKED = 3  # layers named
NEAR = 6  # operators
HIGHEST_DB = 80  # shown: above is rounding in float32


def _save(figure: "Figure", path: Path) -> None:
    with cli.atomic(path) as temporary:
        cli.save_plot(figure, temporary, dpi=120)


def scatter(report: Report, path: Path) -> None:
    """Writes a PNG: a panel per file, its scores over FP32's, and where they would be equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(report.files), 4.6), layout="constrained")
    panels = figure.subplots(1, len(report.files), squeeze=False)[0]
    for axes, file, scores in zip(panels, report.files, report.scores[1:], strict=True):
        axes.axline((0, 0), slope=1, color="0.6", linewidth=1)
        axes.scatter(report.scores[0], scores, s=8, alpha=0.6, linewidths=0)
        known = file.agreement.correlations.get("srcc")
        label = plot_text(file.label)
        axes.set_title(f"{label}\nSRCC {known.value:.4f}" if known else label, fontsize=9)
        axes.set_xlabel("FP32 score")
        axes.set_ylabel(plot_text(f"{file.precision} score"))
        axes.grid(alpha=0.3)
    _save(figure, path)


def along_the_graph(report: Report, path: Path) -> None:
    """Writes a PNG: a panel per file, SQNR over the operators in running order."""
    from matplotlib.figure import Figure

    files = [file for file in report.files if file.layers]
    figure = Figure(figsize=(9, 3.2 * len(files)), layout="constrained")
    for axes, file in zip(figure.subplots(len(files), 1, squeeze=False)[:, 0], files, strict=True):
        assert file.layers
        _sqnr_panel(axes, file.layers)
        axes.set_title(plot_text(file.label), fontsize=9)
    _save(figure, path)


def _sqnr_panel(axes: "Axes", table: LayerTable) -> None:
    """What equals FP32 has no point: its SQNR is infinite."""
    known = [layer for layer in table.layers if layer.sqnr_db is not None]
    for name, colour in (("float", "tab:blue"), ("integer", "tab:orange")):
        some = [x for x in known if x.dtype.startswith("float") == (name == "float")]
        axes.scatter([x.index for x in some], [x.sqnr_db for x in some], s=14, color=colour, label=name)
    for layer in _apart([x for x in table.worst_first() if x.sqnr_db is not None]):
        name = plot_text(f"{layer.operator} {layer.index}")
        axes.annotate(
            name, (layer.index, layer.sqnr_db or 0), (4, -3), textcoords="offset points", fontsize=7
        )
    axes.set_xlabel("operator, in running order")
    axes.set_ylabel("SQNR, dB")
    axes.grid(alpha=0.3)
    axes.set_ylim(top=min(axes.get_ylim()[1], HIGHEST_DB))
    if known:
        axes.legend(fontsize=7)
    else:
        axes.text(0.5, 0.5, "every activation equals FP32's", transform=axes.transAxes, ha="center")


def _apart(worst: Sequence[Layer]) -> list[Layer]:
    """The first MARKED that are no neighbours of one marked before: names would cover each other."""
    marked: list[Layer] = []
    for layer in worst:
        if len(marked) < MARKED and all(abs(layer.index - other.index) > NEAR for other in marked):
            marked.append(layer)
    return marked
