"""A float .tflite file of ours into the file that an app takes: one uint8 RGB image in, score and reasons out.

FP32, FP16 or INT8 -> preprocessing in the graph -> golden vectors, standard metadata, checksum -> parity. The
reference is always the file that was packaged, fed by mobileiqa.preprocess as it would be in Python.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from convert import output_file
from convert.comparison.compare import Tolerance
from convert.comparison.converted_file import read_converted_file
from convert.comparison.stages import score_unit
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import METADATA_ENTRY
from convert.packaging import golden_vectors, tflite_metadata
from convert.packaging.preprocessing import IMAGE, image_sizes, take_uint8_images
from mobileiqa import cli
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.photos.loading import read_image
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing, Size
from mobileiqa.spec import ColorManagement, ModelSpec
from mobileiqa.typed_json import shortened

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

# Of the score range. Resized by the graph, 2 of 32,000 values a grey level off move the reference model (112x96) by
# 3e-5 in FP32 and by up to 4e-3 in INT8, which is as far as INT8 is from FP32: each 8-bit layer behind them rounds
# another way. Given the graph's own pixels, the float file scores as the packaged file to the last bit.
GREY_LEVELS = "a few pixels of a resized photo differ from Pillow's by one grey level"
LIMITS = {
    "fp32": Tolerance(GREY_LEVELS, max_abs=1e-3),
    "fp16": Tolerance(GREY_LEVELS, max_abs=1e-3),
    "int8": Tolerance(f"{GREY_LEVELS}, and 8-bit layers behind them round another way", max_abs=1e-2),
}

Images = Sequence[tuple[str, Image.Image | Path]]  # what a report calls it, and the picture or its file


@dataclass(frozen=True)
class Agreement:
    """One size's scores of a packaged file against its source's; max_abs is in units of the score range."""

    images: int
    max_abs: float
    worst_image: str
    reason: str  # why it did not pass; empty when it did

    @property
    def passed(self) -> bool:
        """Whether the packaged file scores as its source does."""
        return not self.reason


def embed_preprocessing(
    source: Path, out: Path, sizes: Sequence[tuple[int, int]] = ()
) -> EmbeddedPreprocessing:
    """Writes `out`, with its checksum, from one of our .tflite files; atomically, without sidecar and without parity.

    sizes: (width, height) of the app's images; empty: the model's own input size. Weights stay bit for bit.
    Raises UserError for a file that is not ours, was packaged before, or whose preprocessing no graph can do.
    """
    converted, content = read_converted_file(source), litert.read_metadata(source)
    if "delivery" in content:
        raise UserError(
            "a file with float inputs", f"{source}, which takes uint8 already", "package its source"
        )
    spec, precision = converted.spec, converted.precision
    embedded = EmbeddedPreprocessing(IMAGE, not sizes, sha256(source), image_sizes(spec, sizes))
    low, high = spec.score_range
    # First, so that a file that does not run is refused before its tables are read.
    vectors = golden_vectors.vectors(
        outputs_of(source, spec), embedded.sizes, golden_vectors.TOLERANCES[precision] * (high - low)
    )
    model = _one_graph(source, spec)
    take_uint8_images(model, spec, embedded.sizes)
    text = f"{spec.name} {precision}: one uint8 RGB image of {embedded} in, {' and '.join(spec.outputs)} out"
    model.description = text.encode()
    standard = tflite_metadata.model_metadata(
        spec, text, str(content.get("version", "unknown")), embedded.sizes
    )
    fb.set_metadata(model, tflite_metadata.ENTRY, standard)
    fb.set_metadata(model, golden_vectors.ENTRY, json.dumps(_finite(vectors, source)).encode())
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    with cli.atomic(out) as temporary:
        _write(model, temporary, {**content, "delivery": embedded.to_json()})
    return embedded


def _one_graph(source: Path, spec: ModelSpec) -> "Model":
    """The source in object form. UserError unless it is one graph whose one signature has the spec's ends."""
    model = fb.read(source)
    signatures = [sorted(_text(entry.name) for entry in each.inputs) for each in model.signatureDefs or ()]
    expected = sorted(entry.name for entry in spec.inputs)
    ends = [(len(graph.inputs), len(graph.outputs)) for graph in model.subgraphs]
    if ends != [(len(expected), len(spec.outputs))] or signatures != [expected]:
        raise UserError(
            f"one graph with {len(spec.outputs)} output and one signature that takes {', '.join(expected)} in {source}",
            f"{len(ends)} graphs of (inputs, outputs) {shortened(str(ends), 100)}, signatures that take "
            f"{shortened(str(signatures), 200)}",
            "convert the checkpoint again",
        )
    return model


