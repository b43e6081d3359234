"""An evaluation's outputs: tables for people, JSON and CSV for machines, a scatter plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mobileiqa import cli
from mobileiqa.checkpoint import sha256
from mobileiqa.counting import of_an_image
from mobileiqa.datasets.core import Dataset, Sample
from mobileiqa.evaluation.leakage import Leakage
from mobileiqa.evaluation.results import LEVEL_GAP, RESAMPLES, Evaluation, reference_groups
from mobileiqa.files.outputs import entries
from mobileiqa.loaded_model import LoadedModel
from mobileiqa.text import csv_text, plot_text, printable, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA = 1
FULL_SIZE_PX = (3840, 2160)  # MobileIQA's papers count there
FULL_SIZE = "3840x2160"
FILES = ("evaluation.json", "scores.csv", "scatter.png")  # in the order in which they are written
TITLES = {
    "srcc": "SRCC", "plcc": "PLCC", "krcc": "KRCC", "rmse": "RMSE", "mae": "MAE",
    "plcc_fitted": "PLCC, fitted", "rmse_fitted": "RMSE, fitted",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A loaded model and what the tables call it."""

    label: str
    path: Path | None  # None: no file (a name, or the default)
    scorer: LoadedModel

    def macs(self, size_px: tuple[int, int] | None = None) -> int | None:
        """Multiply-accumulates of an image at the model's input size, or at (width, height); None of a .tflite file.

        `python -m convert.inspect` counts those.
        """
        module = self.scorer.module
        return None if module is None else of_an_image(module, self.scorer.spec, size_px)


@dataclass(frozen=True)
class Images:
    """What is evaluated.

    monotone: numbers of distortions whose levels get worse in order. skipped: images that could not be read,
    and why. split_note: why it is this side. leaks: of each trained model, the images that it was trained on.
    trained_left_out: how many of those were left out.
    """

    dataset: Dataset
    root: Path
    split: str
    samples: tuple[Sample, ...]
    monotone: frozenset[int] = frozenset()
    skipped: tuple[tuple[str, str], ...] = ()
    split_note: str = ""
    leaks: tuple[Leakage, ...] = ()
    trained_left_out: int = 0

    def name(self, sample: Sample) -> str:
        """The image's path inside the set's folder."""
        path = sample.path
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)


@dataclass(frozen=True)
class Comparison:
    """Everything that was found: scores (models, images) in 0..1, one evaluation per model."""

    images: Images
    models: tuple[Model, ...]
    scores: NDArray[np.float64]
    evaluations: tuple[Evaluation, ...]


def text(compared: Comparison) -> str:
    """The tables: a column per model."""
    labels = [model.label for model in compared.models]
    rows = [
        [title, *(str(e.metrics.get(name, "-")) for e in compared.evaluations)]
        for name, title in TITLES.items()
    ]
    if any(e.pairs for e in compared.evaluations):
        rows.append([f"pairs {LEVEL_GAP}+ levels apart", *map(_pairs, compared.evaluations)])
    rows.append(["file, MB", *(_megabytes(model.path) for model in compared.models)])
    if any(model.scorer.module for model in compared.models):
        rows.append(["GMACs", *(_giga(model.macs()) for model in compared.models)])
        rows.append(
            [f"GMACs at {FULL_SIZE}", *(_giga(model.macs(FULL_SIZE_PX)) for model in compared.models)]
        )
    parts = [_header(compared), table([["", *labels], *rows], left=(0,))]
    if compared.evaluations[0].distortions:
        parts.append(
            table([["SRCC within", "images", *labels], *_distortions(compared.evaluations)], left=(0,))
        )
    notes = [f"{printable(m.label)}: {m.scorer.note}" for m in compared.models if m.scorer.note]
    notes += [printable(leak.text(len(compared.images.samples))) for leak in compared.images.leaks]
    notes += [
        f"{printable(m.label)}: no logistic fit: {e.fit_failure}"
        for m, e in zip(compared.models, compared.evaluations, strict=True)
        if e.fit_failure
    ]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def _header(compared: Comparison) -> str:
    images, data = compared.images, compared.images.dataset
    low, high = data.raw_range
    left_out = f", {len(images.skipped)} unreadable left out" if images.skipped else ""
    if images.trained_left_out:
        left_out += f", {images.trained_left_out} trained on left out"
    side = f"{images.split} ({images.split_note})" if images.split_note else images.split
    return printable(
        f"{data.name}, {side}: {len(images.samples)} images{left_out}; "
        f"{data.score_name} {low:g}..{high:g} brought to 0..1; "
        f"[95 % interval of {RESAMPLES} resamples of {_resampled(images)}]"
    )


def _resampled(images: Images) -> str:
    groups = reference_groups(images.samples)
    return "images" if groups is None else f"{groups.max() + 1} references"


def _pairs(evaluation: Evaluation) -> str:
    accuracy = evaluation.pair_accuracy
    return "-" if accuracy is None else f"{100 * accuracy:.1f} % of {evaluation.pairs} right"


def _megabytes(path: Path | None) -> str:
    return "-" if path is None else f"{path.stat().st_size / 1e6:.2f}"


def _giga(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e9:.2f}"


