"""What calibration images say of one FP32 file: collected once, and good for every recipe that is tried on it.

    equalized weights -> ranges of activations -> covariance of what weights multiply -> weights of least error

None of it depends on what a recipe keeps in float: every activation is observed, and each operator's inputs are
sampled by themselves. A search, which tries dozens of recipes, therefore runs the FP32 file on its images a few
times in all instead of three times for each, and a recipe makes the same bytes alone as in a search. Only
equalization changes the file: recipes that ask for it have statistics of their own.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import graphs_of
from convert.int8.algorithms.bias_correction import RoundedWeights
from convert.int8.algorithms.cross_layer_equalization import equalize
from convert.int8.algorithms.hard_swish import LOWEST, hard_swish_inputs
from convert.int8.recipe import Recipe
from convert.int8.statistics.activation_ranges import METHODS, Observer, Range, clamped, observe_activations
from convert.int8.statistics.input_covariance import InputCovariance, collect_covariances
from convert.int8.statistics.interpreter import Inputs
from convert.int8.weights import weighted

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

Images = Callable[[], Iterable[Inputs]]


@dataclass(frozen=True)
class CalibrationStatistics:
    """Of the FP32 file `content`, which is `model`; nobody changes either. Covariances take memory until it goes.

    images: gives the prepared calibration images, `count` of them, as often as it is called. equalized: how many
    tensors' channels were scaled. rounded: what convert.int8.algorithms.bias_correction.correct remembers.
    """

    content: bytes = field(repr=False)
    model: "Model" = field(repr=False)
    images: Images = field(repr=False)
    count: int
    equalized: int = 0
    rounded: RoundedWeights = field(default_factory=dict, repr=False)
    _ranges: dict[str, dict[str, Range]] = field(default_factory=dict, repr=False)
    _covariances: dict[int, InputCovariance] = field(default_factory=dict, repr=False)

    def ranges(self, method: str) -> Mapping[str, Range]:
        """Every activation's range, by tensor name; `method`: a name in activation_ranges.METHODS.

        Raises ValueError for activations that are not finite, and without images.
        """
        if method not in self._ranges:
            self._ranges[method] = {name: METHODS[method](seen) for name, seen in self._observers.items()}
        return self._ranges[method]

    def covariances(self, weights: Collection[int]) -> Mapping[int, InputCovariance]:
        """Of what weights multiply, by their tensors' indices: at least of those in `weights`."""
        lacking = set(weights) - self._covariances.keys()
        if lacking:
            operators = [(operator, weight) for operator, weight in weighted(self.model) if weight in lacking]
            self._covariances.update(collect_covariances(self.model, self.content, operators, self.images()))
        return self._covariances

    @cached_property
    def _observers(self) -> dict[str, Observer]:
        observers = observe_activations(self.content, self.images())
        names = hard_swish_inputs(graphs_of(self.content)[0])
        return observers | {name: clamped(observers[name], LOWEST) for name in names}


def uses_equalization(recipe: Recipe) -> bool:
    """Whether the recipe asks for the equalized file. In other modes it gains nothing: benchmarks/INT8_STUDIES.md."""
    return recipe.equalize and recipe.mode == "static"


def collect_statistics(fp32: bytes, equalized: bool, images: Images, count: int) -> CalibrationStatistics:
    """Of one of our FP32 files, or of its equalized form.

    images: gives the prepared calibration images, `count` of them, each time that it is called.
    """
    model = fb.unpack(fp32)
    scaled = equalize(model, fp32, images()) if equalized and count else 0
    return CalibrationStatistics(fb.pack(model) if scaled else fp32, model, images, count, scaled)
