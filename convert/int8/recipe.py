"""Which operators become INT8, and how: a Recipe, and what it means for a given file.

    static    weights and activations are 8-bit from the first 8-bit convolution to the last that writes a map, as
              far as XNNPACK has 8-bit kernels; convolutions and fully connected layers after that as in `dynamic`
    dynamic   convolutions and fully connected layers get 8-bit weights, and quantize their input at run time
    weights   the same weights in 8 bits, computed in float

Depthwise convolutions stay in float outside `static`: quantized at run time they are slower than float. The last
regressor, whose output is the score, always stays in float: 255 steps are too few for a ranking.

With `arm`, 8 bits are where they take fewer instructions than FP16 on an ARM core that has both: in convolutions and
fully connected layers of many positions that read ARM_CHANNELS or more, wherever they are, and in what only moves
their values. Nothing but layers of one position quantizes its input at run time: what lies behind computes in FP32.
"""

import math
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.flatbuffer import model as fb
from convert.int8.statistics.activation_ranges import METHODS
from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.typed_json import shortened

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model

MODES = ("static", "dynamic", "weights")
FLOAT_FIRST = {"static": sys.maxsize, "dynamic": 1, "weights": 0}  # at most so many stay in float
ROUNDINGS = ("least-error", "nearest")  # convert.int8.algorithms.weight_rounding's functions
WEIGHTS_PER = ("channel", "tensor")
_WEIGHTED = ("CONV_2D", "FULLY_CONNECTED")
_MOVING = ("PAD", "RESHAPE", "TRANSPOSE", "CONCATENATION", "SLICE", "STRIDED_SLICE", "MAX_POOL_2D")
ARM_CHANNELS = 32  # of fewer, a sum is too short to pay for its conversion to 8 bits and back
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_SPATIAL = (*_CONVOLUTIONS, "MEAN")  # where 8 bits can begin
# With 8-bit kernels in XNNPACK. GELU, SOFTMAX, BATCH_MATMUL and AVERAGE_POOL_2D have none: the graph would split.
# HARD_SWISH has none either; it is written as products that have (algorithms/hard_swish.py). A plan is made of
# the file before that, too, by a search.
_INT8 = (*_SPATIAL, "ADD", "SUB", "MUL", "PAD", "RESHAPE", "TRANSPOSE", "CONCATENATION", "SLICE", "STRIDED_SLICE",
         "MAX_POOL_2D", "FULLY_CONNECTED", "LOGISTIC", "HARD_SWISH")  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a file is quantized. `keep_float`: regular expressions for names of operators' outputs.

    float_first: convolutions on the way from the image that stay in float in a static recipe. In 8 bits, their
    maps lose noise of a few grey levels: on the reference model three of them take the mean shift of the score
    from 0.013 to 0.003. In a dynamic recipe it is the first alone, which reads pixels: from 0.007 to 0.002.

    equalize (static alone), rounding, bias_correction: see convert.int8.algorithms. They need calibration images:
    without any, `dynamic` and `weights` are rounded to nearest. weights_per: "tensor" is for comparison; one scale
    for all channels of a weight loses the narrow ones. arm (static alone): fewest instructions on an ARM core with FP16
    arithmetic, and slower on x86.
    """

    mode: str = "static"
    ranges: str = "mse"  # a name in ranges.METHODS
    keep_float: tuple[str, ...] = ()
    float_first: int = 3
    equalize: bool = True
    rounding: str = ROUNDINGS[0]
    bias_correction: bool = True
    weights_per: str = WEIGHTS_PER[0]
    arm: bool = False

    def __post_init__(self) -> None:
        allowed = {"mode": MODES, "ranges": tuple(METHODS), "rounding": ROUNDINGS, "weights_per": WEIGHTS_PER,
                   "equalize": (True, False), "bias_correction": (True, False),
                   "arm": (True, False) if self.mode == MODES[0] else (False,)}  # fmt: skip
        wrong = [f"{name} {getattr(self, name)!r}" for name, known in allowed.items()
                 if getattr(self, name) not in known]  # fmt: skip
        if type(self.float_first) is not int or self.float_first < 0:
            wrong.append(f"float_first {self.float_first!r}")
        wrong += [
            f"keep_float {shortened(repr(e), 60)}, no regular expression"
            for e in self.keep_float
            if not _compiles(e)
        ]
        if wrong:
            known = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in allowed.items())
            raise UserError(
                f"a recipe with {known}; float_first: 0, 1, 2...",
                ", ".join(wrong),
                "correct the recipe",
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `read` reverses it."""
        return asdict(self)


