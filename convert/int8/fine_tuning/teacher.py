"""What the FP32 file says of the calibration images, for fine-tuning: scores, and maps and means on the way to them.

LiteRT runs it, once more for every image that teaches: kept maps of a set would fill the memory.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convert.flatbuffer import model as fb
from convert.int8.fine_tuning.torch_executor import Program, grid
from convert.int8.statistics.interpreter import Inputs, activations
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

_FOLLOWED = (
    "ADD",
    "MEAN",
)  # their 8-bit outputs follow FP32's: what residual blocks hand on, and pooled maps
_SMALLEST = (
    0.01  # of the mean variance of a map's channels: what a channel that hardly varies counts at least
)

BLURS = (0.5, 8.0)  # standard deviations in pixels, from the least to the most
CHANNELS = 3

Load = Callable[[int], Inputs]
Lesson = tuple[Inputs, list[NDArray[np.float32]]]  # inputs, and FP32's score and maps


@dataclass(frozen=True)
class View:
    """A calibration image by its number, mirrored or not, blurred or not.

    8 bits do most harm to smooth images: where little happens, rounding looks like texture. A set of sharp ones
    would not teach that.
    """

    image: int
    mirrored: bool = False
    blur_px: float = 0.0


@dataclass(frozen=True)
class Followed:
    """An 8-bit tensor that follows FP32's: indices in both files, and the variance of FP32's channels (last axis)."""

    fp32: int
    int8: int
    variance: NDArray[np.float32]


@dataclass(frozen=True)
class Teacher:
    """The FP32 file, its output's index, the spread (standard deviation) of its scores, and the tensors to follow."""

    path: Path
    output: int
    spread: float
    followed: tuple[Followed, ...]


def taught(fp32: Path, model: "Model", program: Program, images: Iterable[Inputs]) -> Teacher:
    """The teacher of the INT8 `model`, after a look at all images. UserError for scores that do not vary."""
    before = fb.read(fp32).subgraphs[0]
    pairs = _pairs({t.name: i for i, t in enumerate(before.tensors)}, model, program)
    output, scores, sums = int(before.outputs[0]), [], [_Variance() for _ in pairs]
    for tensor in activations(fp32, images):
        scores.append(tensor(output).astype(np.float64))
        for (index, _), total in zip(pairs, sums, strict=True):
            total.add(tensor(index))
    spread = float(np.std(scores))
    if not spread > 0 or not math.isfinite(spread):
        raise UserError(
            "scores that vary over the calibration images", f"a spread of {spread}", "select other images"
        )
    followed = (Followed(*pair, total.variance()) for pair, total in zip(pairs, sums, strict=True))
    return Teacher(fp32, output, spread, tuple(followed))


def _pairs(names: dict[bytes, int], model: "Model", program: Program) -> list[tuple[int, int]]:
    """The 8-bit tensors that follow, by FP32's index and by the INT8 file's; `names` are FP32's."""
    graph = model.subgraphs[0]
    pairs = []
    for operator in graph.operators:
        tensor = graph.tensors[operator.outputs[0]]
        if fb.kind(model, operator) in _FOLLOWED and grid(tensor) is not None and tensor.name in names:
            pairs.append((names[tensor.name], program.names[tensor.name.decode()]))
    return pairs


class _Variance:
    """Running sums of a map's channels."""

    def __init__(self) -> None:
        self.count, self.values, self.squares = 0, np.float64(0), np.float64(0)

    def add(self, x: NDArray[np.float32]) -> None:
        rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
        self.count += len(rows)
        self.values, self.squares = self.values + rows.sum(0), self.squares + (rows * rows).sum(0)

    def variance(self) -> NDArray[np.float32]:
        """Of each channel, none of them 0."""
        mean = self.values / self.count
        variances = np.maximum(self.squares / self.count - mean * mean, 0)
        least = max(_SMALLEST * float(variances.mean()), float(np.finfo(np.float32).tiny))
        return np.maximum(variances, least).astype(np.float32)


def shuffled(images: Sequence[int], count: int) -> Iterator[View]:
    """`count` views by seed: every image once before any comes again, half of them mirrored, half blurred."""
    rng = np.random.default_rng(0)
    epochs = (int(i) for _ in itertools.count() for i in rng.permutation(images))
    for image in itertools.islice(epochs, count):
        mirrored, blurred = rng.integers(2, size=2)
        yield View(image, bool(mirrored), float(np.exp(rng.uniform(*np.log(BLURS)))) if blurred else 0.0)


def judging(images: Sequence[int]) -> list[View]:
    """Each image as it is, and mirrored and blurred: from the least to the most."""
    blurs = np.geomspace(*BLURS, len(images))
    plain, blurred = (
        [View(image) for image in images],
        [View(image, True, float(blur)) for image, blur in zip(images, blurs, strict=True)],
    )
    return [*plain, *blurred]


def lessons(teacher: Teacher, load: Load, views: Iterable[View]) -> Iterator[Lesson]:
    """Each view's inputs and what FP32 says of them, one in memory at a time."""
    inputs, again = itertools.tee(_seen(load(view.image), view) for view in views)
    for given, tensor in zip(inputs, activations(teacher.path, again), strict=True):
        yield given, [tensor(teacher.output), *(tensor(f.fp32) for f in teacher.followed)]


def _seen(inputs: Inputs, view: View) -> dict[str, NDArray[np.float32]]:
    """The inputs, NCHW or, where three channels are last, NHWC, in this view."""
    from scipy.ndimage import gaussian_filter

    views = {}
    for name, x in inputs.items():
        rows = 1 if x.shape[-1] == CHANNELS else 2
        if view.mirrored:
            x = np.flip(x, rows + 1)
        if view.blur_px:
            x = gaussian_filter(x, view.blur_px, axes=(rows, rows + 1))
        views[name] = np.ascontiguousarray(x)
    return views
