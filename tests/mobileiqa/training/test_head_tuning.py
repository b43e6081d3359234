"""Tuning of the head: it learns orders and poses from features, and not from what INT8 cannot resolve."""

from dataclasses import replace

import pytest
import torch

from mobileiqa.models.whole_photo import WholePhoto
from mobileiqa.reasons import NONE, REASONS
from mobileiqa.training import head_tuning
from mobileiqa.training.damage_pack import Photos
from mobileiqa.training.head_features import HALF, POSES, Features
from mobileiqa.training.head_tuning import Head, HeadPlan

PLAN = HeadPlan(steps=40, lr=3e-3, copies=32, pairs=16, full_size_pairs=8)
COUNT = 60
NO_PHOTOS = Photos((), (), frozenset())


@pytest.fixture
def model() -> WholePhoto:
    torch.manual_seed(0)
    return WholePhoto().eval()


@pytest.fixture
def features() -> Features:
    """Pictures whose label is in the fragments; the overview says nothing, and that in another way in each pose."""
    generator = torch.Generator().manual_seed(1)
    score = torch.linspace(0.1, 0.9, COUNT)
    fragments = torch.rand(COUNT, POSES, HALF, generator=generator) * 0.1 + score[:, None, None]
    reasons = torch.zeros(COUNT, len(REASONS))
    reasons[score < 0.5, 0] = reasons[score >= 0.5, NONE] = 1
    places = torch.arange(COUNT - 1)
    return Features(
        torch.rand(COUNT, POSES, HALF, generator=generator), fragments, score, torch.ones(COUNT), reasons,
        torch.arange(COUNT), torch.stack([places + 1, places], 1), torch.full((COUNT - 1,), 0.01), places % 3 == 0,
    )  # fmt: skip


def test_noise_keeps_weights_off_what_eight_bits_cannot_resolve(features: Features) -> None:
    """Two groups of features tell the label, one of them in a hundredth of the range: noise turns the head off it."""
    weights = []
    for noise in (0.0, 3.0):
        torch.manual_seed(3)
        model = WholePhoto()
        faint = replace(
            features, overviews=features.score[:, None, None] * torch.full((1, POSES, HALF), 0.01)
        )
        faint.fragments[..., 0] = 30  # the largest one
        plan = replace(PLAN, steps=150, noise=noise, weight_decay=0.0)
        head_tuning._train(Head(model), faint, plan)
        weights.append(float(model.hidden.weight.detach().norm() * model.score.weight.detach().norm()))
    assert weights[1] < weights[0]


def test_every_loss_falls_and_the_order_holds(
    model: WholePhoto, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_tuning, "read_features", lambda *_: features)
    monkeypatch.setattr(head_tuning, "Pack", lambda _: None)
    unseen = torch.cat(
        [features.pose(torch.arange(20), pose) for pose in range(POSES)]
    )  # damaged: none comes last
    monkeypatch.setattr(head_tuning, "unseen_features", lambda *_: unseen)
    torch.manual_seed(0)
    trial = Head(WholePhoto())
    before = {
        name: float(value.detach()) for name, value in head_tuning.losses(trial, features, PLAN).items()
    }
    bias = float(model.reasons.bias[NONE].detach())
    figures = head_tuning.tune(model, NO_PHOTOS, {}, None, replace(PLAN, steps=150, none_bonus_at_most=50.0))
    assert figures["mse"] < before["mse"] / 2 and figures["loss"] < before["loss"]
    scores = model.forward_head(features.pose(torch.arange(COUNT), 1))
    assert scores[-10:].min() > scores[:10].max()
    assert 0 < figures["none_bonus"] < 50
    assert float(model.reasons.bias[NONE].detach()) - bias == pytest.approx(figures["none_bonus"], abs=1)
    first = model.reasons(model.forward_hidden(unseen)).argmax(1) == NONE
    assert float(first.float().mean()) == pytest.approx(PLAN.none_share, abs=1 / len(unseen))
    assert head_tuning.none_bonus(model, unseen, replace(PLAN, none_bonus_at_most=1e-9)) <= 1e-9


def test_the_same_seed_gives_the_same_head(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_tuning, "read_features", lambda *_: features)
    monkeypatch.setattr(head_tuning, "Pack", lambda _: None)
    monkeypatch.setattr(head_tuning, "unseen_features", lambda *_: features.pose(torch.arange(9), 0))
    weights = []
    for _ in range(2):
        torch.manual_seed(4)
        model = WholePhoto()
        head_tuning.tune(model, NO_PHOTOS, {}, None, replace(PLAN, steps=5))
        weights.append(model.hidden.weight.detach().clone())
    assert torch.equal(*weights)


def test_unknown_reasons_and_scores_without_weight_teach_nothing(
    model: WholePhoto, features: Features
) -> None:
    nothing = replace(features, reasons=features.reasons.clone(), weight=features.weight.clone())
    nothing.reasons[1:] = 0
    nothing.weight[1:] = 0
    wrong = replace(nothing, score=torch.where(torch.arange(COUNT) > 0, 9.0, features.score))
    head = Head(model)
    plan = replace(PLAN, copies=600)
    torch.manual_seed(2)
    first = head_tuning.losses(head, nothing, plan)
    torch.manual_seed(2)
    second = head_tuning.losses(head, wrong, plan)
    assert first["mse"].equal(second["mse"]) and torch.isfinite(first["loss"])