def _compiles(expression: str) -> bool:
    try:
        re.compile(expression)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def read(path: Path) -> Recipe:
    """The recipe in a JSON file. UserError names what is malformed."""
    try:
        content = typed_json.content_of(path)
    except OSError as error:
        raise UserError(f"a recipe as JSON in {path}", str(error), "write one as --int8 does") from error
    source, todo = f"a recipe as JSON in {path}", "write one as --int8 does"
    recipe = typed_json.parse(content, source, todo)
    if isinstance(recipe, dict) and recipe.pop("fine_tune", 0):  # 0 in the files of earlier versions
        raise UserError(source, "fine_tune, which this version no longer has", "leave it out of the recipe")
    return typed_json.decode(Recipe, recipe, source, todo)


@dataclass(frozen=True)
class Plan:
    """Names of operators' outputs by what is done to the operators."""

    static: tuple[str, ...]
    dynamic: tuple[str, ...]
    weights: tuple[str, ...]


def plan(model: "Model", recipe: Recipe) -> Plan:
    """What the recipe does to this file. UserError for an expression that matches no operator."""
    graph = model.subgraphs[0]
    kinds = [fb.kind(model, operator) for operator in graph.operators]
    names = [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]
    floats = _kept(names, recipe.keep_float) | set(_last_regressors(graph, kinds))
    weighted = [i for i, kind in enumerate(kinds) if kind in _WEIGHTED and i not in floats]
    static: list[int] = []
    first = set(_first(graph, kinds, min(recipe.float_first, FLOAT_FIRST[recipe.mode])))
    if recipe.mode == "static":
        static = _computing(graph, kinds, _first_part(model, kinds, floats | first))
    weighted = [i for i in weighted if i not in first and i not in set(static)]
    if recipe.arm:
        many = [i for i in weighted if _rows(graph, graph.operators[i]) > 1]
        static = _fewest_on_arm(graph, kinds, sorted({*static, *many}))
        weighted = [i for i in weighted if i not in many]
    quantized = tuple(names[i] for i in weighted)
    return Plan(
        tuple(names[i] for i in static),
        () if recipe.mode == "weights" else quantized,
        quantized if recipe.mode == "weights" else (),
    )


def _first_part(model: "Model", kinds: list[str], floats: set[int]) -> list[int]:
    """The operators that can be 8-bit from the image on, without what leads to no convolution that writes a map.

    Behind the last one there is a hard-swish of rare large values, and its mean: small, and cheap in float.
    """
    graph = model.subgraphs[0]
    constants = {i for i, tensor in enumerate(graph.tensors) if fb.is_constant(model, tensor)}
    ready = {int(t) for t in graph.inputs}
    operators: list[int] = []
    for i, operator in enumerate(graph.operators):
        read = {int(t) for t in operator.inputs if int(t) >= 0} - constants
        if read <= ready and (kinds[i] in _INT8 or i in floats):
            ready |= {int(t) for t in operator.outputs}
            operators.append(i)
    upstream = set(
        _upstream(graph, [i for i in operators if _writes_a_map(graph, kinds[i], graph.operators[i])])
    )
    return [i for i in operators if i in upstream and i not in floats]


def _writes_a_map(graph: Any, kind: str, operator: Any) -> bool:
    """Whether it is a convolution with more than one output position."""
    return kind in _CONVOLUTIONS and _rows(graph, operator) > 1


