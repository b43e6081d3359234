"""The order of training images: resumable, shared between processes, grouped for ranking."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mobileiqa.datasets.core import Sample
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ColorSpace, Fit, InputSpec, Resample
from mobileiqa.training.data_loader import (
    Feed,
    augmented,
    batches,
    epoch_order,
    labels_of,
    on_device,
    step_indices,
    view,
)
from mobileiqa.training.distributed import Processes
from mobileiqa.training.jnd import jnd_map
from mobileiqa.training.recipe import Recipe, recipe
from mobileiqa.zoo import MODELS

BASE = dataclasses.replace(recipe("reference"), batch=10, group=5, epochs=3, crop_px=32)
ALONE = Processes()


def samples(references: int = 7) -> list[Sample]:
    return [
        Sample(Path(f"r{r}.png"), level / 10, float(level), "train", f"r{r}", distortion, level)
        for r in range(references) for distortion in (1, 2, 3) for level in (1, 2, 3, 4, 5)
    ]  # fmt: skip


def feed(of: Recipe = BASE) -> Feed:
    result = samples()
    pixels = np.random.default_rng(0).integers(0, 256, (len(result), 40, 48, 3), np.uint8)
    return Feed(lambda i: pixels[i], labels_of(result), MODELS["lar-iqa-single"].spec.resized(32, 32), of)


def test_every_image_once_an_epoch_and_another_order_in_the_next() -> None:
    labels = labels_of(samples())
    first, second = (epoch_order(labels, BASE, epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(105))
    assert list(first) != list(second)
    assert list(first) == list(epoch_order(labels, BASE, 0))


def test_groups_share_reference_and_distortion() -> None:
    labels = labels_of(samples())
    runs = epoch_order(labels, BASE, 0).reshape(-1, 5)
    assert all(len(set(labels.group[run])) == len(set(labels.distortion[run])) == 1 for run in runs)
    assert all(sorted(labels.level[run]) == [1, 2, 3, 4, 5] for run in runs)
    ungrouped = epoch_order(labels, dataclasses.replace(BASE, group=1), 0).reshape(-1, 5)
    assert not all(len(set(labels.group[run])) == 1 for run in ungrouped)


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_and_micro_batches_share_a_batch_exactly(world: int, accumulate: int) -> None:
    of = dataclasses.replace(BASE, batch=20, accumulate=accumulate)
    whole = np.concatenate(step_indices(feed(dataclasses.replace(BASE, batch=20)), 3, ALONE))
    shared = [step_indices(feed(of), 3, Processes(rank, world)) for rank in range(world)]
    assert all(len(micro) == accumulate for micro in shared)
    assert sorted(i for micro in shared for part in micro for i in part) == sorted(whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_feed_gives_the_same_pixels(workers: int) -> None:
    whole = dict(batches(feed(), 0, 6, ALONE, 0))
    resumed = dict(batches(feed(), 4, 6, ALONE, workers))
    assert list(whole) == [0, 1, 2, 3, 4, 5] and list(resumed) == [4, 5]
    for step, micro in resumed.items():
        assert torch.equal(micro[0].inputs[0], whole[step][0].inputs[0])
        assert torch.equal(micro[0].score, whole[step][0].score)
    assert not torch.equal(whole[0][0].inputs[0], whole[1][0].inputs[0])


def test_training_inputs_are_what_prepare_makes() -> None:
    from PIL import Image

    plain = dataclasses.replace(BASE, crop_px=0, flip_h=False)
    inputs = feed(plain)
    _, micro = next(batches(inputs, 0, 1, ALONE, 0))
    ours = on_device(micro[0], inputs.spec, torch.device("cpu")).inputs[0]
    indices = step_indices(inputs, 0, ALONE)[0]
    for row, index in zip(ours, indices, strict=True):
        expected = prepare(Image.fromarray(inputs.source(int(index))), inputs.spec)["image"][0]
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-6)


def test_a_shorter_epoch_draws_other_images_each_time() -> None:
    short = feed(dataclasses.replace(BASE, group=1, epoch_images=25))
    assert short.steps_per_epoch == 2
    drawn = [{int(i) for s in (2 * e, 2 * e + 1) for i in step_indices(short, s, ALONE)[0]} for e in range(3)]
    assert [len(d) for d in drawn] == [20, 20, 20] and len(set.union(*drawn)) > 40


def test_inputs_may_be_smaller_in_training_at_the_fit_of_each() -> None:
    from PIL import Image

    spec = MODELS["lar-iqa-kan"].spec.sized("80x80,64x64")
    inputs = dataclasses.replace(
        feed(dataclasses.replace(BASE, crop_px=0, input_px=(24, 16), flip_h=False)), spec=spec
    )
    _, micro = next(batches(inputs, 0, 1, ALONE, 0))
    authentic, synthetic = micro[0].inputs
    for row, crop, index in zip(authentic, synthetic, step_indices(inputs, 0, ALONE)[0], strict=True):
        whole = inputs.source(int(index))
        resized = Image.fromarray(whole).resize((24, 24), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(row.permute(1, 2, 0).numpy(), np.asarray(resized))
        windows = np.lib.stride_tricks.sliding_window_view(whole, (16, 16, 3)).reshape(-1, 16, 16, 3)
        assert (windows == crop.permute(1, 2, 0).numpy()).all((1, 2, 3)).any()


def test_unknown_labels_are_minus_one_and_images_without_reference_stand_alone() -> None:
    result = labels_of([Sample(Path(f"{i}.png"), 0.5, 0.5, "train") for i in range(3)])
    assert list(result.group) == [0, 1, 2]
    assert list(result.distortion) == list(result.level) == [-1, -1, -1]


def sized(fit: Fit, side: int) -> InputSpec:
    return InputSpec("image", side, side, fit=fit, resample=Resample.BILINEAR)


@pytest.mark.parametrize("fit", [Fit.RESIZE, Fit.CENTER_CROP])
def test_jnd_noise_reaches_the_model_whole(fit: Fit, photo) -> None:
    """It is made of what the model reads: resizing afterwards would average it away."""
    pixels = np.asarray(photo(1, 256, 200))
    expected = sized(fit, 64)
    plain, noisy = (
        view(
            pixels,
            expected,
            dataclasses.replace(BASE, crop_px=0, random_crops=False, jnd=p),
            np.random.default_rng(0),
        )
        for p in (0.0, 1.0)
    )
    change = noisy.astype(int) - plain
    inside = (plain > 30).all(-1) & (plain < 225).all(-1)
    floor = np.floor(jnd_map(np.ascontiguousarray(plain)))
    assert inside.any() and (np.abs(change)[inside] == floor[inside][:, None]).all()


def test_jnd_noise_comes_with_its_probability_and_for_each_view(photo) -> None:
    pixels = np.asarray(photo(2, 64, 64))
    of = dataclasses.replace(BASE, crop_px=0, random_crops=False, jnd=0.5)
    expected = sized(Fit.CENTER_CROP, 64)
    rng = np.random.default_rng(0)
    pairs = [[bool((view(pixels, expected, of, rng) != pixels).any()) for _ in range(2)] for _ in range(200)]
    drawn = np.array(pairs)
    assert 0.4 < drawn.mean() < 0.6
    assert 0.4 < (drawn[:, 0] != drawn[:, 1]).mean() < 0.6, "two views of an image draw for themselves"
    other = dataclasses.replace(expected, color_space=ColorSpace.LAB)
    with pytest.raises(ValueError, match="needs RGB"):
        view(pixels, other, dataclasses.replace(of, jnd=1.0), rng)


def test_lar_iqa_trains_on_the_centre_as_it_is_scored(photo) -> None:
    pixels = np.asarray(photo(3, 90, 70))
    expected = sized(Fit.CENTER_CROP, 32)
    rng = np.random.default_rng(0)
    ours = [
        view(augmented(pixels, recipe("lar-iqa-kan"), rng), expected, recipe("lar-iqa-kan"), rng)
        for _ in range(3)
    ]
    assert all((each == pixels[19:51, 29:61]).all() for each in ours)
    random = [view(pixels, expected, recipe("reference-kan"), rng) for _ in range(3)]
    assert len({each.tobytes() for each in random}) > 1