def _text(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")


def _write(model: "Model", path: Path, content: dict[str, Any]) -> None:
    """Writes `model` with our JSON and the checksum."""
    whole = {**content, "tool_versions": output_file.tool_versions()}
    fb.set_metadata(model, METADATA_ENTRY, json.dumps(whole).encode())
    fb.drop_unused_buffers(model)
    path.write_bytes(integrity.with_checksum(fb.pack(model)))


def outputs_of(source: Path, spec: ModelSpec) -> Callable[[np.ndarray], np.ndarray]:
    """The reference: pixels (H, W, 3) through mobileiqa.preprocess and the file with float inputs, as `flat` has it."""
    run = litert.outputs_runner(source)
    return lambda pixels: flat(run(prepare(Image.fromarray(pixels), spec)))


def flat(outputs: litert.Outputs) -> np.ndarray:
    """An image's score and the probabilities of its reasons, means over its crops, float64 (1 + reasons,)."""
    means = [
        outputs[name].mean(0, keepdims=True).ravel()
        for name in (litert.OUTPUT, litert.REASONS)
        if name in outputs
    ]
    return np.concatenate(means)


def _finite(vectors: dict[str, Any], source: Path) -> dict[str, Any]:
    for name, score in (pair for size in vectors["sizes"] for pair in size["scores"].items()):
        values = [
            score,
            *(each for size in vectors["sizes"] for each in size.get("reasons", {}).get(name, ())),
        ]
        if not np.isfinite(values).all():
            problem = f"{score} for the golden image {name!r}"
            raise UserError(
                f"finite scores from {source}", problem, "check the file with `python -m convert.check`"
            )
    return vectors


def agreements(source: Path, packaged: Path, images: Images) -> list[tuple[Size, Agreement]]:
    """Scores `images` with both files, in each size of `packaged`; LIMITS judge.

    They are resized to the file's size first where theirs is another. Scores of untrained weights, which know
    no range, are measured by their spread where that is wider (see convert.comparison.stages.score_unit).
    """
    spec, embedded = litert.load_spec(source), litert.preprocessing_of(packaged)
    assert embedded is not None, "embed_preprocessing wrote it"
    expect, run, inputs_of = (
        outputs_of(source, spec),
        litert.outputs_runner(packaged),
        litert.inputs_of(packaged),
    )
    tolerance = LIMITS[read_converted_file(source).precision].max_abs
    assert tolerance is not None, "the table has one for each"
    compared = []
    for size in embedded.sizes:
        pixels = None if embedded.fitted else size.pixels
        photos = _photos(images, pixels, spec.color_management)
        outputs = [(expect(np.asarray(photo)), flat(run(inputs_of(photo)))) for photo in photos]
        expected, actual = np.array(outputs).reshape(len(outputs), 2, -1).swapaxes(0, 1)
        unit = [score_unit(spec, list(expected[:, :1])), *(1.0 for _ in spec.reasons)]
        names = [name for name, _ in images]
        compared.append((size, judge(names, expected / unit, actual / unit, tolerance)))
    return compared


def _photos(images: Images, size: tuple[int, int] | None, colors: ColorManagement) -> Iterator[Image.Image]:
    """The images as RGB, resized to `size` where there is one."""
    for _, image in cli.progress(images, "comparing"):
        rgb = read_image(image, colors)
        yield rgb.resize(size) if size else rgb


def judge(names: Sequence[str], expected: np.ndarray, scores: np.ndarray, tolerance: float) -> Agreement:
    """Float64 (images, 1 + reasons), scores in units of their range; what is not finite, or hardly varies, fails."""
    if not names:
        return Agreement(0, float("inf"), "", "zero images")
    errors = np.abs(scores - expected).max(axis=1)
    worst = int(errors.argmax())  # the first NaN, where there is one
    largest, reason = float(errors[worst]), ""
    if not np.isfinite(errors).all():
        largest, reason = float("inf"), f"a score that is not finite for {names[worst]}"
    elif len(names) > 1 and np.ptp(expected[:, 0]) <= tolerance:
        reason = f"the scores vary by {np.ptp(expected[:, 0]):.3g} only: any file would pass"
    elif largest > tolerance:
        reason = f"{largest:.2e} > {tolerance:g} for {names[worst]}"
    return Agreement(len(names), largest, names[worst], reason)
