"""Measures converted files against FP32 on images: scores, gates, layers, delegation, latency -> Report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convert.accuracy_report.agreement import agreement, labelled
from convert.accuracy_report.gates import judge
from convert.accuracy_report.layer_sqnr import LayerTable, compare_layers, implied_step, precision
from convert.accuracy_report.report import FileReport, Latency, Report
from convert.comparison.converted_file import at_size, spec_difference
from convert.comparison.stages import score_unit
from convert.delegation.partitions import runtime_delegation
from convert.flatbuffer.reader import Graph, read_graph
from convert.parity import searched_images
from convert.runtimes.latency import measure as measure_latency
from mobileiqa import cli
from mobileiqa.checkpoint import sha256
from mobileiqa.datasets.core import Sample
from mobileiqa.errors import UserError
from mobileiqa.evaluate import load_models, read_untrained
from mobileiqa.evaluation.report import Model
from mobileiqa.evaluation.results import reference_groups
from mobileiqa.photos.search import NOTHING_SEARCHED, ImageSearch
from mobileiqa.preprocess import prepare
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing
from mobileiqa.scoring.litert import OUTPUT, REASONS, Inputs
from mobileiqa.spec import ModelSpec
from mobileiqa.zoo import UNTRAINED

T = TypeVar("T")


@dataclass(frozen=True)
class Images:
    """What is scored: names, files and, of a labelled set, samples; `data` says what it is."""

    data: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    samples: tuple[Sample, ...] | None
    search: ImageSearch = NOTHING_SEARCHED  # what else a folder holds

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """What the bootstrap draws together: images of one reference."""
        return reference_groups(self.samples) if self.samples else None

    @property
    def resampled(self) -> str:
        """What the bootstrap draws, in words."""
        return "images" if self.groups is None else f"{self.groups.max() + 1} references"


def images_of(
    folder: Path | None,
    data: Sequence[str] | None,
    split: str | None,
    limit: int | None,
    specs: Mapping[str, ModelSpec] | None = None,
) -> Images | None:
    """A folder's images, or those of a labelled set's split; None where neither is named.

    split None: test, or validation where there is no test side. Raises UserError for images of a set that the models
    (specs: by name) were trained on, as evaluate.read_untrained does.
    """
    if folder:
        named, search = searched_images(folder, limit)
        names, paths = tuple(n for n, _ in named), tuple(Path(str(p)) for _, p in named)
        return Images(str(folder), names, paths, None, search)
    if not data:
        return None
    name, path = data
    labels = read_untrained(specs or {}, (name, Path(path)), split, limit)
    leaks = "; ".join(leak.text(len(labels.samples)) for leak in labels.leaks if leak.train)
    names = tuple(labels.name(sample) for sample in labels.samples)
    about = ", ".join(filter(None, (name, labels.split, labels.split_note, leaks)))
    return Images(about, names, tuple(s.path for s in labels.samples), labels.samples)


def load(fp32: str, files: Sequence[str], threads: int = 1, weights: str | None = None) -> tuple[Model, ...]:
    """FP32 and the converted files, loaded. A checkpoint is run at their input size.

    Raises UserError for files that do not load, an FP32 file that is not, and converted files of another model,
    input size or preprocessing.
    """
    for path in files:
        if Path(path).suffix.lower() != ".tflite":
            raise UserError("converted files ending in .tflite", path, "convert the checkpoint first")
    reference, *others = load_models([fp32, *files], threads, weights)
    if is_converted(reference) and (kind := precision(read_graph(fp32))) != "fp32":
        raise UserError(f"an FP32 file first, then the others; {fp32} to be one", kind, "correct the order")
    spec = reference_spec(reference, others[0].scorer.spec)
    for other in others:
        if different := _difference(spec, other.scorer.spec):
            raise UserError(
                f"{other.label} to be {reference.label} converted, inputs and scores alike", different,
                "convert both from one checkpoint at one --size",
            )  # fmt: skip
    return reference, *others


def reference_spec(reference: Model, converted: ModelSpec) -> ModelSpec:
    """FP32's spec; a checkpoint's takes the converted file's input size."""
    spec = reference.scorer.spec
    return spec if is_converted(reference) else at_size(spec, converted)


def _difference(fp32: ModelSpec, converted: ModelSpec) -> str:
    sizes = [[f"{i.name} {i.width_px}x{i.height_px}" for i in spec.inputs] for spec in (fp32, converted)]
    other = f"{', '.join(sizes[1])}, expected {', '.join(sizes[0])}" if sizes[0] != sizes[1] else ""
    return spec_difference(fp32, converted) or other


def measure(models: Sequence[Model], images: Images, layer_images: int = 0, latency: bool = False) -> Report:
    """The report of `models`, FP32 first, as `load` returns them.

    SQNR is of `layer_images` images, spread evenly over the set; it needs an FP32 .tflite file.
    """
    reference, *others = models
    spec = reference_spec(reference, others[0].scorer.spec)
    raw, likeliest = score(models, images.paths, spec)
    unit = score_unit(spec, list(raw[0]))
    low, high = spec.score_range
    scores = (raw - low) / unit if spec.higher_is_better else (high - raw) / unit
    same = _agreeing(likeliest)
    files = [
        _file(reference, other, scores[[0, i]], images, unit, same[i]) for i, other in enumerate(others, 1)
    ]
    if layer_images and is_converted(reference) and not reference.scorer.embedded:
        paths = spread(images.paths, layer_images)
        files = [
            file if model.scorer.embedded else replace(file, layers=_layers(reference, model, paths))
            for file, model in zip(files, others, strict=True)
        ]
    if latency:
        times = benchmark([model.path for model in models if model.path])
        files = [replace(f, latency=time) for f, time in zip(files, times[1:], strict=True)]
    return Report(
        model=spec.name,
        fp32=reference.label,
        fp32_bytes=_bytes(reference),
        data=images.data,
        resampled=images.resampled,
        unit=unit,
        images=images.names,
        labels=tuple(s.score for s in images.samples) if images.samples else None,
        scores=scores,
        files=tuple(files),
        notes=tuple(_notes(models, spec, layer_images)),
    )


