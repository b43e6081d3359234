"""Calibrated full-reference scores: the regression, and metrics that fall with damage."""

import numpy as np
import pytest

from mobileiqa.training import full_reference
from mobileiqa.training.full_reference import Calibration, fit, leave_one_out, load


def linear(count: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).standard_normal((count, 8))
    return values, 0.5 + values @ np.linspace(-0.1, 0.1, 8)


def test_the_regression_finds_a_linear_relation_and_survives_a_file(tmp_path):
    values, scores = linear(400)
    calibration = fit(values, scores)
    np.testing.assert_allclose(calibration.predict(values), scores, atol=2e-3)
    calibration.save(tmp_path / "c.json")
    assert load(tmp_path / "c.json") == calibration


def test_a_distortion_is_predicted_without_its_own_rows():
    values, scores = linear(100)
    severity = {(number, level): scores[4 * number + level] for number in range(25) for level in range(4)}
    severity |= {(24, level): 0.5 for level in range(4)}  # rows that only their own regression could know
    predictions = leave_one_out(values, severity)
    np.testing.assert_allclose(predictions[:96], scores[:96], atol=0.1)
    np.testing.assert_allclose(predictions[96:], scores[96:], atol=0.1)


def test_scores_stay_between_0_and_1(monkeypatch):
    monkeypatch.setattr(full_reference, "features", lambda _a, _b: np.full(8, 100.0))
    ones = (1.0,) * 8
    assert Calibration((0.0,) * 8, ones, ones, 0.5).score(None, None) == 1
    assert Calibration((0.0,) * 8, ones, (-1.0,) * 8, 0.5).score(None, None) == 0


def test_metrics_errors_grow_with_damage():
    pytest.importorskip("piq", reason="install the train extra: pip install piq")
    from mobileiqa.training.damage import blurred, jpeg

    y, x = np.mgrid[:256, :300]
    photo = np.stack([128 + 100 * np.sin(x / k) * np.cos(y / (k + 2)) for k in (3, 5, 9)], 2).astype(np.uint8)
    same, *damaged = (
        full_reference.features(photo, other)
        for other in (photo, jpeg(photo, 90), jpeg(photo, 8), blurred(photo, 1), blurred(photo, 4))
    )
    assert same.shape == (8,)
    assert all((worse >= same - 1e-9).all() and (worse > same).any() for worse in damaged)
    assert (damaged[1] > damaged[0]).all() and (damaged[3][:4] > damaged[2][:4]).all()
