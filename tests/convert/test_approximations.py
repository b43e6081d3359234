"""Approximations: what they take, that the rewritten form computes the same, and what they cost."""

import copy
from typing import Any

import pytest
import torch

from convert.approximations import APPROXIMATIONS, approximated, checked
from convert.deploy import deployable
from convert.rewrites.sparse import SparseLDA, step
from convert.rewrites.strips import StripLDA
from mobileiqa.errors import UserError
from mobileiqa.layers.lda import LDA
from mobileiqa.zoo import MODELS

NAME = "mobilenet-iqa-small"


@pytest.mark.parametrize(
    ("height", "width", "grid", "wanted"),
    [(615, 953, 22, 4), (308, 477, 22, 2), (154, 239, 22, 1), (175, 999, 22, 1), (176, 176, 22, 2), (3, 9, 22, 1)],
)  # fmt: skip
def test_at_least_four_pixels_stay_in_a_bin(height: int, width: int, grid: int, wanted: int) -> None:
    assert step(height, width, grid) == wanted


@pytest.mark.parametrize(("height", "width"), [(64, 64), (67, 129), (33, 40), (131, 64)])
def test_strips_compute_what_sparse_pooling_says(height: int, width: int) -> None:
    torch.manual_seed(height)
    lda = SparseLDA(LDA(3, hidden=6, out_channels=5, grid=4)).double()
    x = torch.randn(1, 3, height, width, dtype=torch.float64)
    n = step(height, width, 4)
    assert n > 1
    with torch.no_grad():
        taken = x[:, :, : height // n * n, : width // n * n][:, :, ::n, ::n]
        wanted = lda.reduce(
            torch.nn.functional.adaptive_avg_pool2d(torch.nn.functional.gelu(lda.expand(taken)), 4)
        )
        assert torch.equal(lda(x), wanted)
        assert float((StripLDA(lda)(x) - wanted).abs().max()) < 1e-12


def test_a_flat_image_does_not_notice_and_a_chequered_one_does() -> None:
    torch.manual_seed(0)
    exact = LDA(3, hidden=6, out_channels=5, grid=4).double()
    sparse = SparseLDA(exact)
    flat = torch.full((1, 3, 64, 64), 0.7, dtype=torch.float64)
    chequered = flat.clone()
    chequered[:, :, ::2, ::2] = -0.7
    with torch.no_grad():
        assert float((sparse(flat) - exact(flat)).abs().max()) < 1e-14
        assert float((sparse(chequered) - exact(chequered)).abs().max()) > 0.01


def test_the_rewritten_model_is_the_approximated_one_and_not_the_published(seeded: Any) -> None:
    model = copy.deepcopy(seeded(NAME)).double()
    changed = approximated(model, ["sparse-pooling"])
    module, report = deployable(changed, MODELS[NAME].spec)
    assert report.max_abs_error < 1e-9
    x = torch.randn(1, 3, 160, 192, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        published, wanted, found = (float(m(x)) for m in (model, changed, module))
    assert abs(found - wanted) < 1e-11 and abs(found - published) > 1e-6


def test_unknown_names_and_models_without_sites_are_refused(seeded: Any) -> None:
    assert checked(["sparse-pooling", "sparse-pooling"]) == ("sparse-pooling",)
    with pytest.raises(UserError, match="among sparse-pooling"):
        checked(["faster"])
    with pytest.raises(UserError, match="none of it in LarIQASingle"):
        approximated(seeded("lar-iqa-single"), ["sparse-pooling"])
    assert all(name == found.name for name, found in APPROXIMATIONS.items())