def score(
    models: Sequence[Model], paths: Sequence[Path], spec: ModelSpec
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Raw scores and the index of the likeliest reason, both (models, images) and of means over an image's crops.

    A score that is not finite stays what it is; of a model without reasons, the index is -1. Raises UserError for an
    image that cannot be read.
    """
    rows, likeliest = [], []
    for path in cli.progress(paths, "scoring", len(paths)):
        inputs = _inputs(path, models, spec)
        outputs = [m.scorer.outputs(inputs[m.scorer.embedded]) for m in models]
        rows.append([float(each[OUTPUT].mean()) for each in outputs])
        likeliest.append([int(each[REASONS].mean(0).argmax()) if REASONS in each else -1 for each in outputs])
    shape = len(paths), len(models)
    return np.array(rows, np.float64).reshape(shape).T, np.array(likeliest, np.int64).reshape(shape).T


def _agreeing(likeliest: NDArray[np.int64]) -> list[float | None]:
    """Of each model, the share of images whose likeliest reason is the first model's; None without reasons."""
    if not likeliest.size or likeliest.min() < 0:
        return [None] * len(likeliest)
    return [float(share) for share in (likeliest == likeliest[0]).mean(1)]


def _inputs(
    path: Path, models: Sequence[Model], spec: ModelSpec
) -> dict[EmbeddedPreprocessing | None, Inputs]:
    """The photo as `spec` prepares it, under None, and as each file with embedded preprocessing takes it."""
    inputs: dict[EmbeddedPreprocessing | None, Inputs] = {}
    for scorer in (model.scorer for model in models):
        if scorer.embedded not in inputs:
            inputs[scorer.embedded] = scorer.prepare(path) if scorer.embedded else prepare(path, spec)
    return inputs


def _file(
    reference: Model,
    converted: Model,
    scores: NDArray[np.float64],
    images: Images,
    unit: float,
    reasons_agree: float | None,
) -> FileReport:
    """One file's report but for layers and latency; scores: (2, images), FP32's first."""
    assert converted.path
    graph = read_graph(converted.path)
    kind, step, before = precision(graph), implied_step(graph), _bytes(reference)
    comparison = agreement(scores[0], scores[1], images.names, images.groups)
    comparison = replace(comparison, reasons_agree=reasons_agree)
    known = labelled(scores[0], scores[1], images.samples) if images.samples else None
    delegation = runtime_delegation(converted.path)
    return FileReport(
        label=converted.label,
        sha256=sha256(converted.path),
        precision=kind,
        file_bytes=graph.file_bytes,
        size_ratio=graph.file_bytes / before if before else None,
        partitions=delegation["partitions"],
        nodes_delegated=delegation["nodes_delegated"],
        nodes_total=delegation["nodes_total"],
        agreement=comparison,
        labelled=known,
        verdicts=judge(kind, comparison, known),
        score_step=None if step is None else step / unit,
        note=_origin(reference, graph),
    )


def is_converted(model: Model) -> bool:
    """A .tflite file, not a checkpoint."""
    return model.scorer.runtime == "litert"


def _bytes(model: Model) -> int | None:
    """The .tflite file's size; None for a checkpoint, which holds other weights."""
    return model.path.stat().st_size if model.path and is_converted(model) else None


def _origin(reference: Model, converted: Graph) -> str:
    """A remark where the two are known to come from different checkpoints."""
    if is_converted(reference) and reference.path:
        ours = read_graph(reference.path).description.get("checkpoint_sha256")
    else:
        ours = sha256(reference.path) if reference.path else None
    theirs = converted.description.get("checkpoint_sha256")
    return "from another checkpoint than FP32" if ours and theirs and ours != theirs else ""


def _notes(models: Sequence[Model], spec: ModelSpec, layer_images: int) -> Iterator[str]:
    """What holds for every file."""
    if spec.untrained:
        yield f"{spec.name} is {UNTRAINED}"
    for model in models:
        if layer_images and model.scorer.embedded:
            yield f"no SQNR along the graph of {model.label}: it takes the image itself, not FP32's inputs"
    if layer_images and not is_converted(models[0]):
        yield "no SQNR along the graph: FP32 is a checkpoint; name an FP32 .tflite file instead"


def spread(images: Sequence[T], count: int) -> list[T]:
    """`count` of the images or fewer, from first to last: neighbours are often one photo's distortions."""
    indices = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return [images[i] for i in indices]


def _layers(reference: Model, converted: Model, paths: Sequence[Path]) -> LayerTable:
    assert reference.path and converted.path
    spec = reference.scorer.spec
    inputs = (prepare(path, spec) for path in cli.progress(paths, f"layers of {converted.label}", len(paths)))
    return compare_layers(reference.path, converted.path, inputs)


def benchmark(paths: Sequence[Path]) -> list[Latency]:
    """The files' latencies; speed is relative to the first file."""
    files = measure_latency(paths, "leave --latency out, or try again").files
    disturbed = any(file.timing.disturbed for file in files)  # a ratio takes two
    return [
        Latency(f.median_ms, f.p5_ms, f.p95_ms, files[0].median_ms / f.median_ms, disturbed) for f in files
    ]
