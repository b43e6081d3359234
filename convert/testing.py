"""Parity in a user's own tests: does the file in the app still score as the checkpoint?

    from convert.testing import assert_parity

    def test_the_app_scores_as_the_checkpoint():
        assert_parity("checkpoint.safetensors", "app/src/main/assets/model.tflite", "ci/photos")

docs/ci.md has the workflow around it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from PIL import Image

from convert.comparison.compare import ParityReport, ParityStage, Tolerance, compare
from convert.comparison.converted_file import ConvertedFile, at_size, read_converted_file, spec_difference
from convert.comparison.stages import CHUNK, PUBLISHED, Attempt, own_inputs_of, score_unit
from convert.comparison.stages import Images as NamedImages
from convert.parity import searched_images, table
from convert.runtimes import runners
from mobileiqa import text
from mobileiqa.errors import UserError
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

# A checkpoint's path, `reference`, a model's name (untrained weights), what checkpoint.load returns, or a module.
Model = Union[str, Path, "tuple[nn.Module, ModelSpec]", "nn.Module"]
Images = str | Path | Sequence[str | Path | Image.Image]

SHOWN = 5  # images in the message, those that moved most first


def assert_parity(
    model_or_checkpoint: Model,
    tflite_path: str | Path,
    images: Images,
    tolerance: float | None = None,
    *,
    runtime: str = "litert",
) -> ParityReport:
    """Fails the test where a converted file does not score as its model does on `images`.

    model_or_checkpoint: a path, `reference`, a model's name, (module, spec) as mobileiqa.checkpoint.load returns
    them, or a module alone, whose images are then prepared as the file says. images: a folder, or image files and PIL
    images. tolerance: the largest shift, in units of the score range; None: the limits of the file's own precision
    (convert.comparison.compare.TOLERANCES; for INT8 SRCC >= 0.99 and a mean shift <= 0.01). runtime: a key of
    convert.runtimes.runners.RUNTIMES, such as `legacy` for tflite-runtime 2.14, or arm:CPU.

    Returns the figures. Raises AssertionError, with a table, where a limit is broken, the file does not run, prepares
    images otherwise, or the images prove nothing (none, or all of one score); UserError (a ValueError) where an
    argument is wrong: no such file, not an image, a tolerance that is not positive.
    """
    if tolerance is not None and not 0 < tolerance < np.inf:
        raise UserError("a tolerance above 0", f"{tolerance}", "leave it out, or give the largest shift")
    run = runners.runtime(runtime)
    file = read_converted_file(Path(tflite_path))
    module, spec = _model(model_or_checkpoint, file)
    different, spec = spec_difference(spec, file.spec), at_size(spec, file.spec)
    named = _named(images)
    stage = ParityStage(file.tolerance(runtime), PUBLISHED, str(file.path), runtime)
    failure = different and f"wrong spec: {different}"
    attempt = Attempt(stage, lambda batch: run(file.path, batch), failure, inputs_of=own_inputs_of(file.path))
    expected = _scores(module, spec, named, attempt)
    report = _judged(attempt, expected, [name for name, _ in named], score_unit(spec, expected), tolerance)
    if not report.passed:
        raise AssertionError(_message(report, expected, attempt.outputs, [name for name, _ in named]))
    return report


def _model(model: Model, file: ConvertedFile) -> "tuple[nn.Module, ModelSpec]":
    from convert.load import load_model, of_photos, of_tokens

    if isinstance(model, str | Path):
        source = load_model(str(model), converted=file.path)
        return source.model, source.spec
    module, spec = model if isinstance(model, tuple) else (model, file.spec)
    return of_photos(module.eval(), spec, None, file.path) if of_tokens(spec) else (module.eval(), spec)


def _named(images: Images) -> NamedImages:
    """(name, image or path) pairs; UserError where a path leads to no image, or to photos that cannot be read."""
    if isinstance(images, str | Path):
        return _below(Path(images))
    named: list[tuple[str, Image.Image | Path]] = []
    for number, image in enumerate(images):
        if isinstance(image, Image.Image):
            named.append((f"image {number}", image))
        else:
            named += _below(Path(image))
    return named


def _below(path: Path) -> NamedImages:
    named, search = searched_images(path, None)
    if search.unread:
        raise UserError(
            f"photos that can be read in {path}", str(search), "export them as JPEG, or move them away"
        )
    return named


def _scores(module: "nn.Module", spec: ModelSpec, images: NamedImages, attempt: Attempt) -> list[np.ndarray]:
    """The module's scores, and the attempt's; CHUNK images' arrays in memory at a time."""
    run = runners.torch_runner(module, spec)
    expected: list[np.ndarray] = []
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        batch = [prepare(image, spec) for _, image in part]
        expected += [run(inputs) for inputs in batch]
        attempt.extend(batch, part)
    return expected


def _judged(
    attempt: Attempt,
    expected: Sequence[np.ndarray],
    names: Sequence[str],
    unit: float,
    tolerance: float | None,
) -> ParityReport:
    """The stage's report; with a tolerance of the caller's, judged by that alone."""
    if attempt.failure:
        return attempt.stage.failed(attempt.failure, len(names))
    report = compare(attempt.stage, expected, attempt.outputs, names, unit)
    if tolerance is None or report.max_abs is None:  # None: it could not be compared
        return report
    means = [float(np.mean(scores)) / unit for scores in expected]
    reason = ""
    if len(means) > 1 and np.ptp(means) <= tolerance:
        reason = f"the model's scores vary by {np.ptp(means):.3g} only: any file would pass"
    elif report.max_abs > tolerance:
        reason = f"max_abs {report.max_abs:.3g} > {tolerance:g}"
    own = Tolerance("given by the test", max_abs=tolerance)
    return dataclasses.replace(report, tolerance=own, passed=not reason, reason=reason)


def _message(
    report: ParityReport, expected: Sequence[np.ndarray], scores: Sequence[np.ndarray], names: Sequence[str]
) -> str:
    """What broke, the figures, and the images that moved most."""
    lines = [f"{report.candidate} does not score as its model: {report.reason}", "", *table([report])]
    if len(scores) == len(expected) and report.max_abs is not None:
        pairs = [(float(np.mean(a)), float(np.mean(b))) for a, b in zip(expected, scores, strict=True)]
        order = sorted(range(len(pairs)), key=lambda i: -abs(pairs[i][1] - pairs[i][0]))[:SHOWN]
        rows = [[names[i], *(f"{v:.5f}" for v in (*pairs[i], pairs[i][1] - pairs[i][0]))] for i in order]
        lines += ["", text.table([["image", "model", "file", "file - model"], *rows])]
    return "\n".join(lines)