def _distortions(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """A row per distortion, then each model's lowest."""
    rows = [
        [f"{d.number:2d} {d.name}", str(d.n), *(_figure(e.distortions[i].srcc) for e in evaluations)]
        for i, d in enumerate(evaluations[0].distortions)
    ]
    lowest = [e.weakest.srcc if e.weakest else None for e in evaluations]
    return [*rows, ["lowest", "", *map(_figure, lowest)]]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def as_json(compared: Comparison) -> dict[str, Any]:
    """Everything but the scores, without this machine's paths."""
    images, data = compared.images, compared.images.dataset
    return {
        "schema": SCHEMA,
        "data": data.name,
        "split": images.split,
        "split_note": images.split_note,
        "split_rule": data.split_rule,
        "split_seed": data.split_seed,
        "trained_left_out": images.trained_left_out,
        "score_name": data.score_name,
        "raw_range": list(data.raw_range),
        "images": len(images.samples),
        "skipped": [{"image": name, "error": reason} for name, reason in images.skipped],
        "resamples": RESAMPLES,
        "resampled": _resampled(images),
        "models": [
            {**_identity(model), **_leak(compared, model.label), **evaluation.to_json()}
            for model, evaluation in zip(compared.models, compared.evaluations, strict=True)
        ],
    }


def _identity(model: Model) -> dict[str, Any]:
    spec = model.scorer.spec
    return {
        "label": model.label,
        "model": spec.name,
        "runtime": model.scorer.runtime,
        "sha256": sha256(model.path) if model.path else None,
        "file_bytes": model.path.stat().st_size if model.path else None,
        "trained_on": spec.trained_on,
        "macs": model.macs(),
        "macs_at_3840x2160": model.macs(FULL_SIZE_PX),
        "note": model.scorer.note,
    }


def _leak(compared: Comparison, label: str) -> dict[str, Any]:
    """How many of the images the model was trained on; None where its file does not say."""
    leak = next((leak for leak in compared.images.leaks if leak.model == label), None)
    if leak is None or not leak.recorded:
        return {"trained_images": None, "validation_images": None}
    return {"trained_images": len(leak.train), "validation_images": len(leak.validation)}


def summary(compared: Comparison, out: Path | None) -> dict[str, Any]:
    """The command's last line: each model's figures without intervals."""
    images = compared.images
    return {
        "data": images.dataset.name,
        "split": images.split,
        "split_seed": images.dataset.split_seed,
        "images": len(images.samples),
        "skipped": len(images.skipped),
        "models": [
            {
                "label": model.label,
                "note": model.scorer.note,
                **_leak(compared, model.label),
                **{name: estimate.value for name, estimate in e.metrics.items()},
                "pair_accuracy": e.pair_accuracy,
                "lowest_distortion_srcc": e.weakest.srcc if e.weakest else None,
            }
            for model, e in zip(compared.models, compared.evaluations, strict=True)
        ],
        "out": str(out) if out else None,
    }


def write(compared: Comparison, folder: Path) -> None:
    """Writes FILES into `folder`: all of them, or none where one cannot be written."""
    with entries(folder) as staged:
        cli.write_json(staged / FILES[0], as_json(compared))
        cli.write_text(staged / FILES[1], csv_text(_rows(compared)))
        _scatter(compared, staged / FILES[2])


def _rows(compared: Comparison) -> list[tuple[Any, ...]]:
    """scores.csv: labels and scores in 0..1, and the label as the set has it."""
    fixed = ("image", "split", "reference", "distortion", "level", "raw_label", "label")
    rows: list[tuple[Any, ...]] = [(*fixed, *(model.label for model in compared.models))]
    for sample, scores in zip(compared.images.samples, compared.scores.T, strict=True):
        name = compared.images.name(sample)
        known = (sample.distortion or "", sample.level or "", sample.raw_score, sample.score)
        rows.append((name, sample.split, sample.reference, *known, *(float(v) for v in scores)))
    return rows


def _scatter(compared: Comparison, path: Path) -> None:
    """A panel per model: labels over scores, and the fitted curve."""
    from matplotlib.figure import Figure

    columns = min(3, len(compared.models))
    rows = -(-len(compared.models) // columns)
    figure = Figure(figsize=(4.6 * columns, 4.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, axes in enumerate(panels):
        if i < len(compared.models):
            _panel(axes, compared, i)
        else:
            axes.axis("off")
    cli.save_plot(figure, path, dpi=120)


def _panel(axes: "Axes", compared: Comparison, index: int) -> None:
    evaluation, scores = compared.evaluations[index], compared.scores[index]
    labels = [sample.score for sample in compared.images.samples]
    axes.scatter(scores, labels, s=8, alpha=0.5, linewidths=0)
    if evaluation.fitted is not None:
        order = np.argsort(scores)
        axes.plot(scores[order], evaluation.fitted[order], color="black", linewidth=1)
    metrics = evaluation.metrics
    axes.set_title(
        f"{plot_text(compared.models[index].label)}\n"
        f"SRCC {metrics['srcc'].value:.4f}, PLCC {metrics['plcc'].value:.4f}",
        fontsize=9,
    )
    axes.set_xlabel("score")
    axes.set_ylabel(plot_text(compared.images.dataset.score_name))
    axes.grid(alpha=0.3)
