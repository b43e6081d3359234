"""TABLES: the published tables that can be run again: how each row is trained and tested, and the paper's figures.

A row is trained by a recipe with settings, or fitted on features, or only quoted: another network, whose training is
not here. A reading is one way to test all rows of a table. Figures are the paper's (abstracts, public code and READMEs:
most bodies could not be read, so many ablations have none, and a table is named by what it is about, unless the paper's
own number is known). Add your table to TABLES.
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
    reference: bool = False  # beside each image's pristine original


@dataclass(frozen=True)
class Row:
    """One trained model; without a recipe and a regressor it is quoted. `teacher` names an earlier row."""

    label: str
    recipe: str = ""
    settings: tuple[str, ...] = ()  # as --set takes them
    head: str | None = None
    mals: int | None = None
    votes: bool = False
    color_spaces: tuple[str, ...] = ()
    size: str | None = None
    teacher: str = ""
    model: str = ""  # in place of the recipe's
    regressor: str = ""  # on features, in place of a recipe
    paper: Figures = field(default_factory=dict)

    @property
    def quoted(self) -> bool:
        """Whether only the paper's figures are there."""
        return not (self.recipe or self.regressor)


@dataclass(frozen=True)
class Table:
    """What a table is about, the sets that train it, its readings and rows. `number`: the paper's own, where known."""

    name: str
    title: str
    source: str
    train: tuple[str, ...]
    readings: tuple[Reading, ...]
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ("srcc", "plcc")
    note: str = ""
    number: str = ""

    @property
    def paper(self) -> str:
        """What its name and the names of the paper's other tables begin with."""
        return self.name.partition(".")[0]

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


def _pair(reading: str, srcc: float, plcc: float) -> Figures:
    return {reading: {"srcc": srcc, "plcc": plcc}}


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
_UHD_IQA = {  # SRCC, PLCC of other networks on its test side
    "HyperIQA": (0.553, 0.103), "Effnet-2C-MLSP": (0.675, 0.641), "CONTRIQUE": (0.732, 0.678),
    "ARNIQA": (0.739, 0.694), "CLIP-IQA+": (0.747, 0.709), "QualiCLIP": (0.770, 0.725), "UIQA": (0.846, 0.798),
}  # fmt: skip
_OTHERS_ON_UHD_IQA = tuple(Row(name, paper=_pair("test", *pair)) for name, pair in _UHD_IQA.items())
_SIZES = ("224x224", "238x153", "317x205", "476x307", "1271x820", "1907x1231")
_LOSSES = ("mse", "mae", "norm-in-norm", "monotonicity", "plcc")

_MOBILEIQA = (
    Table(
        "mobileiqa.uhd-iqa", "MobileIQA on UHD-IQA", _MOBILE, ("uhd-iqa",), _BOTH,
        (_TEACHER, _STUDENT, *_OTHERS_ON_UHD_IQA), _ALL,
    ),
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
        "lar-iqa.fig3", "robustness to colour spaces", _LAR, ("uhd-iqa",),
        tuple(Reading(space, "uhd-iqa", "test", space) for space in _SPACES),
        (Row("trained on RGB", "lar-iqa-kan", color_spaces=("rgb",)),
         Row("trained on all four", "lar-iqa-kan", color_spaces=_SPACES)),
        ("srcc",), "The figure's values were not at hand.", "Fig. 3",
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


_YOTO = "YOTO, arXiv 2310.09560; figures of its README, Swin-T"
_YOTO_NOTE = "No figure is Zeng and Kwong's. Splits here are this project's, not the paper's draws."


def _one(
    system: str, title: str, source: str, data: str, srcc: float, plcc: float,
    settings: tuple[str, ...] = (), note: str = "",
) -> Table:  # fmt: skip
    """A table of one row: a system on one set."""
    recipe = {"fr-nr": "fr-nr-transformer"}.get(system, system)
    row = Row(title, recipe, settings, paper=_pair("test", srcc, plcc))
    return Table(f"{system}.{data}", f"{title} on {data}", source, (data,), (Reading("test", data, "test"),), (row,),
                 note=note)  # fmt: skip


def _with_originals(data: str, *pairs: tuple[float, float]) -> Table:
    """YOTO with originals, without, and jointly. Figures (SRCC, PLCC): NR alone, NR joint, FR alone, FR joint."""
    none, beside = (
        Reading("no reference", data, "test"),
        Reading("full reference", data, "test", reference=True),
    )
    nr, nr_joint, fr, fr_joint = pairs
    rows = (
        Row("trained without", "fr-nr-transformer", ("fr_share=0",), paper=_pair(none.name, *nr)),
        Row("trained with", "fr-nr-transformer", ("fr_share=1",), paper=_pair(beside.name, *fr)),
        Row("jointly", "fr-nr-transformer", paper={**_pair(none.name, *nr_joint), **_pair(beside.name, *fr_joint)}),
    )  # fmt: skip
    return Table(f"fr-nr.{data}", "one transformer, with originals and without", _YOTO, (data,), (none, beside), rows,
                 note=_YOTO_NOTE)  # fmt: skip


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
        (Row("KonCept512", "koncept512", paper={**_pair("koniq-10k", 0.921, 0.937), **_pair("live-itw", 0.825, 0.848)}),
         Row("its PyTorch port", "koncept512", model="koncept512-top-left", paper=_pair("koniq-10k", 0.912, 0.927)),
         Row("on votes", "koncept512", votes=True),
         Row("the notebook", paper=_pair("koniq-10k", 0.918, 0.933)),
         Row("the notebook for Python 3", paper=_pair("koniq-10k", 0.919, 0.932))),
        note="The paper's SRCC; its PLCC from general knowledge; those of the port and the notebooks as they print.",
    ),
    *(_one("musiq", "MUSIQ", "ICCV 2021, arXiv 2108.05997", *row,
           note="Figures and recipe from general knowledge of the paper; from random weights, not ImageNet's.")
      for row in (("koniq-10k", 0.916, 0.928), ("spaq", 0.917, 0.921))),
    *(_one("ms-scanet", "MS-SCANet", "arXiv 2602.04032; figures of its README", *row,
           note="Which split the paper used is unknown.")
      for row in (("koniq-10k", 0.909, 0.903), ("live-itw", 0.895, 0.903))),
    *(_with_originals(*row) for row in (
        ("kadid-10k", (0.941, 0.942), (0.944, 0.945), (0.943, 0.950), (0.944, 0.950)),
        ("tid2013", (0.953, 0.956), (0.956, 0.958), (0.963, 0.965), (0.963, 0.964)))),
    *(_one("fr-nr", "YOTO without originals", _YOTO, *row, settings=("fr_share=0",), note=_YOTO_NOTE)
      for row in (("koniq-10k", 0.926, 0.938), ("live-itw", 0.869, 0.903))),
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
# Heads of other code, quoted in the same order.
_QUOTED_HEADS = {
    "MLP": (0.780, 0.750, 0.554, 0.637, 0.763, 0.808, 0.860, 0.855),
    "BSRBF": (0.763, 0.793, 0.692, 0.737, 0.792, 0.817, 0.841, 0.846),
    "EfficientKAN": (0.694, 0.657, 0.684, 0.731, 0.752, 0.779, 0.748, 0.742),
}
_FEATURE_SETS = ("bid", "live-itw", "koniq-10k", "spaq")


