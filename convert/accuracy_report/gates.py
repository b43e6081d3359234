"""Which figures a converted file must reach, by its precision, and why these.

FP32 and FP16 files compute the same numbers but for rounding: their largest shift is limited, as in
convert.parity. An INT8 file moves every score, so its ranking is judged, and its mean shift. A figure that
could not be computed fails its gate; so does a ranking of too few images. The one gate that may stay open is
the drop against labels, when the images have none: `passed` is then None.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convert.accuracy_report.agreement import Agreement, Labelled
from convert.comparison.compare import REASON_TOLERANCES, TOLERANCES

MIN_IMAGES = 30  # 435 pairs; among ten images, two neighbours that change places already break SRCC >= 0.99


@dataclass(frozen=True)
class Gate:
    """A limit on one figure: at most `limit`, or at least where `at_least`. `value` reads the figure."""

    name: str
    title: str
    limit: float
    reason: str
    value: Callable[[Agreement, Labelled | None], float | None]
    at_least: bool = False
    ranking: bool = False  # needs MIN_IMAGES
    labels: bool = False  # needs labels
    reasons: bool = False  # needs a model that gives reasons


@dataclass(frozen=True)
class Verdict:
    """What a gate says: `passed` is None where there are no labels to judge by; `reason` is empty if it passed."""

    gate: str
    title: str
    value: float | None
    limit: float
    at_least: bool
    passed: bool | None
    reason: str = ""

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        value = "-" if self.value is None else f"{self.value:.4g}"
        word = {True: "pass", False: f"FAIL: {self.reason}", None: f"not judged: {self.reason}"}[self.passed]
        return f"{self.title} {value} ({sign} {self.limit:g}): {word}"


def _srcc(agreement: Agreement, _: Labelled | None) -> float | None:
    return agreement.correlations["srcc"].value if agreement.correlations else None


def _drop(_: Agreement, labels: Labelled | None) -> float | None:
    return labels.drop.value if labels and labels.drop else None


def _largest_shift(precision: str) -> Gate:
    limits = TOLERANCES[precision]
    assert limits.max_abs is not None
    return Gate("max_shift", "largest shift", limits.max_abs, limits.reason, lambda a, _: a.max_shift)


_INT8, _INT8_REASONS = TOLERANCES["int8"], REASON_TOLERANCES["int8"]
assert _INT8.min_srcc is not None and _INT8.mean_abs is not None and _INT8_REASONS.min_agreement is not None

GATES: dict[str, tuple[Gate, ...]] = {
    "fp32": (_largest_shift("fp32"),),
    "fp16": (_largest_shift("fp16"),),
    "int8": (
        Gate(
            "srcc", "SRCC with FP32", _INT8.min_srcc, "below, an app shows another order of photos",
            _srcc, at_least=True, ranking=True,
        ),
        Gate(
            "srcc_drop", "drop of SRCC against labels", 0.005,
            "models of this field differ by a few times that; the interval beside it says how sure the drop is",
            _drop, ranking=True, labels=True,
        ),
        Gate(
            "pair_flips", "pair flips", 0.02,
            "of fifty pairs of photos that are compared, one may come out the other way",
            lambda a, _: a.pair_flips, ranking=True,
        ),
        Gate("mean_shift", "mean shift", _INT8.mean_abs, _INT8.reason, lambda a, _: a.mean_shift),
        Gate(
            "reasons_agree", "likeliest reasons that agree", _INT8_REASONS.min_agreement, _INT8_REASONS.reason,
            lambda a, _: a.reasons_agree, at_least=True, ranking=True, reasons=True,
        ),
    ),
}  # fmt: skip


def judge(precision: str, agreement: Agreement, labels: Labelled | None) -> tuple[Verdict, ...]:
    """Every gate of `precision`, a key of GATES; `labels` None: the images have none."""
    gates = [g for g in GATES[precision] if not g.reasons or agreement.reasons_agree is not None]
    return tuple(_verdict(gate, agreement, labels) for gate in gates)


def failed(verdicts: Sequence[Verdict]) -> list[str]:
    """The names of the gates that are broken."""
    return [verdict.gate for verdict in verdicts if verdict.passed is False]


def _verdict(gate: Gate, agreement: Agreement, labels: Labelled | None) -> Verdict:
    value = gate.value(agreement, labels)

    def verdict(passed: bool | None, reason: str = "") -> Verdict:
        return Verdict(gate.name, gate.title, value, gate.limit, gate.at_least, passed, reason)

    if gate.labels and labels is None:
        return verdict(None, "no labels")
    if reason := _unfit(gate, agreement, labels):
        return verdict(False, reason)
    if value is None:
        return verdict(False, "could not be computed")
    within = value >= gate.limit if gate.at_least else value <= gate.limit
    return verdict(within, "" if within else f"{value:.4g} is {'below' if gate.at_least else 'above'} it")


def _unfit(gate: Gate, agreement: Agreement, labels: Labelled | None) -> str:
    """Why these images and scores cannot pass the gate, whatever the figure is; or an empty string."""
    if agreement.failure or (gate.labels and labels and labels.failure):
        return agreement.failure or (labels.failure if labels else "")
    if gate.ranking and agreement.n < MIN_IMAGES:
        return f"{agreement.n} images; a ranking is judged on {MIN_IMAGES} or more"
    if not gate.ranking and agreement.spread is not None and agreement.spread <= gate.limit:
        return f"FP32's own scores spread over {agreement.spread:.3g} only: any file would pass"
    return ""
