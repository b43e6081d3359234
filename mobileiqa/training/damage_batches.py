"""Batches of packed copies: part of the fragments' grid, turned and mirrored, with labels and orders.

A batch is made of chunks of CHUNK copies of one group, so that orders by construction are seen. What a step reads
depends on the seed and the step alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mobileiqa.fragments import Pixels
from mobileiqa.reasons import NONE, REASONS
from mobileiqa.training.damage import GAP, GROUP, NO_CELL, exposed, exposure_at_most, jpeg, with_noise
from mobileiqa.training.damage_pack import FRAGMENTS, GRID, OVERVIEWS, PATCH_PX, ROWS

CHUNK = 5
LINKED, LINKS = 6, 3  # from this place on, a group has copies that belong to another one: so many pairs


@dataclass(frozen=True)
class Batch:
    """overview and fragments: normalised float32 NCHW; reasons (N, 11) 0 or 1; pairs (P,) of places."""

    overview: torch.Tensor
    fragments: torch.Tensor
    score: torch.Tensor  # labels (N,); NaN: none
    reasons: torch.Tensor
    cell: torch.Tensor
    better: torch.Tensor
    worse: torch.Tensor
    twins: torch.Tensor  # (T, 2): places of one copy in two poses

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))


@dataclass(frozen=True)
class Size:
    """How large the views are while training: grid x grid of the patches, and the overview's side."""

    grid: int
    overview_px: int


