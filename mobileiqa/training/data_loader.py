"""Batches in an order that depends on nothing but seed, epoch and step, so that any step can be resumed."""

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from mobileiqa.datasets.core import Sample
from mobileiqa.photos import color_spaces
from mobileiqa.preprocess import fit_pixels, prepare
from mobileiqa.spec import ColorSpace, Fit, InputSpec, ModelSpec
from mobileiqa.training.distributed import Processes
from mobileiqa.training.objective import Batch
from mobileiqa.training.pixel_sources import Pixels, Source, crop
from mobileiqa.training.recipe import Recipe

_LABELS = ("score", "group", "dataset", "distortion", "level", "votes")


@dataclass(frozen=True)
class Labels:
    """Columns of the samples' labels, each (N,)."""

    score: NDArray[np.float32]
    group: NDArray[np.int64]  # reference
    dataset: NDArray[np.int64]
    distortion: NDArray[np.int64]
    level: NDArray[np.int64]
    votes: NDArray[np.float32] | None = None  # (N, 5), a row of zeros for an image without


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
        _votes(samples),
    )


def _votes(samples: Sequence[Sample]) -> NDArray[np.float32] | None:
    if not any(s.votes for s in samples):
        return None
    return np.array([s.votes or (0.0,) * 5 for s in samples], np.float32)


