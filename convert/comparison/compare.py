"""Compares a candidate's outputs with a reference's, image by image, and judges them against a tolerance.

Everything is float64 and in units of the score range (high - low), so that one table of tolerances serves
models that score 0..1 and 0..100. Nothing is skipped: a missing output, another count or shape, a non-finite
value, an empty set or a reference that hardly varies (any candidate would pass) is a report that did not pass
and says why, so that the other stages are still reported.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_RANKED = 3  # fewer images than this have no meaningful rank correlation


@dataclass(frozen=True)
class Tolerance:
    """What may differ, in units of the score range (None: not limited), and where the limits come from."""

    reason: str
    max_abs: float | None = None
    mean_abs: float | None = None
    min_srcc: float | None = None
    min_agreement: float | None = None  # of the likeliest reason, where there are reasons

    def __str__(self) -> str:
        limits = {"max": self.max_abs, "mean": self.mean_abs}
        parts = [f"{name}<={value:g}" for name, value in limits.items() if value is not None]
        least = {"SRCC": self.min_srcc, "agree": self.min_agreement}
        return " ".join(
            [*parts, *(f"{name}>={value:g}" for name, value in least.items() if value is not None)]
        )


# In pipeline order, so that the first failing stage is where the score moved.
TOLERANCES: dict[str, Tolerance] = {
    "approximation": Tolerance(
        "asked for, and inside the same budget as the 8-bit weights that it comes with",
        mean_abs=1e-2,
        min_srcc=0.99,
    ),
    "features": Tolerance(
        "in standard deviations of each feature; the published modules' own float32 rounding reaches"
        " 2.3e-4 (mobilevit-iqa at 1907x1231), and two modules differ by both of theirs",
        max_abs=1e-3,
    ),
    "rewrite": Tolerance("equal in real arithmetic: only float32 rounding may differ", max_abs=1e-4),
    "onnx": Tolerance("the same float32 graph: only the order of sums may differ", max_abs=1e-4),
    "fp32": Tolerance("the same float32 graph: only the order of sums may differ", max_abs=1e-4),
    "fp16": Tolerance("weights rounded to 11 bits, arithmetic in float32", max_abs=2e-3),
    "fp16-arithmetic": Tolerance(
        "weights and activations of 11 bits: MobileNetV3 on ARM FP16 kernels moves by 4.9e-3", max_abs=5e-3
    ),
    "int8": Tolerance(
        "8-bit weights move every score, so the ranking counts, and the mean shift stays under a tenth of a"
        " typical MOS deviation",
        mean_abs=1e-2,
        min_srcc=0.99,
    ),
}


# Of the probabilities of reasons, of the same kinds of stages; other kinds as above.
REASON_TOLERANCES = {
    "int8": Tolerance(
        "8-bit weights move every probability, so the likeliest reason counts",
        mean_abs=2e-2,
        min_agreement=0.9,
    ),
}


@dataclass(frozen=True)
class ParityReport:
    """One stage. Errors are candidate - reference in units of the score range; None: could not be computed.

    sqnr_db is also None when nothing differs. srcc (-1..1; None below three images or when one side is
    constant) and pair_flips (0..1, the share of image pairs that change order) are of scores, not of
    features.
    """

    reference: str
    candidate: str
    runtime: str
    stage: str  # a key of TOLERANCES
    n: int
    tolerance: Tolerance
    passed: bool
    reason: str = ""  # why it did not pass
    max_abs: float | None = None
    mean_abs: float | None = None
    bias: float | None = None
    sqnr_db: float | None = None
    srcc: float | None = None
    pair_flips: float | None = None
    worst_image: str | None = None
    agreement: float | None = None  # 0..1, of reasons: the share of images whose likeliest one is the same

    @property
    def verdict(self) -> str:
        """One phrase for people."""
        if self.passed:
            return f"passed, max_abs {self.max_abs:.1e} ({self.worst_image}), tolerance {self.tolerance}"
        return f"FAILED: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; `stage` is what earlier releases called the stage."""
        return {**dataclasses.asdict(self), "edge": self.stage}


@dataclass(frozen=True)
class ParityStage:
    """What is compared with what, and which tolerance judges it."""

    kind: str  # a key of TOLERANCES
    reference: str
    candidate: str
    runtime: str

    of_reasons: bool = False

    @property
    def tolerance(self) -> Tolerance:
        """What judges it."""
        own = REASON_TOLERANCES if self.of_reasons else TOLERANCES
        return own.get(self.kind, TOLERANCES[self.kind])

    def failed(self, reason: str, n: int = 0) -> ParityReport:
        """The report of a stage that could not be compared."""
        return ParityReport(
            self.reference, self.candidate, self.runtime, self.kind, n, self.tolerance, False, reason
        )