class Pack:
    """What damage_pack.pack wrote, or has written so far."""

    def __init__(self, folder: Path) -> None:
        self.fragments = np.load(folder / FRAGMENTS, mmap_mode="r")
        self.overviews = np.load(folder / OVERVIEWS, mmap_mode="r")
        lines = (folder / ROWS).read_text().split("\n")[:-1]  # what follows the last line break is not whole
        rows = [json.loads(line) for line in lines]
        self.train = [row for row in rows if not row["validates"]]
        self.validation = [row for row in rows if row["validates"]]

    def chunks(self, seed: int, epoch: int) -> list[tuple[dict, NDArray[np.int64]]]:
        """(row, places in its group) of a pass over all training copies, in random order."""
        rng = np.random.default_rng([seed, epoch])
        pairs = [(row, places) for row in self.train for places in halves(row["orders"], rng)]
        return [pairs[i] for i in rng.permutation(len(pairs))]

    def batch(
        self, chunks: list[tuple[dict, NDArray[np.int64]]], size: Size, rng: np.random.Generator
    ) -> Batch:
        """The copies of `chunks` in one batch."""
        views, labels, orders = [], [], []
        for row, places in chunks:
            at = {int(place): len(views) + i for i, place in enumerate(places)}
            orders += [(at[a], at[b]) for a, b in row["orders"] if a in at and b in at]
            for place in places:
                pair = self._views(row["group"] * GROUP + int(place), size, rng)
                views.append(posed(pair, int(rng.integers(8))))
                labels.append((row["score"][place], row["reasons"][place], row["cell"][place]))
        return _batch(views, labels, orders, [], size)

    def batch_of_threes(
        self, chunks: list[tuple[dict, NDArray[np.int64]]], size: Size, rng: np.random.Generator
    ) -> Batch:
        """Each copy in two poses, and damaged once more: turning changes nothing, damage is never better."""
        views, labels, orders, twins = [], [], [], []
        for row, places in chunks:
            at = {int(place): len(views) + 3 * i for i, place in enumerate(places)}
            orders += [(at[a], at[b]) for a, b in row["orders"] if a in at and b in at]
            for place in places:
                first, pair = at[int(place)], self._views(row["group"] * GROUP + int(place), size, rng)
                score, reasons = row["score"][place], row["reasons"][place]
                poses = [int(pose) for pose in rng.choice(8, 2, replace=False)]
                views += [posed(pair, pose) for pose in poses]
                labels += [(score, reasons, row["cell"][place])] * 2
                further, at_most, reason = worsened(pair, rng)
                views.append(posed(further, int(rng.integers(8))))
                both = sorted({*reasons, reason} - {NONE})
                # no label (NaN) stays none: min and max keep their first argument where nothing compares
                labels.append((max(min(score, at_most) - GAP, GAP), both, NO_CELL))
                orders.append((first, first + 2))
                twins.append((first, first + 1))
        return _batch(views, labels, orders, twins, size)

    def views_of(self, index: int) -> tuple[Pixels, Pixels]:
        """Fragments and overview of a copy as they were packed."""
        return np.asarray(self.fragments[index]), np.asarray(self.overviews[index])

    def _views(self, index: int, size: Size, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """Some rows and columns of the grid in their order, and the overview."""
        rows, columns = (np.sort(rng.choice(GRID, size.grid, replace=False)) for _ in range(2))
        patches = self.fragments[index].reshape(GRID, PATCH_PX, GRID, PATCH_PX, 3)[rows][:, :, columns]
        return patches.reshape(size.grid * PATCH_PX, size.grid * PATCH_PX, 3), np.asarray(
            self.overviews[index]
        )


Label = tuple[float, Sequence[int], int]  # score, reasons, cell


def _batch(
    views: Sequence[tuple[Pixels, Pixels]],
    labels: Sequence[Label],
    orders: Sequence[tuple[int, int]],
    twins: Sequence[tuple[int, int]],
    size: Size,
) -> Batch:
    scores, reasons, cells = zip(*labels, strict=True)
    table = torch.tensor([[float(i in each) for i in range(len(REASONS))] for each in reasons])
    pairs, same = (torch.tensor(each, dtype=torch.long).reshape(-1, 2) for each in (orders, twins))
    fragments, overviews = (normalized(np.stack(each)) for each in zip(*views, strict=True))
    return Batch(
        _resized(overviews, size.overview_px), fragments, torch.tensor(scores), table, torch.tensor(cells),
        pairs[:, 0], pairs[:, 1], same,
    )  # fmt: skip


# What KADID-10k's human means are at amounts of noise (deviation) and JPEG (quality), and damage.py's of exposure.
_NOISE = ((0, 8, 11.4, 14, 18, 25.5), (0.92, 0.72, 0.6, 0.51, 0.43, 0.33))
_JPEG = ((4, 7, 24, 36, 43, 95), (0.09, 0.24, 0.72, 0.81, 0.83, 0.92))


def worsened(
    views: tuple[Pixels, Pixels], rng: np.random.Generator
) -> tuple[tuple[Pixels, Pixels], float, int]:
    """Both views with noise, JPEG or another exposure on top, the score that this allows at most, and its reason.

    The overview of a photo is smaller than the photo: it shows a half of the noise and none of the blocks.
    """
    fragments, overview = views
    kind = int(rng.choice(3, p=(0.4, 0.3, 0.3)))
    if kind == 0:
        sigma = rng.uniform(7, 25)
        noisy = [with_noise(view, s, 3, rng) for view, s in ((fragments, sigma), (overview, sigma / 2))]
        return (noisy[0], noisy[1]), float(np.interp(sigma, *_NOISE)), REASONS.index("noise")
    if kind == 1:
        quality = int(rng.integers(5, 51))
        blocks = jpeg(np.ascontiguousarray(fragments), quality)
        return (blocks, overview), float(np.interp(quality, *_JPEG)), REASONS.index("compression")
    stops = rng.uniform(1, 2.6)
    sign = int(rng.choice((-1, 1)))
    reason = REASONS.index("too dark" if sign < 0 else "too bright")
    return (
        (exposed(fragments, sign * stops), exposed(overview, sign * stops)),
        exposure_at_most(stops),
        reason,
    )


def posed(views: tuple[Pixels, Pixels], pose: int) -> tuple[Pixels, Pixels]:
    """Both views turned and mirrored alike."""
    return turned(views[0], pose), turned(views[1], pose)


def halves(orders: Sequence[Sequence[int]], rng: np.random.Generator) -> NDArray[np.int64]:
    """(2, CHUNK): a group's places in random order, what was made of the same copy or at two strengths together."""
    pairs = [pair for pair in orders if min(pair) > 0 and max(pair) >= LINKED]
    order = rng.permutation(GROUP)
    if len(pairs) != LINKS:
        return order.reshape(-1, CHUNK)
    linked = [pairs[i] for i in rng.permutation(LINKS)]
    single = [int(place) for place in order if not any(place in pair for pair in pairs)]
    return np.array([[*linked[0], *linked[1], single[0]], [*linked[2], *single[1:]]])


def turned(pixels: Pixels, pose: int) -> Pixels:
    """One of the eight ways to turn and mirror a square."""
    if pose & 1:
        pixels = pixels[:, ::-1]
    if pose & 2:
        pixels = pixels[::-1]
    return pixels.transpose(1, 0, 2) if pose & 4 else pixels


def normalized(pixels: Pixels) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> what the model takes, float32 (N, 3, H, W)."""
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return values.contiguous(memory_format=torch.channels_last)


def _resized(images: torch.Tensor, side: int) -> torch.Tensor:
    if images.shape[-1] == side:
        return images
    smaller = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return smaller.contiguous(memory_format=torch.channels_last)
