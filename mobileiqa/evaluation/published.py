"""TABLES: the published tables that can be run again: how each row is trained and tested, and the paper's figures.

A row is trained by a recipe with settings, or fitted on features, or on votes. A reading is one way to test all rows of
a table. Figures are the paper's (abstracts, public code and READMEs: most bodies could not be read, so many ablations
have none, and tables are named by what they are about, not by the papers' numbers). Add your table to TABLES.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Figures = Mapping[str, Mapping[str, float]]  # reading -> metric -> the paper's figure


@dataclass(frozen=True)
class Reading:
    """One way to test: which set and side, in which colour space, whole or by patches."""

    name: str
    data: str
    split: str | None = None  # None: test, or validation where there is none
    color_space: str = ""
    patches: bool = False


@dataclass(frozen=True)
class Row:
    """One trained model. `teacher` and `init` name earlier rows whose checkpoints it starts from."""

    label: str
    recipe: str = ""
    settings: tuple[str, ...] = ()  # as --set takes them
    head: str | None = None
    mals: int | None = None
    votes: bool = False
    color_spaces: tuple[str, ...] = ()
    size: str | None = None
    teacher: str = ""
    init: tuple[str, ...] = ()
    regressor: str = ""  # on features, in place of a recipe
    paper: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """What a table is about, the sets that train it, its readings and rows."""

    name: str
    title: str
    source: str
    train: tuple[str, ...]
    readings: tuple[Reading, ...]
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ("srcc", "plcc")
    note: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """The sets that it reads."""
        return tuple(dict.fromkeys([*self.train, *(reading.data for reading in self.readings)]))


_MOBILE, _LAR = "MobileIQA, arXiv 2409.01212", "LAR-IQA, arXiv 2408.17057"
_KAN4IQA = "KAN4IQA, arXiv 2409.07762; figures of its README"
_TEST = (Reading("test", "uhd-iqa", "test"),)
_BOTH = (Reading("validation", "uhd-iqa", "validation"), *_TEST)
_ALL = ("krcc", "plcc", "srcc", "rmse", "mae")
_UNKNOWN = "The paper's figures of this ablation were not at hand."


def _figures(names: tuple[str, ...], *values: float) -> dict[str, float]:
    return dict(zip(names, values, strict=True))


_TEACHER = Row(
    "MobileViT-IQA (teacher)", "mobileiqa-teacher",
    paper={"validation": _figures(_ALL, 0.585, 0.784, 0.777, 0.043, 0.034)},
)  # fmt: skip
_STUDENT = Row(
    "MobileNet-IQA", "mobileiqa-distill", teacher=_TEACHER.label,
    paper={
        "validation": _figures(_ALL, 0.582, 0.783, 0.775, 0.044, 0.034),
        "test": _figures(_ALL, 0.598, 0.756, 0.788, 0.066, 0.046),
    },
)  # fmt: skip
_SIZES = ("224x224", "238x153", "317x205", "476x307", "1271x820", "1907x1231")
_LOSSES = ("mse", "mae", "norm-in-norm", "monotonicity", "plcc")

_MOBILEIQA = (
    Table("mobileiqa.uhd-iqa", "MobileIQA on UHD-IQA", _MOBILE, ("uhd-iqa",), _BOTH, (_TEACHER, _STUDENT), _ALL),
    Table(
        "mobileiqa.distillation", "with a teacher and without", _MOBILE, ("uhd-iqa",), _TEST,
        (_TEACHER, _STUDENT, Row("without a teacher", "mobileiqa-student"),
         Row("the public code's sum", "mobileiqa-distill-code", teacher=_TEACHER.label)), _ALL, _UNKNOWN,
    ),
    Table(
        "mobileiqa.mals", "number of MALs", _MOBILE, ("uhd-iqa",), _TEST,
        tuple(Row(f"{count} MALs", "mobileiqa-student", mals=count) for count in range(4)), _ALL,
        f"{_UNKNOWN} Without a teacher: opinions of another number have no counterpart in it.",
    ),
    Table(
        "mobileiqa.resolution", "input size", _MOBILE, ("uhd-iqa",), _TEST,
        tuple(Row(size, "mobileiqa-student", size=size) for size in _SIZES), _ALL, _UNKNOWN,
    ),
    Table(
        "mobileiqa.alpha", "weight of the score in distillation", _MOBILE, ("uhd-iqa",), _TEST,
        (_TEACHER, *(Row(f"alpha {alpha}", "mobileiqa-distill", (f"alpha={alpha}",), teacher=_TEACHER.label)
                     for alpha in (0.5, 1, 2, 4))), _ALL, f"{_UNKNOWN} alpha is 2 in the paper.",
    ),
    Table(
        "mobileiqa.losses", "loss of the score", _MOBILE, ("uhd-iqa",), _TEST,
        tuple(Row(loss, "mobileiqa-student", (f"losses={loss}",)) for loss in _LOSSES), _ALL,
        f"{_UNKNOWN} Losses that only rank get a linear map, fitted on the training images.",
    ),
)  # fmt: skip

_SPACES = ("rgb", "hsv", "lab", "yuv")
_LARIQA = (
    Table(
        "lar-iqa.uhd-iqa", "MLP and KAN heads on UHD-IQA", _LAR, ("uhd-iqa",), _TEST,
        (
            Row("MLP", "lar-iqa-mlp", paper={"test": {"krcc": 0.616, "srcc": 0.809}}),
            Row("KAN", "lar-iqa-kan", paper={"test": _figures(_ALL, 0.642, 0.787, 0.836, 0.061, 0.041)}),
            *(Row(f"KAN, {head} score head", "lar-iqa-kan", head=head)
              for head in ("taylor3", "chebyshev", "jacobi", "hermite", "fourier", "rbf", "wavelet")),
        ), _ALL, "The two branches start from timm's ImageNet weights, not from other sets; other heads are ours.",
    ),
    Table(
        "lar-iqa.color-spaces", "robustness to colour spaces (Fig. 3)", _LAR, ("uhd-iqa",),
        tuple(Reading(space, "uhd-iqa", "test", space) for space in _SPACES),
        (Row("trained on RGB", "lar-iqa-kan", color_spaces=("rgb",)),
         Row("trained on all four", "lar-iqa-kan", color_spaces=_SPACES)), ("srcc",), "Fig. 3's values are unknown.",
    ),
)  # fmt: skip

_TID = (Reading("whole", "tid2013", "all"), Reading("patches", "tid2013", "all", patches=True))
_MSLIQA_FIGURES = {
    "single": (0.59, None),
    "multi-crop": (0.70, None),
    "multi-resize": (0.73, None),
    "both": (0.74, 0.76),
}


def _msliqa(name: str, whole: float, patches: float | None) -> Row:
    paper = {"whole": {"srcc": whole}, **({"patches": {"srcc": patches}} if patches else {})}
    return Row(name, f"msliqa-{name}", paper=paper)


_KONIQ = (Reading("koniq-10k", "koniq-10k", "test"),)
_OTHERS = (
    Table(
        "msliqa.tid2013", "KADID-10k to TID2013", "MSLIQA, arXiv 2408.16879", ("kadid-10k",), _TID,
        tuple(_msliqa(name, *values) for name, values in _MSLIQA_FIGURES.items()), ("srcc",),
        "The paper's five rows: four trainings, and the last one by patches.",
    ),
    Table(
        "koncept512.koniq-10k", "KonCept512, within and across", "IEEE TIP 29 (2020)", ("koniq-10k",),
        (*_KONIQ, Reading("live-itw", "live-itw", "all")),
        (Row("KonCept512", "koncept512", paper={"koniq-10k": {"srcc": 0.921}, "live-itw": {"srcc": 0.825}}),
         Row("on votes", "koncept512", votes=True)),
    ),
    Table(
        "musiq.koniq-10k", "MUSIQ on KonIQ-10k", "ICCV 2021, arXiv 2108.05997", ("koniq-10k",), _KONIQ,
        (Row("MUSIQ", "musiq", paper={"koniq-10k": {"srcc": 0.916, "plcc": 0.928}}),),
        note="Figures and recipe from general knowledge of the paper; from random weights, not ImageNet's.",
    ),
    Table(
        "ms-scanet.koniq-10k", "MS-SCANet on KonIQ-10k", "arXiv 2602.04032; figures of its README", ("koniq-10k",),
        _KONIQ, (Row("MS-SCANet", "ms-scanet", paper={"koniq-10k": {"srcc": 0.909, "plcc": 0.903}}),),
        note="Which split the paper used is unknown.",
    ),
    Table(
        "fr-nr.kadid-10k", "one transformer, trained with originals and without", "YOTO, arXiv 2310.09560",
        ("kadid-10k",), (Reading("no reference", "kadid-10k", "test"),),
        (Row("joint", "fr-nr-transformer"),),
        note="YOTO's network; its figures were not at hand, and no figure is Zeng and Kwong's.",
    ),
)  # fmt: skip

# SRCC, PLCC of the README: BID, LIVE in the Wild, KonIQ-10k, SPAQ.
_FEATURES = {
    "svr": (0.842, 0.834, 0.691, 0.754, 0.850, 0.862, 0.842, 0.834),
    "ridge": (),
    "taylor2": (0.843, 0.842, 0.753, 0.783, 0.816, 0.830, 0.862, 0.856),
    "taylor3": (),
    "bspline": (0.756, 0.746, 0.681, 0.720, 0.739, 0.772, 0.810, 0.812),
    "rbf": (0.794, 0.813, 0.699, 0.731, 0.778, 0.805, 0.841, 0.845),
    "chebyshev": (0.736, 0.751, 0.549, 0.679, 0.716, 0.749, 0.792, 0.800),
    "jacobi": (0.762, 0.762, 0.628, 0.721, 0.751, 0.782, 0.807, 0.811),
    "wavelet": (0.735, 0.767, 0.676, 0.752, 0.777, 0.810, 0.784, 0.792),
    "hermite": (0.656, 0.696, 0.575, 0.614, 0.702, 0.737, 0.800, 0.802),
    "fourier": (0.358, 0.337, 0.054, 0.052, 0.092, 0.096, 0.274, 0.314),
}
_FEATURE_SETS = ("bid", "live-itw", "koniq-10k", "spaq")


def _kan4iqa(index: int, data: str) -> Table:
    def row(name: str, figures: tuple[float, ...]) -> Row:
        pair = figures[2 * index : 2 * index + 2]
        return Row(name, regressor=name, paper={"test": _figures(("srcc", "plcc"), *pair)} if pair else {})

    return Table(
        f"kan4iqa.{data}", "KAN heads on ResNet-50's features", _KAN4IQA, (data,), (Reading("test", data, "test"),),
        tuple(row(name, figures) for name, figures in _FEATURES.items()),
        note="The public code chooses on the test side and splits 70/15/15; here choices fall on validation.",
    )  # fmt: skip


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *_MOBILEIQA, *_LARIQA, *_OTHERS, *(_kan4iqa(i, name) for i, name in enumerate(_FEATURE_SETS)),
    )
}  # fmt: skip
