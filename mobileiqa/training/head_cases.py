"""Cases that the head of `whole-photo` is tuned on: what is known of each picture, and which of two must score less.

Of a small photo: KADID-10k's 125 cells, and pristine versions as other cameras would make them. Of a large one:
damage at full size, of a part, and one distortion on another. Where nobody rated, labels are round figures between
KADID-10k's means of the same damage; they weigh less, and what counts is the order of two copies of one photo.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobileiqa.distortions.kadid10k import distort
from mobileiqa.fragments import Pixels
from mobileiqa.reasons import NONE, REASONS, reason_of
from mobileiqa.training import damage
from mobileiqa.training.damage import NO_CELL, PRISTINE, PRISTINE_CELL, UNSEEN
from mobileiqa.training.full_reference import Cell

CELL_SHARE = 0.6  # of the 125 cells of one photo, at random
MARGIN, PART_MARGIN, LARGEST_MARGIN = 0.04, 0.05, 0.06  # by which the worse of two scores less
SAME_MARGIN = -0.02
CENTRE_PX = 512  # what stays sharp where the rest is blurred


@dataclass(frozen=True)
class Case:
    """What is known of one picture. weight: of its score; reasons None: unknown."""

    score: float
    weight: float
    reasons: tuple[int, ...] | None
    cell: int = NO_CELL


Order = tuple[int, int, float]  # places of the better and of the worse one, and by how much at least
Pictures = list[tuple[Pixels, Case]]


def _reasons(*names: str) -> tuple[int, ...]:
    return tuple(REASONS.index(name) for name in names)


# Damage of a large photo at full size: what it is called, its label, the label's weight, its reasons.
FULL_SIZE: dict[str, Case] = {
    "original": Case(PRISTINE, 0.3, (NONE,)),
    "half size": Case(PRISTINE, 0.3, (NONE,)),
    "enlarged": Case(0.9, 0.3, (NONE,)),
    "enlarged, JPEG 50": Case(0.77, 0.3, None),
    "enlarged, JPEG 20": Case(0.58, 0.5, _reasons("compression")),
    "blurred": Case(0.07, 1, _reasons("blur")),
    "blurred, noise": Case(0.03, 1, _reasons("blur", "noise")),
    "blurred, other noise": Case(0.04, 0.5, _reasons("blur", "noise")),
    "centre sharp": Case(0, 0, None),
    "quarter blurred": Case(0, 0, None),
    "soft": Case(0.2, 0.3, _reasons("blur")),
    "soft, noise": Case(0.12, 0.3, _reasons("blur", "noise")),
    "JPEG 90": Case(0.87, 0.3, (NONE,)),
    "JPEG 50": Case(0.8, 0.3, None),
    "JPEG 20": Case(0.62, 0.5, _reasons("compression")),
    "JPEG 8": Case(0.25, 0.5, _reasons("compression")),
    "JPEG 20, blurred": Case(0.15, 0.3, _reasons("blur", "compression")),
    "dark": Case(0.47, 0.5, _reasons("too dark")),
    "bright": Case(0.47, 0.5, _reasons("too bright")),
    "noise": Case(0.5, 0.5, _reasons("noise")),
    "noise, JPEG 15": Case(0.35, 0.3, _reasons("noise", "compression")),
}
FULL_SIZE_ORDERS = (
    ("original", "noise"), ("noise", "noise, JPEG 15"), ("blurred", "blurred, noise"),
    ("blurred", "blurred, other noise"), ("soft", "soft, noise"), ("original", "soft"), ("soft", "blurred"),
    ("JPEG 90", "JPEG 50"), ("JPEG 50", "JPEG 20"), ("JPEG 20", "JPEG 8"), ("JPEG 20", "JPEG 20, blurred"),
    ("original", "dark"), ("original", "bright"),
    ("enlarged", "enlarged, JPEG 50"), ("enlarged, JPEG 50", "enlarged, JPEG 20"),
)  # fmt: skip
# One way and back with a negative margin: the two may differ by no more than that.
SAME_ORDERS = (("original", "half size"), ("half size", "original"))
PART_ORDERS = (("original", "quarter blurred"), ("original", "centre sharp"), ("centre sharp", "blurred"))


def cells(
    photo: Pixels, severity: Mapping[Cell, float], rng: np.random.Generator
) -> tuple[Pictures, list[Order]]:
    """A small photo under most of KADID-10k's cells; within a distortion, the lower mean is the worse."""
    pictures: Pictures = [(photo, Case(PRISTINE, 1, (NONE,), PRISTINE_CELL))]
    at: dict[Cell, int] = {}
    for number, (cell, score) in enumerate(severity.items()):
        if rng.random() < CELL_SHARE:
            at[cell] = len(pictures)
            reason = NONE if score >= UNSEEN else reason_of(*cell)
            pictures.append((distort(photo, *cell), Case(score, 1, (reason,), number)))
    return pictures, list(_cell_orders(at, severity))


