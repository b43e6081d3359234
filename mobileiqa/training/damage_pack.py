"""A pack of damaged copies: both views of each, made once, in memory-mapped files that training reads."""

import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mobileiqa import cli
from mobileiqa.fragments import Pixels, fragments
from mobileiqa.photos.loading import load_image
from mobileiqa.training import full_reference
from mobileiqa.training.damage import GROUP, Labels, make_cards, make_group
from mobileiqa.training.full_reference import Cell
from mobileiqa.workers import process_pool

GRID, PATCH_PX, OVERVIEW_PX = 8, 64, 256
CALIBRATION_PHOTOS = 4
AHEAD = 8  # groups of 10 MB
FRAGMENTS, OVERVIEWS, ROWS, CALIBRATION = "fragments.npy", "overviews.npy", "rows.jsonl", "calibration.json"


@dataclass(frozen=True)
class Row:
    """The labels of one packed group: a column has one entry for each of its copies."""

    group: int
    photo: str  # file name; "" for cards
    score: list[float]
    reasons: list[list[int]]
    cell: list[int]
    orders: list[list[int]]  # (better, worse) pairs of positions
    validates: bool  # not trained on


Packed = tuple[Pixels, Pixels, Row]  # fragments and overviews of a group, its labels
Job = tuple[int, Path | None]  # its number, its photo (None: cards)


@dataclass(frozen=True)
class Photos:
    """Pristine photos: of few and of many pixels, and names of those that are packed to validate, not to train."""

    small: tuple[Path, ...]
    large: tuple[Path, ...]
    held_back: frozenset[str]

    @property
    def trained(self) -> tuple[list[Path], list[Path]]:
        """The small and the large ones without those that validate."""
        small, large = (
            [p for p in each if p.name not in self.held_back] for each in (self.small, self.large)
        )
        return small, large

    @property
    def unseen(self) -> list[Path]:
        """Those that validate."""
        return [path for path in (*self.small, *self.large) if path.name in self.held_back]


def views(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Fragments (512, 512, 3) and overview (256, 256, 3) of a picture of any size."""
    side = (OVERVIEW_PX, OVERVIEW_PX)
    overview = np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC))
    return fragments(pixels, GRID, GRID, PATCH_PX), overview


def photo_order(small: Sequence[Path], large: Sequence[Path], per_photo: tuple[int, int], cards: int,
                seed: int) -> list[Path | None]:  # fmt: skip
    """Which photo each group is made of, shuffled; None: of cards. per_photo: groups of a small and a large one."""
    jobs = [*small] * per_photo[0] + [*large] * per_photo[1] + [None] * cards
    return [jobs[i] for i in np.random.default_rng(seed).permutation(len(jobs))]


def calibrate(
    photos: Sequence[Path], severity: dict[Cell, float], folder: Path, seed: int
) -> dict[str, float]:
    """Fits the full-reference labels on a few photos and saves them; their correlations on unseen distortions."""
    picks = np.random.default_rng(seed).choice(len(photos), CALIBRATION_PHOTOS, replace=False)
    originals = [np.asarray(load_image(photos[i])) for i in picks]
    values, scores = (
        full_reference.cell_features(originals, list(severity)),
        np.array(list(severity.values())),
    )
    full_reference.fit(values, scores).save(folder / CALIBRATION)
    predictions = full_reference.leave_one_out(values, severity)
    from mobileiqa.metrics import correlations

    return correlations(predictions, scores)._asdict()


def pack(
    jobs: Sequence[Path | None],
    held_back: Collection[str],
    severity: dict[Cell, float],
    folder: Path,
    seed: int,
    workers: int,
) -> None:
    """Writes the groups of `jobs` in their order; rows.jsonl grows by a line for each group that is there.

    held_back: names of the photos whose groups validate.
    """
    count = len(jobs) * GROUP
    shapes = {FRAGMENTS: GRID * PATCH_PX, OVERVIEWS: OVERVIEW_PX}
    out = {
        name: np.lib.format.open_memmap(folder / name, "w+", np.uint8, (count, side, side, 3))
        for name, side in shapes.items()
    }
    work = partial(_packed, severity, folder / CALIBRATION, seed, held_back)
    with process_pool(workers, _start) as pool, (folder / ROWS).open("w") as rows:
        for mosaics, overviews, row in cli.progress(_ordered(pool, work, jobs), "damaging photos", len(jobs)):
            place = slice(row.group * GROUP, (row.group + 1) * GROUP)
            out[FRAGMENTS][place], out[OVERVIEWS][place] = mosaics, overviews
            rows.write(json.dumps(asdict(row)) + "\n")
            rows.flush()


def _ordered(pool: Executor, work: Callable[[Job], Packed], jobs: Sequence[Path | None]) -> Iterator[Packed]:
    """Results in order, a few groups ahead: all at once would fill the memory."""
    pending: deque[Future[Packed]] = deque()
    for job in enumerate(jobs):
        pending.append(pool.submit(work, job))
        if len(pending) >= AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _start() -> None:
    import torch

    from mobileiqa.freed_memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)


def _packed(
    severity: dict[Cell, float], calibration: Path, seed: int, held_back: Collection[str], job: Job
) -> Packed:
    index, path = job
    rng = np.random.default_rng([seed, index])
    if path is None:
        group = make_cards(rng)
    else:
        labels = Labels(severity, full_reference.load(calibration).score)
        group = make_group(np.asarray(load_image(path)), labels, rng)
    both = [views(each.pixels) for each in group.copies]
    row = Row(
        index, path.name if path else "", [round(each.score, 4) for each in group.copies],
        [list(each.reasons) for each in group.copies], [each.cell for each in group.copies],
        [list(pair) for pair in group.orders], bool(path and path.name in held_back),
    )  # fmt: skip
    return np.stack([a for a, _ in both]), np.stack([b for _, b in both]), row