def compare(
    stage: ParityStage,
    reference: Sequence[np.ndarray],
    candidate: Sequence[np.ndarray | None],
    images: Sequence[str],
    scale: float = 1.0,
) -> ParityReport:
    """The report of one stage.

    `reference` and `candidate` hold one array per image: scores (crops,), whose mean is the image's score, or
    a feature of two or more dimensions, compared element by element. `scale`, the width of the score range,
    divides both.
    """
    n = len(images)
    if reason := _incomparable(reference, candidate, images):
        return stage.failed(reason, n)
    expected, actual = _values(reference) / scale, _values(candidate) / scale
    limit = stage.tolerance.max_abs or 0.0
    if expected.size > 1 and np.ptp(expected) <= limit:
        return stage.failed(
            f"the reference varies by {np.ptp(expected):.3g} only: any candidate would pass", n
        )
    errors = actual - expected
    ranked = errors.shape[1] == 1
    report = ParityReport(
        stage.reference,
        stage.candidate,
        stage.runtime,
        stage.kind,
        n,
        stage.tolerance,
        passed=True,
        max_abs=float(np.abs(errors).max()),
        mean_abs=float(np.abs(errors).mean()),
        bias=float(errors.mean()),
        sqnr_db=sqnr_db(expected, errors),
        srcc=srcc(expected[:, 0], actual[:, 0]) if ranked else None,
        pair_flips=pair_flips(expected[:, 0], actual[:, 0]) if ranked else None,
        worst_image=images[int(np.abs(errors).max(axis=1).argmax())],
        agreement=float((expected.argmax(1) == actual.argmax(1)).mean()) if stage.of_reasons else None,
    )
    reason = _broken(report)
    return dataclasses.replace(report, passed=not reason, reason=reason)


def _values(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(images, 1): each image's score; or (images, elements) of a feature. float64."""
    rows = np.asarray(arrays, np.float64).reshape(len(arrays), -1)
    return rows.mean(axis=1, keepdims=True) if np.ndim(arrays[0]) == 1 else rows


def _incomparable(
    reference: Sequence[np.ndarray], candidate: Sequence[np.ndarray | None], images: Sequence[str]
) -> str:
    """Why the two cannot be compared, or an empty string."""
    if not images:
        return "zero images"
    if not len(reference) == len(candidate) == len(images):
        return f"{len(candidate)} outputs for {len(images)} images and {len(reference)} reference outputs"
    for image, a, b in zip(images, reference, candidate, strict=True):
        if b is None:
            return f"no output for {image}"
        if np.shape(a) != np.shape(b) or not np.size(b):
            return f"output of shape {np.shape(b)}, expected {np.shape(a)}, for {image}"
        for name, values in (("reference", a), ("output", b)):
            if not np.isfinite(values).all():
                return f"{name} for {image} is not finite: {_first_odd(values)}"
    return ""


def _first_odd(values: np.ndarray) -> float:
    return np.asarray(values)[~np.isfinite(values)].ravel()[0]


def _broken(report: ParityReport) -> str:
    """Which limits of its tolerance a report breaks, or an empty string."""
    limits = report.tolerance
    reasons = [
        f"{name} {value:.3g} > {limit:g}"
        for name, value, limit in (
            ("max_abs", report.max_abs, limits.max_abs),
            ("mean_abs", report.mean_abs, limits.mean_abs),
        )
        if limit is not None and value > limit
    ]
    if limits.min_srcc is not None and report.srcc is None:
        reasons.append(f"SRCC needs {MIN_RANKED} images or more whose scores differ")
    elif limits.min_srcc is not None and report.srcc < limits.min_srcc:
        reasons.append(f"SRCC {report.srcc:.4f} < {limits.min_srcc:g}")
    least = limits.min_agreement
    if least is not None and (report.agreement is None or report.agreement < least):
        reasons.append(f"the likeliest reasons agree in {report.agreement or 0:.0%} < {least:.0%}")
    return "; ".join(reasons)


def sqnr_db(signal: np.ndarray, error: np.ndarray) -> float | None:
    """Signal to quantization-noise ratio, 10 log10(sum s^2 / sum e^2), dB; None when either power is zero."""
    powers = np.sum(signal**2), np.sum(error**2)
    return float(10 * np.log10(powers[0] / powers[1])) if min(powers) > 0 else None


def srcc(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation of (N,) and (N,), ties by mean rank; None below three or if constant."""
    from scipy.stats import rankdata

    if len(a) < MIN_RANKED or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def pair_flips(a: np.ndarray, b: np.ndarray) -> float | None:
    """The share of pairs, of those that differ in `a`, whose order is opposite in `b`; None without any."""
    flips = pairs = 0
    for i in range(len(a) - 1):  # row by row: N x N would not fit in memory for a whole data set
        before, after = np.sign(a[i + 1 :] - a[i]), np.sign(b[i + 1 :] - b[i])
        flips += int(np.sum(before * after < 0))
        pairs += int(np.sum(before != 0))
    return flips / pairs if pairs else None
