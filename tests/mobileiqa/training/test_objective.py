"""Every loss against its formula in numpy, its gradient against differences, and where nothing can be compared."""

import functools

import numpy as np
import pytest
import torch

from mobileiqa.training.objective import mae, monotonicity, mse, norm_in_norm, plcc_loss, rank_pairs

GROUPS = torch.tensor([0, 1, 0, 1, -1, 0, -1, 2])
LOSSES = {
    "mse": mse,
    "mae": mae,
    "plcc": plcc_loss,
    "norm-in-norm": norm_in_norm,
    "norm-in-norm, both terms": functools.partial(norm_in_norm, p=2, q=1.5, alpha=(1, 0.5)),
    "monotonicity": functools.partial(monotonicity, margin=0.3),
    "rank pairs": lambda p, t: rank_pairs(p, t, GROUPS[: p.numel()], margin=0.3),
}


def batch(n: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(0.4, 0.3, n)), torch.from_numpy(rng.uniform(0, 1, n))


def norm(x: np.ndarray, p: float) -> float:
    return (np.abs(x) ** p).sum() ** (1 / p)


def expected_norm_in_norm(s, y, p, q, alpha) -> float:
    s, y = ((v - v.mean()) / (1e-8 + norm(v - v.mean(), q)) for v in (s, y))
    scale = 2 ** max(1, 1 / q) * len(s) ** max(0, 1 / p - 1 / q)
    rho = s @ y / (norm(s, 2) * norm(y, 2))
    terms = [(norm(v - y, p) / scale) ** p for v in (s, rho * s)]
    return (alpha[0] * terms[0] + alpha[1] * terms[1]) / sum(alpha)


def expected_hinge(s, y, margin, group=None) -> float:
    hinges = [
        max(0, margin - (s[i] - s[j]))
        for i in range(len(s))
        for j in range(len(s))
        if y[i] > y[j] and (group is None or (group[i] == group[j] and group[i] >= 0))
    ]
    return np.mean(hinges)


def test_values_follow_the_formulas():
    prediction, target = batch()
    s, y = prediction.numpy(), target.numpy()
    assert mse(prediction, target).item() == pytest.approx(np.mean((s - y) ** 2))
    assert mae(prediction, target).item() == pytest.approx(np.mean(np.abs(s - y)))
    assert plcc_loss(prediction, target).item() == pytest.approx(1 - np.corrcoef(s, y)[0, 1])
    for margin in (0.0, 0.3):
        assert monotonicity(prediction, target, margin).item() == pytest.approx(expected_hinge(s, y, margin))
        assert rank_pairs(prediction, target, GROUPS, margin).item() == pytest.approx(
            expected_hinge(s, y, margin, GROUPS.numpy())
        )


@pytest.mark.parametrize(
    ("p", "q", "alpha"), [(1, 2, (1, 0)), (2, 2, (1, 1)), (1, 1, (0, 1)), (3, 1.5, (0.2, 2))]
)
def test_norm_in_norm_follows_its_formula(p, q, alpha):
    prediction, target = batch()
    expected = expected_norm_in_norm(prediction.numpy(), target.numpy(), p, q, alpha)
    assert norm_in_norm(prediction, target, p, q, alpha).item() == pytest.approx(expected)


def test_batch_losses_are_blind_to_scale_and_offset_and_span_their_range():
    prediction, target = batch()
    for loss, worst in ((plcc_loss, 2), (functools.partial(norm_in_norm, p=2), 1)):
        assert loss(3 * target - 7, target).item() == pytest.approx(0, abs=1e-12)
        assert loss(-target, target).item() == pytest.approx(worst)
        same = pytest.approx(loss(prediction, target).item(), rel=1e-5)  # eps 1e-8 beside a small norm
        assert loss(0.01 * prediction + 4, target).item() == same


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_differences(name: str):
    prediction, target = batch()
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: LOSSES[name](p, target), (prediction,))


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_down_the_gradient_lowers_the_loss(name: str):
    prediction, target = batch()
    prediction.requires_grad_()
    loss = LOSSES[name](prediction, target)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.any()
    assert LOSSES[name](prediction - 1e-4 * gradient, target) < loss


DEGENERATE = {
    "one image": ([0.3], [0.8]),
    "constant prediction": ([0.7] * 7, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
    "zero prediction": ([0.0] * 3, [0.1, 0.2, 0.3]),
    "constant target": ([0.1, 0.2, 0.4], [0.7] * 3),
    "both constant": ([0.1] * 3, [0.7] * 3),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_a_batch_that_says_nothing_has_a_stated_value_and_no_gradient(case: str):
    prediction, target = (torch.tensor(side) for side in DEGENERATE[case])
    prediction.requires_grad_()
    for loss in (plcc_loss, norm_in_norm, functools.partial(norm_in_norm, p=2, alpha=(1, 1))):
        value = loss(prediction, target)
        (gradient,) = torch.autograd.grad(value, prediction)
        assert gradient.isfinite().all() and gradient.abs().max() < 10
        if loss is plcc_loss:
            assert value.item() == 1
        if case in ("one image", "both constant") and loss is not plcc_loss:
            assert value.item() == 0
        if case in ("one image", "constant prediction", "zero prediction", "both constant"):
            assert not gradient.any()


def test_a_perfect_batch_has_no_gradient_beside_nan():
    target = torch.tensor([0.1, 0.5, 0.9])
    prediction = target.clone().requires_grad_()
    for loss in (mse, mae, plcc_loss, functools.partial(norm_in_norm, p=2, alpha=(1, 1))):
        (gradient,) = torch.autograd.grad(loss(prediction, target), prediction)
        assert gradient.abs().max() < 1e-5


def test_without_pairs_ranking_is_zero():
    prediction = torch.tensor([0.3, 0.1, 0.2], requires_grad=True)
    target = torch.tensor([0.5, 0.5, 0.9])
    for value in (
        monotonicity(prediction, torch.full((3,), 0.5), 1.0),
        rank_pairs(prediction, target, torch.tensor([0, 0, 1]), 1.0),
        rank_pairs(prediction, target, torch.tensor([-1, -1, -1]), 1.0),
    ):
        assert value.item() == 0
        (gradient,) = torch.autograd.grad(value, prediction)
        assert not gradient.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_predictions_are_widened_first(dtype: torch.dtype):
    prediction, target = (side.float() for side in batch())
    prediction = prediction.to(dtype)
    for name, loss in LOSSES.items():
        assert loss(prediction, target) == loss(prediction.float(), target), name
        assert loss(prediction, target).dtype == torch.float32


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4, 1), (4, 1)), ((4,), (3,)), ((), ()), ((0,), (0,))])
def test_shapes_that_would_broadcast_or_mean_nothing_are_refused(name: str, shapes):
    with pytest.raises(ValueError, match="one shape"):
        LOSSES[name](*(torch.zeros(shape) for shape in shapes))


def test_groups_and_exponents_are_checked():
    prediction, target = batch()
    with pytest.raises(ValueError, match="a group for each of 8"):
        rank_pairs(prediction, target, GROUPS[:3])
    for wrong in ({"p": 0.5}, {"q": 0}, {"alpha": (0, 0)}, {"alpha": (-1, 2)}):
        with pytest.raises(ValueError, match="p, q >= 1"):
            norm_in_norm(prediction, target, **wrong)
