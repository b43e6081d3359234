"""Regressors from features to scores, by the protocol of KAN4IQA (arXiv 2409.07762): KAN heads, and baselines.

    features -> standardised -> principal components (95 % of the variance) -> regressor -> score

Scaler and components are fitted on the training images alone, and every choice (learning rate, expansion point, C,
penalty) falls on the validation images; the released code takes both from the test. Labels are 0..1. The baselines,
scikit-learn's: `ridge`, which is what a regularised linear model reaches (the published TaylorKAN, order 2, is
linear), and `svr`, epsilon-SVR with a Gaussian kernel of scale 1 / (d var).
"""

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mobileiqa import metrics
from mobileiqa.errors import UserError
from mobileiqa.layers.kan_bases import build_kan, taylor_sizes
from mobileiqa.variants import HEADS

Values = NDArray[np.float64]
Predict = Callable[[Values], Values]
BASELINES = ("ridge", "svr")
VARIANCE = 0.95
CONSTANT = 1e-12  # a feature of a smaller deviation says nothing
RATES = (1e-5, 1e-4, 1e-3)
POINTS = (0.0, 0.25, 0.5, 0.75)  # of Taylor's expansion
EPOCHS, PATIENCE, GAIN = 500, 20, 1e-4  # stops when PATIENCE epochs bring less than GAIN
BATCH = 32
PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3, 1e4)  # of ridge, on standardised components
COSTS, TUBE = (0.1, 1.0, 10.0), 0.02  # of SVR; the tube in label units


@dataclass(frozen=True)
class Side:
    """Features (N, d) and labels (N,) of one side of the split."""

    features: Values
    labels: Values


@dataclass(frozen=True)
class Regressor:
    """A fitted regressor on raw features (N, d), what was chosen for it, and its validation SRCC."""

    predict: Predict
    choice: dict[str, float]
    validation_srcc: float


def fit(name: str, train: Side, validation: Side, seed: int = 42, epochs: int = EPOCHS) -> Regressor:
    """The regressor `name`, a KAN head of variants.HEADS or one of BASELINES, of the best validation SRCC.

    Raises UserError for another name, and for features that do not vary.
    """
    if name not in (*HEADS, *BASELINES):
        raise UserError(f"a regressor of {', '.join((*BASELINES, *HEADS))}", repr(name), "correct the name")
    project = components(train.features)
    sides = [Side(project(side.features), side.labels) for side in (train, validation)]
    candidates = {"ridge": _ridges, "svr": _svrs}.get(name)
    fits = candidates(sides[0]) if candidates else _kans(name, *sides, seed, epochs)
    scored = [
        (_srcc(predict(sides[1].features), validation.labels), choice, predict) for choice, predict in fits
    ]
    srcc, choice, predict = max(scored, key=lambda each: each[0])
    return Regressor(lambda features: predict(project(features)), choice, srcc)


def components(features: Values) -> Predict:
    """Raw features (N, d) -> principal components (N, k) that hold VARIANCE of the standardised features'."""
    from sklearn.decomposition import PCA
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not (features.std(0) > CONSTANT).any():
        raise UserError("features that vary", "the same for every image", "name another model")
    steps = (VarianceThreshold(CONSTANT**2), StandardScaler(), PCA(VARIANCE, svd_solver="full"))
    return make_pipeline(*steps).fit(features).transform


def _srcc(scores: Values, labels: Values) -> float:
    if not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return -1.0
    return metrics.correlations(scores, labels).srcc


def _ridges(train: Side) -> Iterator[tuple[dict[str, float], Predict]]:
    from sklearn.linear_model import Ridge

    for penalty in PENALTIES:
        yield {"penalty": penalty}, Ridge(alpha=penalty).fit(train.features, train.labels).predict


def _svrs(train: Side) -> Iterator[tuple[dict[str, float], Predict]]:
    from sklearn.svm import SVR

    for cost in COSTS:
        yield {"C": cost}, SVR(C=cost, epsilon=TUBE, gamma="scale").fit(train.features, train.labels).predict


def _kans(
    name: str, train: Side, validation: Side, seed: int, epochs: int
) -> Iterator[tuple[dict[str, float], Predict]]:
    basis, options = HEADS[name]
    sizes = taylor_sizes(train.features.shape[1])
    for rate, point in itertools.product(RATES, POINTS if basis == "taylor" else (None,)):
        shift = {} if point is None else {"expansion_point": point}
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # that order 2 is affine is said by the command
            warnings.simplefilter("ignore")
            model = build_kan(basis, sizes, **options, **shift)
        _train(model, train, validation, rate, epochs)
        yield {"lr": rate, **shift}, lambda features, model=model: _predicted(model, features)


def _predicted(model: nn.Module, features: Values) -> Values:
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(features).float()).squeeze(1).double().numpy()


def _train(model: nn.Module, train: Side, validation: Side, rate: float, epochs: int) -> None:
    """Adam, weight decay 1e-4, batches of 32, MSE, gradient norm 1, the rate halved on a plateau; the best is kept."""
    optimizer = torch.optim.Adam(model.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    x, y = (torch.from_numpy(values).float() for values in (train.features, train.labels))
    best, waited, state = float("inf"), 0, {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            if len(rows) < 2:
                continue  # a batch norm needs two
            loss = nn.functional.mse_loss(model(x[rows]).squeeze(1), y[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        error = float(np.mean((_predicted(model, validation.features) - validation.labels) ** 2))
        schedule.step(error)
        waited = 0 if error < best - GAIN else waited + 1
        if error < best:
            best, state = error, {k: v.clone() for k, v in model.state_dict().items()}
        if waited >= PATIENCE or not np.isfinite(error):
            break
    model.load_state_dict(state)
