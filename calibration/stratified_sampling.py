"""Which kinds of image there are, and how to take some of each: literal bins, then round-robin over strata.

A stratum is one combination of bins. Quantization ranges come from extremes, so a rare kind of image counts as
much as a common one: strata take turns. Where there are more strata than images to choose, turns go first to
the strata whose bins were chosen least, so that every bin that exists is covered as early as it can be.
Inside a stratum, images of a reference that was not chosen yet go first.
"""

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from calibration.photos import Photo, Stratum
from mobileiqa.errors import UserError
from mobileiqa.text import table

Bins = tuple[tuple[float, str], ...]  # (upper edge, name): the first bin whose edge lies above the value
Coverage = dict[str, dict[str, int]]  # property -> bin -> images

RESOLUTION: Bins = ((0.5, "<0.5 MP"), (2, "0.5-2 MP"), (8, "2-8 MP"), (math.inf, ">=8 MP"))
# Means of luma. Of 257 photographs and charts, 3 % were dark, 22 % dim, 29 % middle, 33 % light, 13 % bright.
LUMINANCE: Bins = ((0.2, "dark"), (0.35, "dim"), (0.5, "middle"), (0.7, "light"), (math.inf, "bright"))
SCORE_BINS = 5  # of equal width between the lowest and the highest score: predictions crowd in the middle
UNKNOWN = "unknown"
_BAR = 40  # characters of the longest bar of a table


def bin_of(value: float, bins: Bins) -> str:
    """The name of the first bin whose upper edge lies above the value."""
    return next(name for edge, name in bins if value < edge)


def score_bins(scores: Sequence[float]) -> Bins:
    """SCORE_BINS bins of equal width from the lowest to the highest score; one where all are equal."""
    low, high = min(scores), max(scores)
    if low == high:
        return ((math.inf, f"{low:.3g}"),)
    edges = [low + (high - low) * i / SCORE_BINS for i in range(SCORE_BINS + 1)]
    names = [f"{a:.4g}..{b:.4g}" for a, b in pairwise(edges)]
    return tuple(zip([*edges[1:-1], math.inf], names, strict=True))


def assign(photos: Sequence[Photo]) -> list[Photo]:
    """The photos with their strata. Score and distortion take part where at least one image has them."""
    scores = [photo.score for photo in photos if photo.score is not None]
    bins = score_bins(scores) if scores else ()
    distorted = any(photo.distortion for photo in photos)
    return [replace(photo, stratum=_stratum(photo, bins, distorted)) for photo in photos]


def _stratum(photo: Photo, scores: Bins, distorted: bool) -> Stratum:
    values = {
        "resolution": bin_of(photo.megapixels, RESOLUTION),
        "luminance": bin_of(photo.luminance, LUMINANCE),
    }
    if scores:
        values["score"] = UNKNOWN if photo.score is None else bin_of(photo.score, scores)
    if distorted:
        values["distortion"] = photo.distortion or UNKNOWN
    return tuple(values.items())


def choose(photos: Sequence[Photo], count: int, seed: int) -> list[Photo]:
    """`count` photos in the order chosen; depends on ids, strata, count and seed, not on the photos' order.

    Equal seeds nest: the choice of 32 is the start of the choice of 64. Raises UserError for fewer photos.
    """
    if count > len(photos):
        raise UserError(f"{count} images to choose", f"{len(photos)}", "lower --count or add images")
    strata = _shuffled(photos, seed)
    taken: Counter[Stratum] = Counter()
    covered: Counter[tuple[str, str]] = Counter()
    references: Counter[str] = Counter()
    selection: list[Photo] = []
    while len(selection) < count:
        stratum = min(
            strata, key=lambda s: (taken[s], min(covered[b] for b in s), sum(covered[b] for b in s))
        )
        selection.append(_next(strata[stratum], references))
        taken[stratum] += 1
        covered.update(stratum)
        if not strata[stratum]:
            del strata[stratum]
    return selection


def _next(members: list[Photo], references: Counter[str]) -> Photo:
    """Takes out the first photo of the least used reference; photos without one count as their own."""
    photo = min(members, key=lambda photo: references[photo.reference or photo.id])
    members.remove(photo)
    references[photo.reference or photo.id] += 1
    return photo


def _shuffled(photos: Sequence[Photo], seed: int) -> dict[Stratum, list[Photo]]:
    """The photos by stratum, both in an order drawn by the seed."""
    strata: defaultdict[Stratum, list[Photo]] = defaultdict(list)
    for photo in sorted(photos, key=lambda photo: photo.id):
        strata[photo.stratum].append(photo)
    names = sorted(strata)
    order = np.random.default_rng(seed).permutation(len(names))
    return {names[i]: _drawn(strata[names[i]], names[i], seed) for i in order}


def _drawn(members: list[Photo], stratum: Stratum, seed: int) -> list[Photo]:
    """A stratum's own seed keeps its order when another stratum gains an image."""
    rng = np.random.default_rng([seed, zlib.crc32(repr(stratum).encode())])
    return [members[i] for i in rng.permutation(len(members))]


def coverage(photos: Sequence[Photo]) -> Coverage:
    """How many photos lie in each bin of each property, bins in the order of their tables, else sorted."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for photo in photos:
        for name, bins in photo.stratum:
            counts[name][bins] += 1
    return {name: {b: bins[b] for b in sorted(bins, key=_rank)} for name, bins in counts.items()}


def _rank(name: str) -> tuple[float, str]:
    ranks = {name: i for bins in (RESOLUTION, LUMINANCE) for i, (_, name) in enumerate(bins)}
    if name in ranks:
        return ranks[name], name
    try:
        return float(name.split("..")[0]), name  # a score bin, by its lower edge
    except ValueError:
        return math.inf, name


def coverage_lines(selection: Coverage, candidates: Coverage) -> list[str]:
    """A block per property: bin, images, of how many candidates, bar. Bins without any image are shown, too."""
    rows = []
    for name in candidates or selection:
        offered, counts = candidates.get(name, {}), selection.get(name, {})
        bins = {**dict.fromkeys(offered, 0), **counts}
        most = max(bins.values(), default=0) or 1
        rows.append([name, "images", "candidates", ""])
        for each, count in bins.items():
            rows.append(
                [f"  {each}", str(count), str(offered.get(each, "-")), "#" * round(_BAR * count / most)]
            )
    return table(rows, left=(0, 3)).splitlines() if rows else []
