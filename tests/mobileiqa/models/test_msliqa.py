"""Zoom levels, their views and their heads."""

import numpy as np
import pytest
import torch

from mobileiqa.models.msliqa import (
    BOTH,
    MULTI_CROP,
    MULTI_RESIZE,
    SINGLE,
    MultiScale,
    Zoom,
    best_head,
    head_for,
    views,
    whole,
)
from mobileiqa.training.objective import Batch, alone
from mobileiqa.training.system_objectives import multi_scale_loss, multi_scale_task
from mobileiqa.zoo import MODELS

SMALL = "mobilenetv3_small_050"
SPEC = MODELS["lar-iqa-single"].spec


def coordinates(count: int, height: int, width: int) -> torch.Tensor:
    """(count, 3, height, width): a pixel's image, row and column."""
    image, row, col = torch.meshgrid(*(torch.arange(n) for n in (count, height, width)), indexing="ij")
    return torch.stack([image, row, col], 1).float()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model() -> MultiScale:
    torch.manual_seed(0)
    return MultiScale(2, SMALL).eval()


@pytest.mark.parametrize(
    ("zooms", "shapes"),
    [
        (MULTI_CROP, [(224, 224), (256, 256), (299, 299), (384, 384), (400, 640)]),
        (MULTI_RESIZE, [(224, 358), (256, 410), (299, 478), (384, 614), (512, 819)]),
        (BOTH, [(224, 224), (384, 384), (384, 384), (224, 224)]),
        (SINGLE, [(224, 224)]),  # resized: nothing is cut off
    ],
)
def test_the_papers_zoom_levels_of_a_640x400_image(zooms: tuple[Zoom, ...], shapes: list[tuple[int, int]]):
    pixels = views(torch.zeros(2, 3, 400, 640), zooms, generator())
    assert [tuple(v.shape) for v in pixels] == [(2, 3, *shape) for shape in shapes]


def test_a_crop_is_a_window_of_its_own_image_at_a_random_place():
    result = views(coordinates(40, 50, 70), (Zoom(crop=32),), generator())[0]
    assert (result[:, 0] == torch.arange(40)[:, None, None]).all()
    tops, lefts = result[:, 1, 0, 0], result[:, 2, 0, 0]
    steps = torch.arange(32.0)
    assert (result[:, 1] == (tops[:, None] + steps)[:, :, None]).all()
    assert (result[:, 2] == (lefts[:, None] + steps)[:, None, :]).all()
    assert len(tops.unique()) > 10 and len(lefts.unique()) > 15
    assert tops.max() <= 18 and lefts.max() <= 38


def test_every_window_can_be_drawn():
    result = views(coordinates(200, 34, 32), (Zoom(crop=32),), generator())[0]
    assert result[:, 1, 0, 0].unique().tolist() == [0, 1, 2] and result[:, 2, 0, 0].unique().tolist() == [0]


def test_an_image_smaller_than_the_crop_is_mirrored():
    image = coordinates(1, 20, 7)
    result = views(image, (Zoom(crop=32),), generator())[0]
    expected = np.pad(image[0].numpy(), ((0, 0), (0, 12), (0, 25)), mode="symmetric")
    assert (result[0].numpy() == expected).all()


def test_views_follow_the_generator_and_the_global_seed():
    images = coordinates(4, 60, 60)
    zooms = (Zoom(crop=16), Zoom(crop=16))
    first, again, other = (views(images, zooms, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[0], first[1])
    torch.manual_seed(5)
    drawn = views(images, zooms)
    torch.manual_seed(5)
    assert torch.equal(drawn[0], views(images, zooms)[0])


def test_resizing_scales_both_axes_alike():
    columns = coordinates(1, 64, 128)[:, 2:].expand(-1, 3, -1, -1)
    result = views(columns, (Zoom(resize=32),))[0]
    assert result.shape == (1, 3, 32, 64)
    centres = torch.arange(64) * 2 + 0.5  # in the coordinates of the original
    assert (result[0, :, :, 2:-2] - centres[2:-2]).abs().max() < 1e-3


def test_resizing_is_antialiased():
    stripes = (coordinates(1, 120, 120)[:, 2:] % 3).expand(-1, 3, -1, -1)  # 0, 1, 2, 0, ...
    result = views(stripes, (Zoom(resize=24),))[0]
    assert (result[..., 1:-1] - 1).abs().max() < 0.25


def test_resize_comes_before_crop():
    columns = coordinates(8, 64, 64)[:, 2:].expand(-1, 3, -1, -1)
    result = views(columns, (Zoom(resize=128, crop=20),), generator())[0]
    assert result.shape == (8, 3, 20, 20)
    inner = result[:, :, :, 5:15].diff(dim=3)
    assert inner.median() == pytest.approx(0.5, abs=1e-3), "twice the size: half the step between columns"


def test_the_whole_image_is_passed_on_untouched():
    images = coordinates(2, 33, 35)
    assert views(images, (Zoom(),))[0] is images


@pytest.mark.parametrize("sizes", [{"crop": 0}, {"resize": -1}])
def test_a_zoom_needs_positive_sizes(sizes: dict[str, int]):
    with pytest.raises(ValueError, match="positive"):
        Zoom(**sizes)


def test_each_view_is_read_by_its_own_head(model: MultiScale):
    pair = views(
        torch.rand(3, 3, 64, 64, generator=generator()), (Zoom(crop=32), Zoom(resize=48)), generator()
    )
    with torch.no_grad():
        result = model.by_views(pair)
        features = [model.forward_features(view) for view in pair]
        hidden = [
            torch.relu(f @ model.heads[i][0].weight.T + model.heads[i][0].bias)
            for i, f in enumerate(features)
        ]
        expected = [h @ model.heads[i][2].weight[0] + model.heads[i][2].bias for i, h in enumerate(hidden)]
    assert torch.allclose(result, torch.stack(expected, 1), atol=1e-5)
    assert hidden[0].shape == (3, 512)
    assert not torch.allclose(result, result.flip(1), atol=1e-5)


def test_a_heads_loss_trains_that_head_and_the_shared_encoder(model: MultiScale):
    pair = (torch.rand(3, 3, 32, 32, generator=generator()),) * 2
    model.zero_grad()
    model.by_views(pair)[:, 1].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.heads[0].parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.heads[1][2].parameters())
    assert model.backbone.conv_stem.weight.grad.abs().sum() > 0


