"""Batches in an order that depends on nothing but seed, epoch and step, so that any step can be resumed."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from mobileiqa.datasets.core import Sample
from mobileiqa.photos import color_spaces
from mobileiqa.preprocess import fit_pixels
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec
from mobileiqa.training.distributed import Processes
from mobileiqa.training.objective import Batch
from mobileiqa.training.pixel_sources import Pixels, Source, crop
from mobileiqa.training.recipe import Recipe

_LABELS = ("score", "group", "dataset", "distortion", "level")


@dataclass(frozen=True)
class Labels:
    """Columns of the samples' labels, each (N,)."""

    score: NDArray[np.float32]
    group: NDArray[np.int64]  # reference
    dataset: NDArray[np.int64]
    distortion: NDArray[np.int64]
    level: NDArray[np.int64]


def labels_of(samples: Sequence[Sample], dataset: Sequence[int] | None = None) -> Labels:
    """The labels of samples; `dataset` is each one's set in multi-task training (0 where there is one set).

    An image without a reference is a group of its own.
    """
    names = {name: i for i, name in enumerate(dict.fromkeys(s.reference or str(s.path) for s in samples))}
    return Labels(
        np.array([s.score for s in samples], np.float32),
        np.array([names[s.reference or str(s.path)] for s in samples], np.int64),
        np.array(dataset if dataset is not None else [0] * len(samples), np.int64),
        np.array([s.distortion or -1 for s in samples], np.int64),
        np.array([s.level or -1 for s in samples], np.int64),
    )


@dataclass(frozen=True)
class Feed:
    """Training images, their labels, and how one becomes the other's input."""

    source: Source
    labels: Labels
    spec: ModelSpec
    recipe: Recipe

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the rest of the images waits for the next one's order."""
        count = len(self.labels.score)
        return min(count, self.recipe.epoch_images or count) // self.recipe.batch

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The model's inputs at the size that training gives them."""
        sides = self.recipe.input_px
        if not sides:
            return self.spec.inputs
        return tuple(
            dataclasses.replace(input_spec, height_px=side, width_px=side)
            for input_spec, side in zip(self.spec.inputs, sides, strict=True)
        )


def epoch_order(labels: Labels, recipe: Recipe, epoch: int) -> NDArray[np.int64]:
    """A permutation of the samples; runs of recipe.group share reference and distortion where they can."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(labels.score))
    if recipe.group == 1:
        return order
    key = labels.group[order] * 1000 + labels.distortion[order]
    order = order[np.argsort(key, kind="stable")]
    whole = len(order) // recipe.group * recipe.group
    runs = order[:whole].reshape(-1, recipe.group)
    return np.concatenate([rng.permutation(runs).ravel(), order[whole:]])


def step_indices(feed: Feed, step: int, processes: Processes) -> list[NDArray[np.int64]]:
    """The sample indices of this process for each micro-batch of optimiser step `step`."""
    recipe = feed.recipe
    epoch, within = divmod(step, feed.steps_per_epoch)
    order = epoch_order(feed.labels, recipe, epoch)
    whole = order[within * recipe.batch : (within + 1) * recipe.batch]
    return [np.split(micro, processes.world)[processes.rank] for micro in np.split(whole, recipe.accumulate)]


class _Images(Dataset[Any]):
    """Keys (step, index) to uint8 inputs; the random part depends on the key alone."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]:
        step, index = key
        rng = np.random.default_rng([self.feed.recipe.seed, step, index])
        pixels = augmented(self.feed.source(index), self.feed.recipe, rng)
        inputs = [view(pixels, input_spec, self.feed.recipe, rng) for input_spec in self.feed.inputs]
        return inputs, index


def augmented(pixels: Pixels, recipe: Recipe, rng: np.random.Generator) -> Pixels:
    """Flips, the same for all inputs of the image."""
    if recipe.flip_h and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if recipe.flip_v and rng.random() < 0.5:
        pixels = pixels[::-1]
    return pixels


def view(pixels: Pixels, input_spec: InputSpec, recipe: Recipe, rng: np.random.Generator) -> Pixels:
    """One input of the image, uint8 (H, W, 3): a random crop where the recipe says so, else the model's fit.

    JNDMix comes last: noise that is just not seen at the size that the model reads. Raises ValueError for JNDMix
    in another colour space than RGB.
    """
    if input_spec.color_space is not ColorSpace.RGB:
        pixels = color_spaces.convert(np.ascontiguousarray(pixels), input_spec.color_space)
    fitted = _fitted(pixels, input_spec, recipe, rng)
    if not recipe.jnd or rng.random() >= recipe.jnd:
        return fitted
    if input_spec.color_space is not ColorSpace.RGB:
        raise ValueError(f"JNDMix needs RGB; input {input_spec.name} is {input_spec.color_space}")
    from mobileiqa.training.jnd import jnd_mix

    return jnd_mix(np.ascontiguousarray(fitted), rng)


def _fitted(pixels: Pixels, input_spec: InputSpec, recipe: Recipe, rng: np.random.Generator) -> Pixels:
    if recipe.crop_px:
        return crop(pixels, recipe.crop_px, rng)
    square = input_spec.height_px == input_spec.width_px <= min(pixels.shape[:2])
    if recipe.random_crops and input_spec.fit is Fit.CENTER_CROP and square:
        return crop(pixels, input_spec.height_px, rng)
    return np.asarray(fit_pixels(np.ascontiguousarray(pixels), input_spec)[0])


def batches(
    feed: Feed, start: int, stop: int, processes: Processes, workers: int
) -> Iterator[tuple[int, list[Batch]]]:
    """(step, its micro-batches) from optimiser step `start` up to `stop`; inputs are uint8 NCHW still."""
    keys = [
        [(step, int(i)) for i in micro]
        for step in range(start, stop)
        for micro in step_indices(feed, step, processes)
    ]
    loader = DataLoader(
        _Images(feed),
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_Collate(feed.labels),
        prefetch_factor=4 if workers else None,
    )
    micro: list[Batch] = []
    for batch in loader:
        micro.append(batch)
        if len(micro) == feed.recipe.accumulate:
            yield start, micro
            start, micro = start + 1, []


class _Collate:
    def __init__(self, labels: Labels) -> None:
        self.labels = labels

    def __call__(self, items: list[tuple[Any, int]]) -> Batch:
        index = np.array([i for _, i in items])
        stacked = (np.stack(images) for images in zip(*(inputs for inputs, _ in items), strict=True))
        inputs = tuple(torch.from_numpy(images).permute(0, 3, 1, 2) for images in stacked)
        columns = {name: torch.from_numpy(getattr(self.labels, name)[index]) for name in _LABELS}
        return Batch(inputs=inputs, **columns)


def on_device(batch: Batch, spec: ModelSpec, device: torch.device) -> Batch:
    """The batch on `device`, its inputs normalised float32 in channels-last memory."""
    inputs = tuple(
        _normalized(pixels.to(device, non_blocking=True), input_spec)
        for pixels, input_spec in zip(batch.inputs, spec.inputs, strict=True)
    )
    return Batch(inputs, *(getattr(batch, name).to(device) for name in _LABELS))


def moments(input_spec: InputSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The input's mean and deviation, each (3, 1, 1)."""
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (input_spec.mean, input_spec.std))
    return mean, std


def _normalized(pixels: torch.Tensor, input_spec: InputSpec) -> torch.Tensor:
    mean, std = moments(input_spec, pixels.device)
    values = (pixels.float() / 255 - mean) / std
    return values.contiguous(memory_format=torch.channels_last)