def _cell_orders(at: Mapping[Cell, int], severity: Mapping[Cell, float]) -> Iterator[Order]:
    for (distortion, level), place in at.items():
        if severity[distortion, level] < 0.8:
            yield 0, place, damage.GAP
        for further in range(level + 1, 6):
            gap = severity[distortion, level] - severity.get((distortion, further), 1)
            if (distortion, further) in at and gap > 0.01:
                yield place, at[distortion, further], min(gap / 2, LARGEST_MARGIN)


def full_size(photo: Pixels, rng: np.random.Generator) -> tuple[Pictures, list[Order]]:
    """A large photo and its damaged versions, at amounts around those that benchmarks/whole_photo.py measures."""
    names, pixels = zip(*_damaged(photo, rng), strict=True)
    margins = [(FULL_SIZE_ORDERS, MARGIN), (PART_ORDERS, PART_MARGIN), (SAME_ORDERS, SAME_MARGIN)]
    orders = [(names.index(a), names.index(b), margin) for pairs, margin in margins for a, b in pairs]
    return [(each, FULL_SIZE[name]) for name, each in zip(names, pixels, strict=True)], orders


def _damaged(photo: Pixels, rng: np.random.Generator) -> Iterator[tuple[str, Pixels]]:
    """(a key of FULL_SIZE, pixels) of each."""
    photo = damage.natural(photo, rng)
    height, width = photo.shape[:2]
    blurry, soft = damage.blurred(photo, rng.uniform(7, 16)), damage.blurred(photo, rng.uniform(2, 6))
    yield "original", photo
    yield "half size", _scaled(photo, 0.5)
    larger = enlarged(photo[: height * 3 // 4, : width * 3 // 4], rng)
    yield "enlarged", larger
    yield "enlarged, JPEG 50", damage.jpeg(larger, int(rng.integers(45, 60)))
    yield "enlarged, JPEG 20", damage.jpeg(larger, int(rng.integers(17, 25)))
    yield "blurred", blurry
    yield "blurred, noise", damage.with_noise(blurry, rng.uniform(10, 20), 3, rng)
    yield "blurred, other noise", damage.with_noise(blurry, rng.uniform(6, 25), int(rng.choice((1, 3))), rng)
    centre = tuple(slice(max(0, (n - CENTRE_PX) // 2), (n + CENTRE_PX) // 2) for n in (height, width))
    yield "centre sharp", _pasted(blurry, photo, centre)
    y, x = rng.integers(2, size=2)
    quarter = tuple(slice(i * n // 2, (i + 1) * n // 2) for i, n in ((y, height), (x, width)))
    yield "quarter blurred", _pasted(photo, blurry, quarter)
    yield "soft", soft
    yield "soft, noise", damage.with_noise(soft, rng.uniform(8, 20), 3, rng)
    for name, lowest, highest in (("90", 86, 93), ("50", 45, 60), ("20", 17, 25), ("8", 6, 10)):
        yield f"JPEG {name}", damage.jpeg(photo, int(rng.integers(lowest, highest)))
    yield "JPEG 20, blurred", damage.blurred(damage.jpeg(photo, 20), rng.uniform(2, 4))
    stops = rng.uniform(1.6, 2.2)
    yield "dark", damage.exposed(photo, -stops)
    yield "bright", damage.exposed(photo, stops)
    noise = damage.with_noise(photo, rng.uniform(10, 20), 3, rng)
    yield "noise", noise
    yield "noise, JPEG 15", damage.jpeg(noise, int(rng.integers(11, 20)))


def _pasted(below: Pixels, above: Pixels, place: Sequence[slice]) -> Pixels:
    out = below.copy()
    out[tuple(place)] = above[tuple(place)]
    return out


def pristine(photo: Pixels, rng: np.random.Generator) -> tuple[Pictures, list[Order]]:
    """A small photo as it is, in other exposures and colours, smaller, and soft as a phone's: nothing is wrong."""
    known = Case(PRISTINE, 1, (NONE,), PRISTINE_CELL)
    versions = [photo, damage.natural(photo, rng), damage.natural(photo, rng)]
    versions.append(_scaled(damage.natural(photo, rng), rng.uniform(0.65, 0.95)))
    soft = enlarged(damage.natural(photo, rng), rng)
    return [*((each, known) for each in versions), (soft, Case(PRISTINE, 0.3, (NONE,)))], []


def enlarged(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Soft at native scale, and through a camera's JPEG."""
    return damage.jpeg(_scaled(photo, rng.uniform(1.1, 1.5)), int(rng.integers(88, 97)))


def _scaled(photo: Pixels, factor: float) -> Pixels:
    size = tuple(round(side * factor) for side in (photo.shape[1], photo.shape[0]))
    return np.asarray(Image.fromarray(photo).resize((size[0], size[1]), Image.Resampling.LANCZOS))
