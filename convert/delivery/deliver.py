"""A float .tflite file of ours into the file that an app takes: one uint8 camera image in, the score out.

FP32, FP16 or INT8 -> preprocessing in the graph -> golden vectors, standard metadata, hashes, seal -> parity. The
reference is always the file that was delivered, fed by mobileiqa.preprocess as it would be in Python.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from convert import artifact
from convert import flatbuffer as fb
from convert.candidate import read_candidate
from convert.delivery import golden, metadata, seal
from convert.delivery.graph import IMAGE, camera_size, take_camera_image
from convert.graph import read_graph
from mobileiqa import cli, litert
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError
from mobileiqa.images import load_image, to_rgb
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from convert.flatbuffer import Model

TOLERANCE = 1e-3  # of the score range: a few pixels of a resized photo differ from Pillow's by one grey level


@dataclass(frozen=True)
class Delivery:
    """What the file takes, as its metadata says; `fitted`: the app resizes or crops to the model's own size."""

    input: str
    width_px: int
    height_px: int
    fitted: bool
    source_sha256: str  # of the file with float inputs


@dataclass(frozen=True)
class Agreement:
    """Scores of a delivered file against its source's; max_abs is in units of the score range."""

    images: int
    max_abs: float
    worst_image: str
    reason: str  # why it did not pass; empty when it did

    @property
    def passed(self) -> bool:
        """Whether the delivered file scores as its source does."""
        return not self.reason


def deliver_uint8(source: Path, out: Path, size: tuple[int, int] | None = None) -> Delivery:
    """Writes `out`, sealed, from one of our .tflite files; atomically, without sidecar and without parity.

    size: (width, height) of the camera's image; None: the model's own input size. Weights stay bit for bit.
    Raises UserError for a file that is not ours, was delivered before, or whose preprocessing no graph can do.
    """
    candidate, content = read_candidate(source), litert.read_metadata(source)
    if "delivery" in content:
        raise UserError(
            "a file with float inputs", f"{source}, which takes uint8 already", "deliver its source"
        )
    spec, precision = candidate.spec, candidate.precision
    width, height = camera_size(spec, size)
    delivery = Delivery(IMAGE, width, height, size is None, sha256(source))
    model = fb.read(source)
    take_camera_image(model, spec, width, height)
    text = f"{spec.name} {precision}: one uint8 RGB image of {width}x{height} in, score out"
    model.description = text.encode()
    standard = metadata.model_metadata(spec, text, str(content["version"]), width, height)
    low, high = spec.score_range
    vectors = golden.vectors(scorer(source, spec), width, height, golden.TOLERANCES[precision] * (high - low))
    fb.set_metadata(model, metadata.ENTRY, standard)
    fb.set_metadata(model, golden.ENTRY, json.dumps(_finite(vectors, source)).encode())
    fb.set_metadata(model, seal.ENTRY, seal.EMPTY)
    with cli.atomic(out) as temporary:
        _write(model, temporary, {**content, "delivery": asdict(delivery)})
    return delivery


def _write(model: "Model", path: Path, content: dict[str, Any]) -> None:
    """Writes `model` with our JSON, which holds the hashes of its parts, and seals it."""
    fb.drop_unused_buffers(model)
    fb.write(model, path)
    parts = seal.parts(read_graph(path))
    whole = {**content, "parts": parts, "tool_versions": artifact.tool_versions()}
    fb.set_metadata(model, artifact.METADATA_ENTRY, json.dumps(whole).encode())
    fb.drop_unused_buffers(model)
    fb.write(model, path)
    seal.seal(path)


def scorer(source: Path, spec: ModelSpec) -> Callable[[np.ndarray], float]:
    """The reference: pixels (H, W, 3) through mobileiqa.preprocess and the file with float inputs."""
    run = litert.runner(source)
    return lambda pixels: float(run(prepare(Image.fromarray(pixels), spec)).mean())


def _finite(vectors: dict[str, Any], source: Path) -> dict[str, Any]:
    for vector in vectors["images"]:
        if not math.isfinite(vector["score"]):
            found = f"{vector['score']} for the golden image {vector['name']!r}"
            raise UserError(
                f"finite scores from {source}", found, "check the file with `python -m convert.parity`"
            )
    return vectors


def agreement(
    source: Path,
    delivered: Path,
    images: Sequence[tuple[str, Image.Image | Path]],
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Scores `images` with both files. They are resized to the camera's size first where theirs is another."""
    spec, found = litert.load_spec(source), litert.read_metadata(delivered)["delivery"]
    expect, run, inputs_of = scorer(source, spec), litert.runner(delivered), litert.inputs_of(delivered)
    expected, scores = [], []
    for _, image in cli.progress(images, "comparing"):
        rgb = to_rgb(image) if isinstance(image, Image.Image) else load_image(image)
        if not found["fitted"]:
            rgb = rgb.resize((found["width_px"], found["height_px"]))
        expected.append(expect(np.asarray(rgb)))
        scores.append(float(run(inputs_of(rgb)).mean()))
    low, high = spec.score_range
    return judge(
        [name for name, _ in images],
        np.array(expected) / (high - low),
        np.array(scores) / (high - low),
        tolerance,
    )


def judge(names: Sequence[str], expected: np.ndarray, scores: np.ndarray, tolerance: float) -> Agreement:
    """Float64 scores in units of the score range; what is not finite, or does not vary, does not pass."""
    if not names:
        return Agreement(0, float("inf"), "", "zero images")
    errors = np.abs(scores - expected)
    worst = int(errors.argmax())  # the first NaN, where there is one
    largest, reason = float(errors[worst]), ""
    if not np.isfinite(errors).all():
        largest, reason = float("inf"), f"a score that is not finite for {names[worst]}"
    elif len(names) > 1 and np.ptp(expected) <= tolerance:
        reason = f"the scores vary by {np.ptp(expected):.3g} only: any file would pass"
    elif largest > tolerance:
        reason = f"{largest:.2e} > {tolerance:g} for {names[worst]}"
    return Agreement(len(names), largest, names[worst], reason)
