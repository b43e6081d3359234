"""Parity at every stage: published module -> rewritten module -> .onnx and .tflite files in each runtime.

Every stage has the same reference, the published module in torch, on the same images, so the first failing
stage in pipeline order is where the score moved. The reference runs in float32: float64 moves it by 1e-5 at most
(image scores of all six models, seeded weights), a tenth of the tightest tolerance, for three times the time,
and 6 GB at 1907x1231.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from convert.comparison.compare import TOLERANCES, ParityReport, ParityStage, compare
from convert.comparison.converted_file import ConvertedFile, at_size, read_converted_file, spec_difference
from convert.runtimes import runners
from convert.runtimes.runners import Batch, Inputs
from convert.stage_times import stage
from mobileiqa import cli
from mobileiqa.errors import UserError, one_line
from mobileiqa.preprocess import prepare
from mobileiqa.reasons import torch_outputs
from mobileiqa.scoring import litert
from mobileiqa.scoring.litert import Prepare
from mobileiqa.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

Images = Sequence[tuple[str, Image.Image | Path]]  # what a report calls it, and the picture or its file
Run = Callable[[Batch], list[np.ndarray]]

PUBLISHED, APPROXIMATED, REWRITTEN = "published module", "approximated module", "rewritten module"
DEFAULT_RUNTIMES = ("ort", "litert")  # those of this environment
CHUNK = 8  # images whose arrays are in memory at a time: 28 MB each at 1907x1231
FEATURE_IMAGES = 2  # images whose features are kept and compared
SEEDED_SHARE = 0.005  # more than twice what FP16 may move a score by: a comparison can fail


@dataclass
class Attempt:
    """One stage being run: its outputs so far, and why it cannot be compared, once that is known."""

    stage: ParityStage
    run: Run
    failure: str = ""
    outputs: list[np.ndarray] = field(default_factory=list)
    inputs_of: Prepare | None = None  # of a file with embedded preprocessing, which takes no prepared inputs

    def extend(self, batch: Batch, images: Images) -> None:
        """Runs the prepared batch of these images, unless the stage failed before.

        What a runtime raises, or a photo of a size that the file does not take, becomes the stage's failure.
        """
        if self.failure:
            return
        try:
            own = self.inputs_of
            self.outputs += self.run(batch if own is None else [own(image) for _, image in images])
        except (ValueError, RuntimeError) as error:  # UserError is a ValueError
            self.failure = one_line(str(error)) or type(error).__name__


@dataclass
class Recorder:
    """A module as a Run that keeps the reasons of all images, and the features of the first FEATURE_IMAGES.

    The published module takes 5 s for a full-size image, so its features are those that pass by while it scores.
    """

    module: "nn.Module"
    spec: ModelSpec
    features: list[list[np.ndarray]] = field(
        default_factory=list
    )  # per image, as forward_features returns them
    reasons: list[np.ndarray] = field(
        default_factory=list
    )  # per image, (crops, reasons), where there are some

    def __call__(self, batch: Batch) -> list[np.ndarray]:
        """The scores of each image, (crops,)."""
        return [self._score(inputs) for inputs in batch]

    def _score(self, inputs: Inputs) -> np.ndarray:
        with _passing_features(self.module) as seen:
            outputs = torch_outputs(self.module, self.spec, inputs)
        if len(self.features) < FEATURE_IMAGES:
            self.features.append(seen[0] if seen else features(self.module, self.spec, inputs))
        if "reasons" in outputs:
            self.reasons.append(outputs["reasons"])
        return outputs["score"]


@contextmanager
def _passing_features(module: "nn.Module") -> Iterator[list[list[np.ndarray]]]:
    """What forward_features returns while the block calls `module`; empty where its forward does not call it.

    The forward of a rewritten MobileIQA calls `opinions`, which hold the same values.
    """
    seen: list[list[np.ndarray]] = []
    name = "opinions" if hasattr(module, "opinions") else "forward_features"
    original = getattr(module, name)

    def record(*inputs: Any) -> Any:
        outputs = original(*inputs)
        features = module.features_of(*outputs) if name == "opinions" else outputs
        seen.append([array.copy() for array in _arrays(features)])  # the head may work in place
        return outputs

    setattr(module, name, record)  # on the instance, over the class's method
    try:
        yield seen
    finally:
        delattr(module, name)


def check(
    model: "nn.Module",
    spec: ModelSpec,
    converted: Sequence[Path],
    images: Images,
    runtimes: Sequence[str] = DEFAULT_RUNTIMES,
    rewritten: "nn.Module | None" = None,
    approximate: "nn.Module | None" = None,
) -> list[ParityReport]:
    """Reports of every stage, in pipeline order.

    `model` is the published module of `spec`; `rewritten` is its rewritten form at `spec`'s size, where the
    caller has it already, and `approximate` what it was made from, where that is not `model`: then it is one
    more stage, and the one that the rewritten module is compared with. A file of another input size is
    compared at that size. A file that fails in its runtime is a report; UserError is for a file that says
    nothing of itself or that none of `runtimes` reads, and for a runtime that is unknown or not installed.
    """
    for name in runtimes:
        runners.runtime(name)  # before any work
    files = [_readable(read_converted_file(Path(path)), runtimes) for path in converted]
    sizes = dict.fromkeys(at_size(spec, file.spec) for file in files) or {spec: None}
    reports: list[ParityReport] = []
    for sized in sizes:
        here = [file for file in files if at_size(spec, file.spec) == sized]
        module = rewritten if rewritten is not None and sized == spec else _rewritten(model, sized)
        reports += _compare(model, module, sized, images, list(_attempts(here, sized, runtimes)), approximate)
    order = list(TOLERANCES)
    return sorted(reports, key=lambda report: order.index(report.stage))


def first_failing_stage(reports: Sequence[ParityReport]) -> ParityReport | None:
    """The first stage in pipeline order that failed."""
    return next((report for report in reports if not report.passed), None)


def _readable(file: ConvertedFile, runtimes: Sequence[str]) -> ConvertedFile:
    if not any(runners.reads(name, file.path) for name in runtimes):
        raise UserError(
            f"a runtime that reads {file.path.name}", ", ".join(runtimes), "add one to --runtimes"
        )
    return file


def _rewritten(model: "nn.Module", spec: ModelSpec) -> "nn.Module":
    from convert.rewrites.apply import apply_rewrites

    return apply_rewrites(model, spec)[0]


def _attempts(files: Sequence[ConvertedFile], spec: ModelSpec, names: Sequence[str]) -> Iterator[Attempt]:
    """Every file in every runtime that reads its kind; a file with another spec has failed from the start."""
    for file in files:
        different = spec_difference(spec, file.spec)
        for name in names:
            if not runners.reads(name, file.path):
                continue
            stage = ParityStage(file.tolerance(name), PUBLISHED, str(file.path), name)
            failure = f"wrong spec: {different}" if different else ""
            yield Attempt(stage, _bound(name, file.path), failure, inputs_of=own_inputs_of(file.path))
            if spec.reasons and name in runners.REASONS:
                stage = dataclasses.replace(stage, candidate=f"{file.path}, reasons", of_reasons=True)
                run = partial(runners.REASONS[name], file.path)
                yield Attempt(stage, run, failure, inputs_of=own_inputs_of(file.path))


def own_inputs_of(path: Path) -> Prepare | None:
    """How a file with embedded preprocessing takes an image; None for one that takes prepared inputs."""
    if path.suffix.lower() != ".tflite" or litert.preprocessing_of(path) is None:
        return None
    return litert.inputs_of(path)


def _bound(name: str, path: Path) -> Run:
    return lambda batch: runners.runtime(name)(path, batch)


def _compare(
    model: "nn.Module",
    rewritten: "nn.Module",
    spec: ModelSpec,
    images: Images,
    files: Sequence[Attempt],
    approximate: "nn.Module | None" = None,
) -> list[ParityReport]:
    """All stages of one input size, CHUNK images at a time."""
    names = [name for name, _ in images]
    reference, rewrite_recorder = Recorder(model, spec), Recorder(rewritten, spec)
    rewrite = Attempt(ParityStage("rewrite", PUBLISHED, REWRITTEN, "torch"), rewrite_recorder)
    base = Recorder(approximate, spec) if approximate is not None else reference
    approximation = Attempt(ParityStage("approximation", PUBLISHED, APPROXIMATED, "torch"), base)
    attempts = [*([approximation] if approximate is not None else []), rewrite, *files]
    expected: list[np.ndarray] = []
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        with stage("images of parity"):
            batch = [prepare(image, spec) for _, image in cli.progress(part, "preparing images")]
        with stage(PUBLISHED):
            expected += [score for inputs in cli.progress(batch, PUBLISHED) for score in reference([inputs])]
        for attempt in cli.progress(attempts, f"stages, images {start + 1} to {start + len(batch)}"):
            with stage(_timed_as(attempt.stage)):
                attempt.extend(batch, part)
    unit = score_unit(spec, expected)
    exact = approximation.outputs if approximate is not None else expected
    return [
        *compare_features(base.features, rewrite_recorder.features, names[:FEATURE_IMAGES], rewrite.failure),
        *(
            [compare_reasons(rewrite.stage, base.reasons, rewrite_recorder.reasons, names)]
            if spec.reasons
            else []
        ),
        *(
            _report(each, reference.reasons, names, 1.0)
            if each.stage.of_reasons
            else _report(each, exact if each is rewrite else expected, names, unit)
            for each in attempts
        ),
    ]


def _timed_as(parity: ParityStage) -> str:
    """What the table of stage times calls a parity stage: a file by its precision, which the table of parity has."""
    if parity.runtime == "torch":
        return parity.candidate
    return f"{parity.kind} file{', reasons' * parity.of_reasons} in {parity.runtime}"


def _report(
    attempt: Attempt, expected: Sequence[np.ndarray], names: Sequence[str], unit: float
) -> ParityReport:
    if attempt.failure:
        return attempt.stage.failed(attempt.failure, len(names))
    return compare(attempt.stage, expected, attempt.outputs, names, unit)


def compare_reasons(
    stage: ParityStage,
    expected: Sequence[np.ndarray],
    reasons: Sequence[np.ndarray | None],
    names: Sequence[str],
) -> ParityReport:
    """The report of a stage's reasons, (crops, reasons) for each image: probabilities, whatever the score's range."""
    stage = dataclasses.replace(stage, candidate=f"{stage.candidate}, reasons", of_reasons=True)
    return compare(stage, expected, reasons, names)


def score_unit(spec: ModelSpec, expected: Sequence[np.ndarray]) -> float:
    """The unit of tolerances: the score range; for untrained weights a range that the spread of scores fits.

    Tolerances speak of trained scores, which fill their range. Seeded weights know no range: lar-iqa-single
    spreads photos over five units, and rounds them five times as far; koncept512 spreads them over 0.07 of its 100,
    where any candidate would pass. So the spread is from a SEEDED_SHARE of the unit to all of it.
    """
    low, high = spec.score_range
    if not spec.untrained or not expected:
        return high - low
    scores = [float(np.mean(score)) for score in expected]
    spread = max(scores) - min(scores) if np.isfinite(scores).all() else 0.0
    return max(spread, min(high - low, spread / SEEDED_SHARE)) if spread else high - low


def compare_features(
    expected: Sequence[Sequence[np.ndarray]],
    features: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    failure: str = "",
) -> list[ParityReport]:
    """Reports of two modules' features (image by image), in units of each feature's standard deviation.

    `failure` says why there are no features of the second module, where there are none.
    """
    reason = failure or ("" if names else "zero images")
    if not reason and {len(f) for f in expected} != {len(f) for f in features}:
        reason = "another number of features"
    if reason:
        return [ParityStage("features", PUBLISHED, REWRITTEN, "torch").failed(reason, len(names))]
    reports = []
    for i in range(len(expected[0])):
        stage = ParityStage("features", PUBLISHED, f"{REWRITTEN}, feature {i}", "torch")
        reference = [f[i] for f in expected]
        with np.errstate(all="ignore"):  # of what is not finite, which fails in compare
            scale = float(np.std(reference)) or 1.0  # a feature that does not vary fails in compare
        reports.append(compare(stage, reference, [f[i] for f in features], names, scale))
    return reports


def features(module: "nn.Module", spec: ModelSpec, inputs: Inputs) -> list[np.ndarray]:
    """What forward_features returns for one image, as arrays."""
    import torch

    with torch.inference_mode():
        return _arrays(module.forward_features(*(torch.from_numpy(inputs[i.name]) for i in spec.inputs)))


def _arrays(output: Any) -> list[np.ndarray]:
    """One tensor or several, as arrays."""
    import torch

    tensors: tuple[torch.Tensor, ...] = (output,) if isinstance(output, torch.Tensor) else tuple(output)
    return [tensor.numpy() for tensor in tensors]
