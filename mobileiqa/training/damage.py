"""Damaged copies of a pristine photo with labels, reasons and the orders that hold between them by construction.

A group is ten copies of one photo (or of a crop or a smaller version of it): itself, single distortions at two
levels each, two distortions at once, damage of a part, and two strengths of exposure, JPEG, blur or noise. One more
distortion on a damaged copy is never better, nor is a stronger level; damage of a part lies between all and none.
Single distortions are labelled by KADID-10k's human means, what nobody rated by a calibrated full-reference score.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from mobileiqa.distortions.detail import decode, encode_jpeg
from mobileiqa.distortions.kadid10k import DISTORTIONS, distort
from mobileiqa.distortions.pixels import gamma_encoded, linear_light
from mobileiqa.fragments import Pixels
from mobileiqa.reasons import NONE, REASONS, reason_of
from mobileiqa.training.full_reference import Cell, Labeller

PRISTINE = 0.92  # label: above every cell's human mean (0.90)
UNSEEN = 0.87  # a cell with this human mean or more shows no reason
GROUP = 10
NO_CELL, PRISTINE_CELL = -1, 125
GAP = 0.02  # of labels, where one copy is worse than the other by construction
SECOND = (1, 1, 3, 3, 10, 10, 10, 11, 11, 12, 13, 16, 17, 22, 24)  # distortions that come on top of others
CARD_SCORE = 0.05
MIN_SIDE = 320


@dataclass(frozen=True)
class Copy:
    """One labelled picture: uint8 (H, W, 3), score 0..1, indices in REASONS, and which of the 125 cells it is."""

    pixels: Pixels
    score: float
    reasons: tuple[int, ...]
    cell: int = NO_CELL


@dataclass(frozen=True)
class Group:
    """Copies of one photo, and the pairs (better, worse) of them that hold by construction."""

    copies: tuple[Copy, ...]
    orders: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Labels:
    """Where labels come from: human means (0..1) of the 125 cells, and a full-reference score for the rest."""

    severity: Mapping[Cell, float]
    full_reference: Labeller

    def single(self, original: Pixels, cell: Cell, seed: int) -> Copy:
        """`original` with one distortion, under its human mean."""
        score, reason = self.severity[cell], reason_of(*cell)
        number = PRISTINE_CELL if reason == NONE else list(self.severity).index(cell)
        reason = NONE if score >= UNSEEN else reason
        return Copy(distort(original, *cell, seed), score, (reason,), number)


def make_group(photo: Pixels, labels: Labels, rng: np.random.Generator) -> Group:
    """GROUP copies of `photo`, uint8 (H, W, 3), each side 320 or more."""
    base = Copy(natural(_window(photo, rng), rng), PRISTINE, (NONE,), PRISTINE_CELL)
    copies, orders = [base], []
    for number in rng.choice(list(DISTORTIONS), 2, replace=False):
        levels = sorted(int(level) for level in rng.choice(5, 2, replace=False) + 1)
        pair = [labels.single(base.pixels, (int(number), level), _seed(rng)) for level in levels]
        orders += [(len(copies), len(copies) + 1)] if DISTORTIONS[number].monotone else []
        copies += pair
    third = int(rng.integers(1, 26)), int(rng.integers(1, 6))
    copies.append(labels.single(base.pixels, third, _seed(rng)))
    under = int(rng.choice([1, 3]))
    copies.append(_doubled(base, copies[under], labels, rng))
    orders.append((under, 6))
    whole = min((2, 4), key=lambda i: copies[i].score)
    copies.append(_local(base, copies[whole], labels, rng))
    orders.append((7, whole))
    copies += _chain(base, labels, rng)
    orders += [(8, 9), *((0, i) for i in range(1, GROUP))]
    return Group(tuple(copies), tuple(orders))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def _window(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """The photo, a crop of it, or a smaller version: half-size copies of sharp photos are sharp."""
    sides, large = np.array(photo.shape[:2]), min(photo.shape[:2]) >= 1000
    kind = rng.choice(3, p=(0.2, 0.4, 0.4) if large else (0.5, 0.25, 0.25))
    smallest = max(0.3 if large else 0.6, MIN_SIDE / min(sides))
    if kind == 0 or smallest >= 1:
        return photo
    if kind == 1:
        height, width = (sides * rng.uniform(smallest, max(smallest, 0.95))).round().astype(int)
        return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS))
    height, width = (sides * rng.uniform(smallest, 1, 2)).round().astype(int)
    top, left = (int(rng.integers(a - b + 1)) for a, b in zip(sides, (height, width), strict=True))
    return photo[top : top + height, left : left + width]


def natural(photo: Pixels, rng: np.random.Generator) -> Pixels:
    """Half of them in a mildly other exposure, white balance and saturation: photos differ so without damage."""
    if rng.random() < 0.5:
        return photo
    linear = to_linear(photo) * 2 ** rng.uniform(-0.4, 0.4) * rng.uniform(0.95, 1.05, 3)
    grey = linear.mean(2, keepdims=True)
    return from_linear(grey + (linear - grey) * rng.uniform(0.8, 1.2))


def to_linear(photo: Pixels) -> "np.ndarray":
    """sRGB bytes -> linear light 0..1, float32."""
    return linear_light()[photo]


def from_linear(light: "np.ndarray") -> Pixels:
    """Linear light, clipped to 0..1 -> sRGB bytes."""
    return (gamma_encoded(light.clip(0, 1)) * 255 + 0.5).astype(np.uint8)


def exposed(photo: Pixels, stops: float) -> Pixels:
    """The photo as `stops` more or less light would have made it."""
    return from_linear(to_linear(photo) * np.float32(2.0**stops))


def jpeg(photo: Pixels, quality: int) -> Pixels:
    """Through JPEG and back."""
    return decode(encode_jpeg(photo, quality), "JPEG")


def blurred(photo: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of any radius."""
    return np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(sigma)))


