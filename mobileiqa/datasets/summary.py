"""What a data set holds, in figures, in text and as a picture."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobileiqa import cli
from mobileiqa.datasets.core import SPLITS, Dataset, Sample
from mobileiqa.photos.loading import load_image
from mobileiqa.text import plot_text, printable

BINS = 20  # of the score histogram, over 0..1
BAR = 40  # characters of the longest bar

_FIGURES = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max}  # of a side's raw scores


def summarize(dataset: Dataset) -> dict[str, Any]:
    """Counts, scores and distortions, ready for JSON. "histogram" counts normalised scores per side."""
    sides = {split: dataset.of(split) for split in SPLITS}
    return {
        "name": dataset.name,
        "images": len(dataset.samples),
        "references": _references(dataset.samples),
        "score": dataset.score_name,
        "raw_range": list(dataset.raw_range),
        "range_rule": dataset.range_rule,
        "split_rule": dataset.split_rule,
        "splits": {name: _side(samples) for name, samples in {**sides, "all": dataset.samples}.items()},
        "histogram": {name: _histogram(samples) for name, samples in sides.items()},
        "distortions": _distortions(dataset.samples),
    }


def image_sizes(dataset: Dataset, count: int) -> dict[str, int]:
    """ "WIDTHxHEIGHT" -> how many of `count` images spread over the set, most frequent first.

    The images are decoded, so a damaged download shows. Raises UserError naming the first broken one.
    """
    spread = np.linspace(0, len(dataset.samples) - 1, min(count, len(dataset.samples))).astype(int)
    paths = [dataset.samples[i].path for i in spread]
    sizes = [load_image(path).size for path in cli.progress(paths, "opening images")]
    return {f"{width}x{height}": n for (width, height), n in Counter(sizes).most_common()}


def as_text(summary: dict[str, Any]) -> list[str]:
    """The summary as lines: what the set is, its sides, its score histogram, its distortions."""
    low, high = summary["raw_range"]
    lines = [
        f"{summary['name']}: {summary['images']} images, {summary['score']} {low:g}..{high:g} "
        f"({summary['range_rule']}), higher is better",
        f"split: {summary['split_rule']}",
        "",
        f"{'side':<11} {'images':>7} {'references':>10} {'mean':>8} {'std':>8} {'min':>8} {'max':>8}",
        *(_side_line(name, side) for name, side in summary["splits"].items()),
        "",
        *_histogram_lines(summary),
    ]
    if summary["distortions"]:
        lines += ["", *_distortion_lines(summary["distortions"])]
    return [printable(line) for line in lines]


def draw(path: Path, summary: dict[str, Any]) -> None:
    """Writes a PNG, atomically: the sides' score distributions, and mean scores by distortion and level."""
    from matplotlib.figure import Figure

    known = bool(summary["distortions"])
    figure = Figure(figsize=(12 if known else 6.5, 6 if known else 4), layout="constrained")
    left, *right = np.atleast_1d(figure.subplots(1, 1 + known))
    edges = np.linspace(*summary["raw_range"], BINS + 1)
    for name, counts in summary["histogram"].items():
        if sum(counts):
            share = 100 * np.array(counts) / sum(counts)
            left.stairs(share, edges, label=f"{name} ({sum(counts)})", fill=name == "train", alpha=0.7)
    left.set(
        xlabel=plot_text(summary["score"]), ylabel="% of the side's images", title=plot_text(summary["name"])
    )
    left.legend()
    for axes in right:
        _draw_distortions(figure, axes, summary)
    with cli.atomic(path) as temporary:
        cli.save_plot(figure, temporary, dpi=120)


def _references(samples: Sequence[Sample]) -> int:
    return len({sample.reference for sample in samples if sample.reference})


def _side(samples: Sequence[Sample]) -> dict[str, Any]:
    side: dict[str, Any] = {"images": len(samples), "references": _references(samples)}
    if samples:
        scores = np.array([sample.raw_score for sample in samples])
        side |= {name: round(float(figure(scores)), 4) for name, figure in _FIGURES.items()}
    return side


def _histogram(samples: Sequence[Sample]) -> list[int]:
    return np.histogram([sample.score for sample in samples], BINS, (0, 1))[0].tolist()


def _distortions(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """One entry per distortion number: its images, and the mean raw score of each level (0: not known)."""
    scores: dict[tuple[int, str], dict[int, list[float]]] = {}
    for sample in samples:
        if sample.distortion:
            levels = scores.setdefault((sample.distortion, sample.distortion_name), {})
            levels.setdefault(sample.level, []).append(sample.raw_score)
    return [
        {
            "number": number,
            "name": name,
            "images": sum(map(len, levels.values())),
            "mean_by_level": {
                str(level): round(float(np.mean(levels[level])), 4) for level in sorted(levels)
            },
        }
        for (number, name), levels in sorted(scores.items())
    ]


def _side_line(name: str, side: dict[str, Any]) -> str:
    shown = [f"{side[key]:8.3f}" if key in side else f"{'-':>8}" for key in _FIGURES]
    return " ".join([f"{name:<11}", f"{side['images']:7d}", f"{side['references'] or '-':>10}", *shown])


def _histogram_lines(summary: dict[str, Any]) -> list[str]:
    counts = np.sum(list(summary["histogram"].values()), axis=0)
    edges = np.linspace(*summary["raw_range"], BINS + 1)
    digits = max(len(f"{edge:.2f}") for edge in edges)
    bins = [f"{low:{digits}.2f}..{high:{digits}.2f}" for low, high in itertools.pairwise(edges)]
    width = max(map(len, (summary["score"], *bins)))
    bars = ["#" * int(np.ceil(BAR * n / counts.max())) for n in counts]
    return [
        f"{summary['score']:<{width}} {'images':>7}",
        *(
            f"{place:<{width}} {n:7d} {bar}".rstrip()
            for place, n, bar in zip(bins, counts, bars, strict=True)
        ),
    ]


def _distortion_lines(distortions: Sequence[dict[str, Any]]) -> list[str]:
    levels = _levels(distortions)
    width = max(len("distortion"), *(len(_title(d)) for d in distortions))
    heads = " ".join(f"level {level}" if level != "0" else "   mean" for level in levels)
    return [
        f"{'distortion':<{width}} {'images':>7} {heads}",
        *(
            f"{_title(d):<{width}} {d['images']:7d} "
            + " ".join(
                f"{d['mean_by_level'][level]:7.2f}" if level in d["mean_by_level"] else f"{'-':>7}"
                for level in levels
            )
            for d in distortions
        ),
    ]


def _levels(distortions: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({level for d in distortions for level in d["mean_by_level"]}, key=int)


def _title(distortion: dict[str, Any]) -> str:
    return f"{distortion['number']:2d} {distortion['name']}".rstrip()


def _draw_distortions(figure: Any, axes: Any, summary: dict[str, Any]) -> None:
    distortions = summary["distortions"]
    levels = _levels(distortions)
    means = np.array([[d["mean_by_level"].get(level, np.nan) for level in levels] for d in distortions])
    low, high = summary["raw_range"]
    image = axes.imshow(means, aspect="auto", vmin=low, vmax=high, cmap="viridis")
    axes.set_yticks(range(len(distortions)), [plot_text(_title(d)) for d in distortions], fontsize=7)
    axes.set_xticks(range(len(levels)), [level if level != "0" else "any" for level in levels])
    axes.set(xlabel="level", title=plot_text(f"mean {summary['score']}"))
    figure.colorbar(image, ax=axes)
