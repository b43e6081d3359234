"""What calibration images say of one FP32 file: found once, and good for every recipe that is tried on it.

    equalized weights -> ranges of activations -> moments of what weights multiply -> codes of least error

None of it depends on what a recipe keeps in float: every activation is observed, and each operator's inputs are
sampled by themselves. A search, which tries dozens of recipes, therefore runs the FP32 file on its images a few
times in all instead of three times for each, and a recipe makes the same bytes alone as in a search. Only
equalization changes the file: recipes that ask for it have Findings of their own.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import read_graph
from convert.int8.algorithms.bias_correction import Codes
from convert.int8.algorithms.cross_layer_equalization import equalize
from convert.int8.algorithms.hard_swish import LOWEST, bent
from convert.int8.recipe import Recipe
from convert.int8.statistics.activation_ranges import METHODS, Observed, Range, floored, observe
from convert.int8.statistics.input_covariance import Moments, collect
from convert.int8.statistics.interpreter import Inputs
from convert.int8.weights import weighted

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

Images = Callable[[], Iterable[Inputs]]


@dataclass(frozen=True)
class Findings:
    """`model` is the FP32 file at `path`; nobody changes either. Covariances and codes take memory until it goes.

    images: gives the prepared calibration images, `count` of them, as often as it is called. equalized: how many
    tensors' channels were scaled. codes: what convert.int8.algorithms.bias_correction.correct remembers.
    """

    path: Path
    model: "Model" = field(repr=False)
    images: Images = field(repr=False)
    count: int
    equalized: int = 0
    codes: Codes = field(default_factory=dict, repr=False)
    _ranges: dict[str, dict[str, Range]] = field(default_factory=dict, repr=False)
    _moments: dict[int, Moments] = field(default_factory=dict, repr=False)

    def ranges(self, method: str) -> Mapping[str, Range]:
        """Every activation's range, by tensor name; `method`: a name in ranges.METHODS.

        Raises ValueError for activations that are not finite, and without images.
        """
        if method not in self._ranges:
            self._ranges[method] = {name: METHODS[method](seen) for name, seen in self._seen.items()}
        return self._ranges[method]

    def moments(self, weights: Collection[int]) -> Mapping[int, Moments]:
        """Of what weights multiply, by their tensors' indices: at least of those in `weights`."""
        lacking = set(weights) - self._moments.keys()
        if lacking:
            operators = [(operator, weight) for operator, weight in weighted(self.model) if weight in lacking]
            self._moments.update(collect(self.model, self.path, operators, self.images()))
        return self._moments

    @cached_property
    def _seen(self) -> dict[str, Observed]:
        seen = observe(self.path, self.images())
        return seen | {name: floored(seen[name], LOWEST) for name in bent(read_graph(self.path))}


def equalizes(recipe: Recipe) -> bool:
    """Whether the recipe asks for the equalized file. In other modes it gains nothing: benchmarks/INT8_STUDIES.md."""
    return recipe.equalize and recipe.mode == "static"


def find(path: Path, equalized: bool, images: Images, count: int, folder: Path) -> Findings:
    """Findings of one of our FP32 files, or of its equalized form; the file that they are of is written into `folder`.

    images: gives the prepared calibration images, `count` of them, each time that it is called.
    """
    model, copy = fb.read(path), folder / f"{'equalized' if equalized else 'fp32'}.tflite"
    scaled = equalize(model, path, images()) if equalized and count else 0
    fb.write(model, copy)
    return Findings(copy, model, images, count, scaled)
