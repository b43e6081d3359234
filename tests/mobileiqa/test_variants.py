"""Names of variants, and that each builds what it says."""

import pytest
import torch

from mobileiqa.errors import UserError
from mobileiqa.layers.kan_bases import KAN_LAYERS
from mobileiqa.models.lar_iqa import SINGLE_WIDTH
from mobileiqa.models.votes import VoteModel
from mobileiqa.variants import HEADS, combined, gives_votes, parse
from mobileiqa.zoo import build_seeded, entry, is_name


@pytest.mark.parametrize(
    "name", ["lar-iqa-kan+taylor3", "mobilenet-iqa+mal1", "lar-iqa-mlp+chebyshev+votes", "koncept512+votes"]
)
def test_a_name_is_read_and_written_alike(name: str):
    assert parse(name).name == name == entry(name).spec.name and is_name(name)
    assert gives_votes(name) == name.endswith("votes")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lar-iqa-kan+taylor6", "taylor5"), ("hyperiqa+votes", "it has none"), ("vgg+votes", "mobilenet-iqa"),
        ("mobilenet-iqa+taylor3", "mal0, mal1"), ("lar-iqa-kan+mal1", "bspline"), ("lar-iqa-kan+", "bspline"),
        ("lar-iqa-kan+taylor3+jacobi", "beside another"), ("lar-iqa-kan+votes+votes", "beside another"),
    ],
)  # fmt: skip
def test_a_variant_that_a_model_does_not_have_is_refused(name: str, words: str):
    with pytest.raises(UserError, match=words):
        entry(name)


def test_variants_are_added_to_a_name():
    assert combined("lar-iqa-kan") == "lar-iqa-kan" and combined("mobilenet-iqa", mals=3) == "mobilenet-iqa"
    assert combined("mobilenet-iqa", mals=0, votes=True) == "mobilenet-iqa+mal0+votes"
    with pytest.raises(UserError, match="it has none"):
        combined("musiq", votes=True)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_is_one_layer_of_its_basis_on_the_branch_that_stays(head: str):
    plain, model = build_seeded("lar-iqa-single"), build_seeded(f"lar-iqa-single+{head}")
    basis, options = HEADS[head]
    (layer,) = model.head.layers
    assert type(layer) is type(KAN_LAYERS[basis](SINGLE_WIDTH, 1, **options))
    reduced = torch.randn(4, SINGLE_WIDTH)
    assert model.head(reduced).shape == (4, 1) and model.head(reduced).std() > 1e-3
    if head.startswith("taylor"):
        assert layer.order == int(head[-1])
    same = plain.reduce.state_dict()
    assert all(torch.equal(value, model.reduce.state_dict()[key]) for key, value in same.items())


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_mals(count: int):
    model = build_seeded(f"mobilenet-iqa-small+mal{count}")
    assert len(model.mal) == count
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(image)
        expected = model.head(features.levels.mean(0)) if not count else model(image)
        assert features.opinions.shape[0] == max(count, 1)
        assert torch.allclose(model(image), expected)


@pytest.mark.parametrize(
    "name", ["lar-iqa-mlp+votes", "lar-iqa-single+votes", "lar-iqa-single+chebyshev+votes", "mobilenet-iqa-small+votes"]
)  # fmt: skip
def test_votes_are_shares_whose_mean_is_the_score(name: str):
    model, spec = build_seeded(name), entry(name).spec
    assert isinstance(model, VoteModel) and spec.score_range == (0.0, 1.0)
    inputs = [torch.randn(2, 3, 64, 64) for _ in spec.inputs]
    with torch.no_grad():
        votes, score = model.forward_votes(*inputs), model(*inputs)
    assert votes.shape == (2, 5) and torch.allclose(votes.sum(1), torch.ones(2)) and votes.min() > 0
    assert torch.allclose(score, (votes * torch.arange(5)).sum(1) / 4)
    assert model.train()(*inputs).shape == (2, 5)  # logits, for the loss