def _rows(graph: Any, operator: Any) -> int:
    """How many positions, or tokens, it computes: all of its output but the channels."""
    return math.prod(int(n) for n in graph.tensors[operator.outputs[0]].shape[:-1])


def _computing(graph: Any, kinds: list[str], static: list[int]) -> list[int]:
    """8 bits begin at a convolution or mean: without operators whose inputs are all float so far.

    A PAD before a convolution that stays in float would take the image through 8 bits, whose grid is half a step
    beside that of its pixels: on the reference model that is more than half of the mean shift (0.008 to 0.003).
    A hard-swish or an ADD between two such convolutions would bring their noise back, and two conversions more.
    """
    eight_bit: set[int] = set()
    computing = []
    for i in static:
        operator = graph.operators[i]
        if kinds[i] in _SPATIAL or eight_bit & {int(t) for t in operator.inputs}:
            eight_bit |= {int(t) for t in operator.outputs}
            computing.append(i)
    return computing


def _fewest_on_arm(graph: Any, kinds: list[str], static: list[int]) -> list[int]:
    """Those of `static` that take fewer instructions in 8 bits than in FP16, conversions included.

    A depthwise layer, a hard-swish and an ADD take 1.2 to 4 times as many in 8 bits, a convolution of few inputs the
    same. What moves values stays with the 8-bit operators that it stands between.
    """
    operators, producers = graph.operators, _producers(graph)
    eight_bit = {
        i
        for i in static
        if kinds[i] in _WEIGHTED and int(graph.tensors[operators[i].inputs[1]].shape[-1]) >= ARM_CHANNELS
    }
    between = set(eight_bit)
    for i in static:
        inputs = {producers[int(t)] for t in operators[i].inputs if int(t) in producers}
        if kinds[i] in _MOVING and inputs and inputs <= between:
            between.add(i)
    for i in reversed(static):
        outputs = {int(t) for t in operators[i].outputs}
        if i in between and any(outputs & {int(t) for t in operators[j].inputs} for j in eight_bit):
            eight_bit.add(i)
    return [i for i in static if i in eight_bit]


def _first(graph: Any, kinds: list[str], count: int) -> list[int]:
    """The convolutions with fewer than `count` others on the way from the image."""
    convolutions = {i for i, kind in enumerate(kinds) if kind in _CONVOLUTIONS}
    return [i for i in convolutions if len(convolutions & set(_upstream(graph, [i]))) <= count]


def _kept(names: list[str], expressions: tuple[str, ...]) -> set[int]:
    floats: set[int] = set()
    for expression in expressions:
        matches = {i for i, name in enumerate(names) if re.search(expression, name)}
        if not matches:
            raise UserError(
                f"keep_float expressions that match operators of the file, such as {names[0]!r}",
                repr(expression),
                "correct the recipe; python -m convert.inspect lists the file's tensors",
            )
        floats |= matches
    return floats


def _producers(graph: Any) -> dict[int, int]:
    """Tensor index -> index of the operator that writes it."""
    return {int(t): i for i, operator in enumerate(graph.operators) for t in operator.outputs}


def _upstream(graph: Any, starts: list[int]) -> list[int]:
    """The operators on whose outputs `starts` depend, and `starts`, in order."""
    producers, seen, waiting = _producers(graph), set(), list(starts)
    while waiting:
        index = waiting.pop()
        if index not in seen:
            seen.add(index)
            waiting += [producers[int(t)] for t in graph.operators[index].inputs if int(t) in producers]
    return sorted(seen)


def _last_regressors(graph: Any, kinds: list[str]) -> list[int]:
    """The fully connected layers and convolutions after which there is no other one."""
    weighted = [i for i, kind in enumerate(kinds) if kind in _WEIGHTED]
    followed = {before for i in weighted for before in _upstream(graph, [i]) if before != i}
    return [i for i in weighted if i not in followed]
