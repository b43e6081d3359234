"""What the trunk of `whole-photo` says of the pictures that its head is tuned on: read once, in several poses."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mobileiqa import cli
from mobileiqa.fragments import Pixels
from mobileiqa.models.whole_photo import VIEWS, WIDTH, WholePhoto
from mobileiqa.photos.loading import as_array, read_pixels
from mobileiqa.reasons import REASONS
from mobileiqa.spec import ColorManagement
from mobileiqa.training import damage_pack, head_cases
from mobileiqa.training.damage import GAP, GROUP
from mobileiqa.training.damage_batches import Pack, normalized, turned
from mobileiqa.training.damage_pack import Photos
from mobileiqa.training.full_reference import Cell
from mobileiqa.training.head_cases import Case, Order

POSES = 3  # of each picture, at random of eight
HALF = WIDTH // 2  # features of a view


@dataclass(frozen=True)
class Counts:
    """Of how much features are read."""

    cell_photos: int = 13  # small photos under most of the 125 cells
    full_size_photos: int = 46  # large photos damaged at full size
    pristine_photos: int = 100  # small photos in five undamaged versions
    groups: int = 145  # of the pack


@dataclass(frozen=True)
class Features:
    """Of N pictures: each view's features (N, POSES, 384), what is known of them, and P orders."""

    overviews: torch.Tensor
    fragments: torch.Tensor
    score: torch.Tensor
    weight: torch.Tensor
    reasons: torch.Tensor  # (N, 11), 0 or 1; all 0: unknown
    cell: torch.Tensor
    orders: torch.Tensor  # (P, 2): places of the better and the worse one
    margin: torch.Tensor
    full_size: torch.Tensor  # (P,): between copies of a large photo

    @property
    def largest(self) -> float:
        """The largest feature: where an 8-bit file's range ends."""
        return float(max(self.overviews.max(), self.fragments.max()))

    def pose(self, places: torch.Tensor, number: int) -> torch.Tensor:
        """Both views' features (n, 768) in one of their poses."""
        return torch.cat([self.overviews[places, number], self.fragments[places, number]], 1)


Pictures = Iterable[tuple[tuple[Pixels, Pixels], Case]]  # views and labels
Group = tuple[Pictures, list[Order], bool]  # at full size?
Kind = Callable[[Pixels], tuple[head_cases.Pictures, list[Order]]]  # cases of a photo


def read_features(
    model: WholePhoto, photos: Photos, severity: Mapping[Cell, float], pack: Pack, counts: Counts, seed: int
) -> Features:
    """What the trunk says of pictures that are trained on; ten minutes."""
    rng, (small, large) = np.random.default_rng(seed), photos.trained
    tensors, cases, orders, sizes = [], [], [], []
    total = min(counts.groups, len(pack.train)) + min(counts.full_size_photos, len(large))
    total += min(counts.cell_photos, len(small)) + min(counts.pristine_photos, len(small))
    groups = _groups(small, large, severity, pack, counts, rng)
    for pictures, pairs, full_size in cli.progress(groups, "reading features", total):
        orders += [(len(cases) + a, len(cases) + b, margin) for a, b, margin in pairs]
        sizes += [full_size] * len(pairs)
        for views, case in pictures:
            tensors.append(_features(model, views, rng))
            cases.append(case)
    overviews, fragments = (torch.stack(each) for each in zip(*tensors, strict=True))
    reasons = [[float(i in (case.reasons or ())) for i in range(len(REASONS))] for case in cases]
    return Features(
        overviews, fragments,
        torch.tensor([case.score for case in cases]), torch.tensor([float(case.weight) for case in cases]),
        torch.tensor(reasons), torch.tensor([case.cell for case in cases]),
        torch.tensor([(a, b) for a, b, _ in orders], dtype=torch.long).reshape(-1, 2),
        torch.tensor([margin for *_, margin in orders]), torch.tensor(sizes),
    )  # fmt: skip


def _groups(
    small: Sequence[Path],
    large: Sequence[Path],
    severity: Mapping[Cell, float],
    pack: Pack,
    counts: Counts,
    rng: np.random.Generator,
) -> Iterator[Group]:
    for kind, photos, count in (
        (partial(head_cases.cells, severity=severity, rng=rng), small, counts.cell_photos),
        (partial(head_cases.pristine, rng=rng), small, counts.pristine_photos),
        (partial(head_cases.full_size, rng=rng), large, counts.full_size_photos),
    ):
        for number in rng.permutation(len(photos))[:count]:
            yield *_of_photo(photos[number], kind), photos is large
    for number in rng.permutation(len(pack.train))[: counts.groups]:
        yield _packed(pack, pack.train[number])


def _of_photo(path: Path, kind: Kind) -> tuple[Pictures, list[Order]]:
    pictures, orders = kind(as_array(read_pixels(path, ColorManagement.SRGB)))
    return ((damage_pack.views(pixels), case) for pixels, case in pictures), orders


def _packed(pack: Pack, row: Mapping) -> Group:
    pictures = [
        (
            pack.views_of(row["group"] * GROUP + place),
            Case(row["score"][place], 1, tuple(row["reasons"][place]), row["cell"][place]),
        )
        for place in range(GROUP)
    ]
    return pictures, [(better, worse, GAP * 1.5) for better, worse in row["orders"]], False


@torch.inference_mode()
def _features(
    model: WholePhoto, views: tuple[Pixels, Pixels], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(POSES, 384) of the overview, and of the fragments in the same poses."""
    mosaic, overview = views
    poses = rng.choice(8, POSES, replace=False)
    both = (np.stack([turned(view, pose) for pose in poses]) for view in (overview, mosaic))
    device = next(model.parameters()).device
    features = [
        model.view_features(name, model.maps(normalized(np.ascontiguousarray(pixels)).to(device)))
        for name, pixels in zip(VIEWS, both, strict=True)
    ]
    return features[0].clone().cpu(), features[1].clone().cpu()


def unseen_features(model: WholePhoto, photos: Sequence[Path], seed: int) -> torch.Tensor:
    """Both views' features (N, 768) of the undamaged versions of photos, in all their poses."""
    rng = np.random.default_rng(seed)
    features = []
    for path in cli.progress(photos, "reading unseen photos", len(photos)):
        pictures, _ = _of_photo(path, partial(head_cases.pristine, rng=rng))
        features += [torch.cat(_features(model, views, rng), 1) for views, _ in pictures]
    return torch.cat(features)