def test_the_loss_is_mse_plus_one_minus_pearson_over_all_heads():
    rng = np.random.default_rng(0)
    scores, target = rng.random((9, 3)), rng.random(9)
    expected = sum(np.mean((s - target) ** 2) + 1 - np.corrcoef(s, target)[0, 1] for s in scores.T)
    result = multi_scale_loss(torch.from_numpy(scores), torch.from_numpy(target))
    assert result.item() == pytest.approx(expected, rel=1e-6)


def test_training_learns_brightness_with_every_head():
    torch.manual_seed(0)
    model = MultiScale(2, SMALL)
    zooms = (Zoom(crop=32), Zoom(resize=32))
    target = torch.linspace(0, 1, 16)
    images = target[:, None, None, None] * 2 - 1 + 0.1 * torch.randn(16, 3, 48, 48)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    history = []
    for _ in range(16):
        optimizer.zero_grad()
        loss = multi_scale_loss(model.by_views(views(images, zooms)), target)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert np.mean(history[-4:]) < 0.4 * history[0]
    scores = model.by_views(views(images, zooms)).detach()
    assert min(np.corrcoef(s, target)[0, 1] for s in scores.T.numpy()) > 0.6


def test_the_task_gives_each_head_its_own_view_of_each_image(model: MultiScale):
    images, target = torch.rand(6, 3, 80, 80, generator=generator()), torch.rand(6, generator=generator(1))
    rest = (torch.zeros(6, dtype=torch.int64),) * 4
    zooms = (Zoom(crop=32), Zoom(resize=48))
    task = multi_scale_task(model, zooms, SPEC)
    with torch.no_grad():
        torch.manual_seed(4)
        result = task.loss(Batch((images,), target, *rest), alone)["loss"]
        torch.manual_seed(4)
        crop, small = views(images, zooms)
        scores = torch.stack([model.score(crop, 0), model.score(small, 1)], 1)
        assert result.item() == pytest.approx(multi_scale_loss(scores, target).item(), rel=1e-5)
        swapped = torch.stack([model.score(small, 0), model.score(crop, 1)], 1)
        assert result.item() != pytest.approx(multi_scale_loss(swapped, target).item(), rel=1e-4)
        both = torch.stack([model.score(images, 0), model.score(images, 1)], 1)
        assert torch.allclose(whole(model, images, BOTH[:2]), both, atol=1e-6)
        assert torch.allclose(task.score(images), both, atol=1e-6)
    assert task.export() == (model, SPEC) and task.module is model


def test_a_task_needs_a_head_for_every_zoom_level(model: MultiScale):
    with pytest.raises(ValueError, match=r"expected 4 heads.*found 2"):
        multi_scale_task(model, BOTH, SPEC)


def test_the_best_head_is_the_one_that_ranks_best():
    rng = np.random.default_rng(1)
    mos = rng.random(60)
    scores = np.stack([-mos, mos + rng.normal(0, 0.3, 60), 1e-3 * mos**3, mos**3], 1)
    assert best_head(scores, mos) == 2, "the first of equal ranks, whatever the scale"


@pytest.mark.parametrize(
    ("zooms", "size", "head"),
    [
        (BOTH, 224, 0),
        (BOTH, 384, 1),
        (MULTI_CROP, 384, 3),
        (MULTI_RESIZE, 224, 0),
        (SINGLE, 384, 0),
        (BOTH[2:], 384, 0),
        ((Zoom(),), 9, 0),
    ],
)
def test_a_patch_goes_to_the_head_of_its_size(zooms: tuple[Zoom, ...], size: int, head: int):
    assert head_for(zooms, size) == head


def test_the_baseline_reads_the_whole_image_as_a_square_in_training_and_in_tests(model: MultiScale):
    columns = coordinates(1, 448, 896)[:, 2:].expand(-1, 3, -1, -1)
    (view,) = views(columns, SINGLE)
    assert view.shape == (1, 3, 224, 224)
    assert view[..., 0].max() < 8 and view[..., -1].min() > 887, "from the first to the last column"
    with torch.no_grad():
        result = whole(model, columns, (SINGLE[0], Zoom(crop=32)))
        expected = [model.score(view, 0), model.score(columns, 1)]
    assert torch.allclose(result, torch.stack(expected, 1), atol=1e-5)
    for wrong in ({"square": True}, {"square": True, "crop": 5, "resize": 5}):
        with pytest.raises(ValueError, match="square"):
            Zoom(**wrong)