def _kan4iqa(index: int, data: str) -> Table:
    def row(name: str, figures: tuple[float, ...]) -> Row:
        pair = figures[2 * index : 2 * index + 2]
        regressor = "" if name in _QUOTED_HEADS else name
        return Row(name, regressor=regressor, paper=_pair("test", *pair) if pair else {})

    return Table(
        f"kan4iqa.{data}", "KAN heads on ResNet-50's features", _KAN4IQA, (data,), (Reading("test", data, "test"),),
        tuple(row(*item) for item in {**_FEATURES, **_QUOTED_HEADS}.items()),
        note="The public code chooses on the test side and splits 70/15/15; here choices fall on validation.",
    )  # fmt: skip


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *_MOBILEIQA, *_LARIQA, *_OTHERS, *(_kan4iqa(i, name) for i, name in enumerate(_FEATURE_SETS)),
    )
}  # fmt: skip

# What else the papers show, and the command that gives it.
ELSEWHERE = {
    "MobileIQA, Figs. 4 and 5: similarity and attention of MALs": "mobileiqa explain PHOTO --model CKPT",
    "MobileIQA: milliseconds on phones": "mobileiqa bench FILE.tflite --serial PHONE",
    "KonIQ-10k: as good as nine votes": "mobileiqa ratings equivalent --help",
    "Saupe et al.: laws of votes": "mobileiqa ratings fit VOTES.csv --model all",
    "visual prompts": "mobileiqa prompts --model VLM/ --data SET PATH --prompt padding --out RUN",
}

# Multiply-accumulates of one image at the model's input size (counting.of_an_image; musiq: a 1024x768 photo), 10^9.
GMACS = {
    "mobilevit-iqa": 360.0, "mobilenet-iqa": 47.8, "lar-iqa-kan": 7.58, "lar-iqa-mlp": 7.58, "msliqa-single": 0.216,
    "msliqa-multi-crop": 0.84, "msliqa-multi-resize": 0.84, "msliqa-both": 0.84, "koncept512": 29.7,
    "koncept512-top-left": 29.7, "musiq": 43.0, "ms-scanet": 0.83, "fr-nr-transformer": 79.5, "": 4.1,
}  # fmt: skip
IMAGES = {"uhd-iqa": 4269, "koniq-10k": 7058, "kadid-10k": 7125, "live-itw": 814, "spaq": 7788, "tid2013": 2160,
          "bid": 586}  # fmt: skip

# timm's backbone that a model starts from; the others start from random weights here, as nobody publishes theirs alone.
BACKBONES = {
    "mobilevit-iqa": "mobilevitv2_200", "mobilenet-iqa": "mobilenetv3_large_100",
    "lar-iqa-kan": "mobilenetv3_large_100", "lar-iqa-mlp": "mobilenetv3_large_100",
    **dict.fromkeys((f"msliqa-{name}" for name in _MSLIQA_FIGURES), "mobilenetv3_large_100"),
    **dict.fromkeys(("koncept512", "koncept512-top-left"), "inception_resnet_v2"), "": "resnet50",
}  # fmt: skip
