"""Every gate passes a good file, breaks on a bad one, and never passes what it cannot judge."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.accuracy_report import agreement as accuracy
from convert.accuracy_report.agreement import agreement, labelled
from convert.accuracy_report.gates import GATES, MIN_IMAGES, failed, judge
from mobileiqa.datasets.core import Sample

N = 60
LABELS = np.linspace(0, 1, N)
FP32 = LABELS + np.random.default_rng(0).normal(0, 0.02, N)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates judge values; a wide interval beside them will do."""
    monkeypatch.setattr(accuracy, "RESAMPLES", 20)


def verdicts(candidate, precision="int8", fp32=FP32, labels=LABELS) -> dict:
    fp32, candidate = np.asarray(fp32, np.float64), np.asarray(candidate, np.float64)
    n = len(fp32)
    shift = agreement(fp32, candidate, [f"{i}.png" for i in range(n)])
    samples = None if labels is None else tuple(Sample(Path("x"), v, v, "test") for v in labels[:n])
    known = None if samples is None else labelled(fp32, candidate, samples)
    return {v.gate: v for v in judge(precision, shift, known)}


def broken(result: dict) -> list[str]:
    return failed(list(result.values()))


def test_a_good_file_passes_every_gate() -> None:
    gates = verdicts(FP32 + np.random.default_rng(1).normal(0, 1e-4, N))
    assert list(gates) == ["srcc", "srcc_drop", "pair_flips", "mean_shift"] and broken(gates) == []
    assert "pass" in str(gates["srcc"]) and ">= 0.99" in str(gates["srcc"])


def exchanged(share: float) -> np.ndarray:
    """Neighbours at random change places."""
    scores = FP32 + np.random.default_rng(2).normal(0, share, N)
    return np.sort(FP32)[np.argsort(np.argsort(scores))]


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (FP32 + 0.02, ["mean_shift"]),  # moved as a whole: the order stays
        (1 - FP32, ["srcc", "srcc_drop", "pair_flips", "mean_shift"]),
        (exchanged(0.15), ["srcc", "srcc_drop", "pair_flips", "mean_shift"]),
        (np.round(FP32 * 16) / 16, ["pair_flips", "mean_shift"]),  # 17 steps: too many ties
    ],
    ids=["moved", "permuted", "noisy", "coarse"],
)
def test_each_gate_breaks(candidate, expected) -> None:
    gates = verdicts(candidate)
    assert broken(gates) == expected, {k: str(v) for k, v in gates.items()}
    assert all("FAIL" in str(gates[name]) for name in expected)


def test_the_drop_alone() -> None:
    """Half of the images lie close together: FP32 ranks them right, the file by chance, and SRCC hardly moves."""
    labels = np.linspace(0, 1, N)
    fp32 = np.concatenate([np.linspace(0.4, 0.401, 8), np.linspace(0.45, 1, N - 8)])
    candidate = fp32.copy()
    candidate[:8] = candidate[:8][::-1]
    gates = verdicts(candidate, fp32=fp32, labels=labels)
    assert "srcc" not in broken(gates) and "mean_shift" not in broken(gates)
    assert gates["srcc_drop"].value == pytest.approx(
        6 * 168 / (N * (N**2 - 1))
    )  # 8 ranks reversed: sum d^2 = 168


def test_few_images_fail_the_ranking_and_say_so() -> None:
    gates = verdicts(FP32[: MIN_IMAGES - 1], fp32=FP32[: MIN_IMAGES - 1])
    assert broken(gates) == ["srcc", "srcc_drop", "pair_flips"]
    assert "29 images; a ranking is judged on 30 or more" in gates["srcc"].reason
    assert gates["srcc"].value == pytest.approx(1) and gates["mean_shift"].passed
    assert broken(verdicts(FP32[:MIN_IMAGES], fp32=FP32[:MIN_IMAGES])) == []


def test_without_labels_the_drop_is_not_judged() -> None:
    gates = verdicts(FP32, labels=None)
    assert gates["srcc_drop"].passed is None and "no labels" in str(gates["srcc_drop"])
    assert broken(gates) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_score_that_is_not_finite_breaks_everything(value) -> None:
    candidate = FP32.copy()
    candidate[7] = value
    for precision, gates in GATES.items():
        result = verdicts(candidate, precision)
        assert broken(result) == [gate.name for gate in gates if not gate.reasons]
        assert all("7.png" in v.reason for v in result.values())


def test_constant_scores_pass_nothing() -> None:
    assert len(broken(verdicts(np.full(N, 0.5)))) == sum(not gate.reasons for gate in GATES["int8"])
    assert broken(verdicts(np.full(N, 0.5), "fp16", np.full(N, 0.5))) == ["max_shift"]


def test_scores_that_hardly_vary_prove_nothing() -> None:
    gates = verdicts(0.5 + FP32 * 1e-3, "fp16", 0.5 + FP32 * 1e-3)
    assert "any file would pass" in gates["max_shift"].reason


@pytest.mark.parametrize(("share", "passed"), [(1.0, True), (0.9, True), (0.85, False)])
def test_likeliest_reasons_agree_in_nine_of_ten(share: float, passed: bool) -> None:
    comparison = agreement(FP32, FP32 + 1e-4, [f"{i}.png" for i in range(N)])
    result = {v.gate: v for v in judge("int8", replace(comparison, reasons_agree=share), None)}
    assert result["reasons_agree"].passed is passed and result["reasons_agree"].value == share
    assert "likeliest reasons that agree" in str(result["reasons_agree"])
    few = replace(comparison, reasons_agree=share, n=MIN_IMAGES - 1)
    assert "reasons_agree" in failed(judge("int8", few, None))


def test_fp16_and_fp32_have_their_own_limits() -> None:
    for precision, limit in (("fp16", 2e-3), ("fp32", 1e-4)):
        assert broken(verdicts(FP32 + 0.9 * limit, precision)) == []
        assert broken(verdicts(FP32 + 1.1 * limit, precision)) == ["max_shift"]