@dataclass(frozen=True)
class Feed:
    """Training images, their labels, and how one becomes the other's input."""

    source: Source
    labels: Labels
    spec: ModelSpec
    recipe: Recipe
    references: Callable[[int], Pixels | None] | None = (
        None  # the pristine original of each image, if it has one
    )

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
    """Keys (step, index) to inputs, uint8 or tokens; the random part depends on the key alone.

    With references, the last input is the original, flipped and cropped as the image, or the image where there is none.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]:
        step, index = key
        rng = np.random.default_rng([self.feed.recipe.seed, step, index])
        recipe, specs = self.feed.recipe, self.feed.inputs
        if self.feed.references is not None:
            return self._pair(index, rng), index
        pixels = augmented(self.feed.source(index), recipe, rng)
        if recipe.color_spaces:
            space = ColorSpace(rng.choice(recipe.color_spaces))
            specs = tuple(dataclasses.replace(input_spec, color_space=space) for input_spec in specs)
        inputs = [view(pixels, input_spec, recipe, rng) for input_spec in specs]
        return inputs, index

    def _pair(self, index: int, rng: np.random.Generator) -> list[Pixels]:
        assert self.feed.references is not None and self.feed.recipe.crop_px, "pairs are cropped together"
        image = self.feed.source(index)
        original = self.feed.references(index)
        both = np.concatenate([image, image if original is None else original], 2)
        both = crop(augmented(both, self.feed.recipe, rng), self.feed.recipe.crop_px, rng)
        return [both[:, :, :3], both[:, :, 3:]]


def augmented(pixels: Pixels, recipe: Recipe, rng: np.random.Generator) -> Pixels:
    """Flips, the same for all inputs of the image."""
    if recipe.flip_h and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if recipe.flip_v and rng.random() < 0.5:
        pixels = pixels[::-1]
    return pixels


def view(pixels: Pixels, input_spec: InputSpec, recipe: Recipe, rng: np.random.Generator) -> NDArray[Any]:
    """One input of the image, uint8 (H, W, 3): a random crop where the recipe says so, else the model's fit.

    Of a model of tokens (T, 3075), float32, at most `native_patches` of the photo's own scale among them.

    JNDMix comes last: noise that is just not seen at the size that the model reads. Raises ValueError for JNDMix
    in another colour space than RGB.
    """
    if input_spec.fit is Fit.MULTI_SCALE:
        return _tokens(pixels, input_spec, recipe, rng)
    if input_spec.color_space is not ColorSpace.RGB:
        pixels = color_spaces.convert(np.ascontiguousarray(pixels), input_spec.color_space)
    fitted = _fitted(pixels, input_spec, recipe, rng)
    if not recipe.jnd or rng.random() >= recipe.jnd:
        return fitted
    if input_spec.color_space is not ColorSpace.RGB:
        raise ValueError(f"JNDMix needs RGB; input {input_spec.name} is {input_spec.color_space}")
    from mobileiqa.training.jnd import jnd_mix

    return jnd_mix(np.ascontiguousarray(fitted), rng)


def _tokens(
    pixels: Pixels, input_spec: InputSpec, recipe: Recipe, rng: np.random.Generator
) -> NDArray[np.float32]:
    tokens = prepare(np.ascontiguousarray(pixels), ModelSpec("tokens", (input_spec,)))[input_spec.name][0]
    native = np.flatnonzero(tokens[:, -2] == len(input_spec.scales_px))
    most = int(recipe.option("native_patches", len(native)))
    left_out = rng.permutation(native)[most:]  # which of them the paper takes is not public
    return np.delete(tokens, left_out, 0)


def _fitted(pixels: Pixels, input_spec: InputSpec, recipe: Recipe, rng: np.random.Generator) -> Pixels:
    if recipe.crop_px:
        return crop(pixels, recipe.crop_px, rng)
    square = input_spec.height_px == input_spec.width_px <= min(pixels.shape[:2])
    if recipe.random_crops and input_spec.fit is Fit.CENTER_CROP and square:
        return crop(pixels, input_spec.height_px, rng)
    return np.asarray(fit_pixels(np.ascontiguousarray(pixels), input_spec)[0])


Steps = Generator[tuple[int, list[Batch]], None, None]


@dataclass(frozen=True)
class _Keys:
    """The (step, index) keys of each micro-batch of this process, drawn as they are asked for."""

    feed: Feed
    steps: range
    processes: Processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            for micro in step_indices(self.feed, step, self.processes):
                yield [(step, int(i)) for i in micro]


def batches(
    feed: Feed, start: int, stop: int, processes: Processes, workers: int, pinned: bool = False
) -> Steps:
    """(step, its micro-batches) from optimiser step `start` up to `stop`; inputs are uint8 NCHW still.

    One set of loader processes serves all steps. pinned: in memory that a GPU can copy from while it computes.
    """
    loader = DataLoader(
        _Images(feed),
        batch_sampler=_Keys(feed, range(start, stop), processes),
        num_workers=workers,
        collate_fn=_Collate(feed.labels),
        prefetch_factor=4 if workers else None,
        pin_memory=pinned,
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
        by_input = zip(*(inputs for inputs, _ in items), strict=True)
        inputs = tuple(_stacked(list(images)) for images in by_input)
        columns = {
            name: torch.from_numpy(column[index])
            for name in _LABELS
            if (column := getattr(self.labels, name)) is not None
        }
        return Batch(inputs=inputs, **columns)


def _stacked(images: list[NDArray[Any]]) -> torch.Tensor:
    """uint8 (N, 3, H, W), or tokens (N, T, 3075), shorter rows filled with empty tokens, whose mask is 0."""
    if images[0].ndim == 2:
        longest = max(map(len, images))
        padded = [np.pad(tokens, ((0, longest - len(tokens)), (0, 0))) for tokens in images]
        return torch.from_numpy(np.stack(padded))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def on_device(batch: Batch, spec: ModelSpec, device: torch.device) -> Batch:
    """The batch on `device`, its inputs normalised float32 in channels-last memory; a reference as the image."""
    inputs = tuple(
        _normalized(pixels.to(device, non_blocking=True), input_spec)
        for pixels, input_spec in zip(batch.inputs, cycle(spec.inputs), strict=False)
    )
    columns = (getattr(batch, name) for name in _LABELS)
    return Batch(inputs, *(None if c is None else c.to(device, non_blocking=True) for c in columns))


def moments(input_spec: InputSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The input's mean and deviation, each (3, 1, 1)."""
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (input_spec.mean, input_spec.std))
    return mean, std


def _normalized(pixels: torch.Tensor, input_spec: InputSpec) -> torch.Tensor:
    if input_spec.fit is Fit.MULTI_SCALE:
        return pixels  # tokens are normalised
    mean, std = moments(input_spec, pixels.device)
    values = (pixels.float() / 255 - mean) / std
    return values.contiguous(memory_format=torch.channels_last)