def noisy(photo: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of `sigma` levels, half of the time the same in all channels."""
    return with_noise(photo, sigma, 3 if rng.random() < 0.5 else 1, rng)


def with_noise(photo: Pixels, sigma: float, channels: int, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of `sigma` levels, of each of 3 channels or the same (1) in all."""
    noise = rng.standard_normal((*photo.shape[:2], channels), np.float32) * np.float32(sigma)
    return (photo + noise + 0.5).clip(0, 255).astype(np.uint8)


def _doubled(base: Copy, damaged: Copy, labels: Labels, rng: np.random.Generator) -> Copy:
    """A second distortion on a damaged copy: worse than either alone."""
    cell = int(rng.choice(SECOND)), int(rng.integers(2, 6))
    pixels = distort(damaged.pixels, *cell, _seed(rng))
    bound = min(damaged.score, labels.severity[cell]) - GAP
    score = min(labels.full_reference(base.pixels, pixels), bound)
    return Copy(pixels, max(score, GAP), _union(damaged.reasons, (reason_of(*cell),)))


def _union(*reasons: tuple[int, ...]) -> tuple[int, ...]:
    both = sorted({reason for each in reasons for reason in each} - {NONE})
    return tuple(both) or (NONE,)


def _local(base: Copy, whole: Copy, labels: Labels, rng: np.random.Generator) -> Copy:
    """Damage of a part: between all of it and none."""
    mask = _mask(base.pixels.shape[:2], rng)
    pixels = np.where(mask[..., None], whole.pixels, base.pixels)
    highest = base.score - (base.score - whole.score) * 0.3 * float(mask.mean()) ** 0.5
    lowest = min(whole.score + GAP, highest)
    score = labels.full_reference(base.pixels, pixels)
    return Copy(pixels, float(np.clip(score, lowest, highest)), whole.reasons)


def _mask(shape: tuple[int, int], rng: np.random.Generator) -> "np.ndarray":
    """True where the damage is: a quarter, a half, all but the centre, or a rectangle."""
    height, width = shape
    mask = np.zeros(shape, bool)
    kind = rng.integers(4)
    if kind == 0:
        y, x = rng.integers(2, size=2)
        mask[y * height // 2 : (y + 1) * height // 2, x * width // 2 : (x + 1) * width // 2] = True
    elif kind == 1:
        mask[: height // 2] = True
        mask = mask if rng.random() < 0.5 else mask[::-1]
    elif kind == 2:
        part = rng.uniform(0.2, 0.6)
        h, w = int(height * part / 2), int(width * part / 2)
        mask[height // 2 - h : height // 2 + h, width // 2 - w : width // 2 + w] = True
        mask = ~mask
    else:
        h, w = (int(side * rng.uniform(0.3, 0.7)) for side in shape)
        top, left = int(rng.integers(height - h)), int(rng.integers(width - w))
        mask[top : top + h, left : left + w] = True
    return mask


# The stops over or under, and the score that a photo so exposed has at most.
_STOPS, _AT_MOST = (0.0, 0.5, 1.0, 1.5, 2.0, 2.6), (0.92, 0.87, 0.78, 0.65, 0.5, 0.4)


def exposure_at_most(stops: float) -> float:
    """The score of a photo that is `stops` over or under, at most."""
    return float(np.interp(stops, _STOPS, _AT_MOST))


def _chain(base: Copy, labels: Labels, rng: np.random.Generator) -> list[Copy]:
    """Two strengths of one damage that KADID-10k has at other amounts, or not at all; the second is worse."""
    kind = rng.choice(4, p=(0.4, 0.3, 0.15, 0.15))
    if kind == 0:
        first, second = np.sort(rng.uniform(0.7, 2.6, 2))
        sign = rng.choice((-1, 1))
        reason = (REASONS.index("too dark" if sign < 0 else "too bright"),)
        pair = [Copy(exposed(base.pixels, sign * s), exposure_at_most(s), reason) for s in (first, second)]
        if rng.random() < 0.4:
            pair[1] = _doubled(base, pair[0], labels, rng)
    elif kind == 1:
        first = int(rng.integers(15, 96))
        second = int(rng.integers(4, max(5, first * 2 // 3)))
        reason = REASONS.index("compression")
        pair = [Copy(jpeg(base.pixels, q), PRISTINE, (NONE if q > 80 else reason,)) for q in (first, second)]
    elif kind == 2:
        first = rng.uniform(0.7, 4)
        pair = [
            Copy(blurred(base.pixels, first * k), PRISTINE, (REASONS.index("blur"),))
            for k in (1, rng.uniform(1.5, 3))
        ]
    else:
        first = rng.uniform(4, 18)
        pair = [
            Copy(noisy(base.pixels, first * k, rng), PRISTINE, (REASONS.index("noise"),))
            for k in (1, rng.uniform(1.4, 2.2))
        ]
    return _worse(base, pair, labels)


def _worse(base: Copy, pair: list[Copy], labels: Labels) -> list[Copy]:
    """Under the full-reference score, where that is lower than what is known already; the second below the first."""
    first, second = (
        replace(each, score=float(np.clip(labels.full_reference(base.pixels, each.pixels), GAP, each.score)))
        for each in pair
    )
    return [first, replace(second, score=max(min(second.score, first.score - GAP), GAP))]


def make_cards(rng: np.random.Generator) -> Group:
    """GROUP pictures with nothing to judge: one colour, or nearly so, with a slight gradient or noise."""
    return Group(tuple(_card(rng) for _ in range(GROUP)), ())


def _card(rng: np.random.Generator) -> Copy:
    height, width = rng.integers(MIN_SIDE, 700, 2)
    grey = rng.random() < 0.6
    ends = rng.choice((0.0, 255.0)) if rng.random() < 0.4 else rng.uniform(0, 255)
    color = np.full(3, ends) if grey else rng.uniform(0, 255, 3)
    slope = rng.uniform(-1, 1, 2) * (rng.random() < 0.4) * 12
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    noise = rng.standard_normal((height, width, 1)) * (rng.random() < 0.3) * rng.uniform(0.3, 2)
    pixels = (color + slope[0] * y + slope[1] * x + noise + 0.5).clip(0, 255).astype(np.uint8)
    level = float(pixels.mean())
    reason = "too dark" if level < 40 else "too bright" if level > 215 else "low contrast"
    return Copy(pixels, CARD_SCORE, (REASONS.index(reason),))
