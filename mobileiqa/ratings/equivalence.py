"""How many votes a model is worth: KonIQ-10k's "as good as 9 votes", as a number.

Draw n of each image's votes without replacement, average them, and correlate the averages with the mean of the
image's other votes, or with a MOS column. The n whose SRCC is the model's is what the model is worth. The paper's
exact procedure is not public; this protocol gives its 9 for its .921. More votes are always better, so where few
images make the curve fall by chance, it is taken as flat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mobileiqa.errors import UserError
from mobileiqa.ratings.fitting import checked_votes

Values = NDArray[np.float64]
SIZES = (1, 2, 3, 5, 7, 8, 9, 10, 12, 15, 20, 30)
_SCALE = np.arange(1.0, 6.0)


@dataclass(frozen=True)
class VoteCurve:
    """SRCC (and PLCC) of the mean of n votes with what it was compared to."""

    votes: tuple[int, ...]
    srcc: tuple[float, ...]
    plcc: tuple[float, ...] = ()


# KonIQ-10k's 2015 test images, 10 draws: against the mean of the other votes, and against its MOS column.
KONIQ_REST = VoteCurve(
    SIZES,
    (0.6504, 0.7662, 0.8192, 0.8724, 0.9008, 0.9091, 0.9187, 0.9245, 0.9347, 0.9439, 0.9546, 0.9653),
    (0.6817, 0.7986, 0.8498, 0.8990, 0.9234, 0.9311, 0.9384, 0.9436, 0.9515, 0.9587, 0.9670, 0.9752),
)
KONIQ_MOS = VoteCurve(
    SIZES, (0.6543, 0.7722, 0.8238, 0.8790, 0.9071, 0.9160, 0.9252, 0.9313, 0.9418, 0.9516, 0.9629, 0.9742)
)


def equivalent_votes(srcc: float, curve: VoteCurve = KONIQ_REST) -> float:
    """The number of votes, between the curve's, whose mean reaches `srcc`; linear between two of them.

    Raises UserError where srcc lies outside the curve: it is not extrapolated.
    """
    if not curve.srcc[0] <= srcc <= max(curve.srcc):
        ends = (
            f"{curve.srcc[0]:.4f} ({curve.votes[0]} votes) to {max(curve.srcc):.4f} ({curve.votes[-1]} votes)"
        )
        raise UserError(f"an SRCC of {ends}", f"{srcc:g}", "the curve is not extrapolated")
    rising = np.maximum.accumulate(np.array(curve.srcc))
    return float(np.interp(srcc, rising, np.array(curve.votes, np.float64)))


def vote_curve(
    votes: ArrayLike,
    mos: ArrayLike | None = None,
    sizes: Sequence[int] = SIZES,
    draws: int = 10,
    seed: int = 0,
) -> VoteCurve:
    """The curve of whole votes (B, 5), the mean over `draws`; against `mos` (B,) if there is one, else the rest.

    Raises UserError for votes that are not whole, fewer than three images, an image with too few votes for the
    largest size, and a comparison whose side is constant.
    """
    counts = _whole(votes)
    largest = max(sizes) + (mos is None)
    if min(sizes) < 1 or draws < 1:
        raise ValueError(f"expected sizes and draws of 1 or more; found {tuple(sizes)}, {draws}")
    if counts.sum(1).min() < largest:
        image = int(counts.sum(1).argmin())
        raise UserError(
            f"at least {largest} votes for every image", f"{counts[image].sum()} for image {image}",
            "leave such images out, or draw fewer votes",
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    figures = [[_correlate(counts, n, mos, rng) for _ in range(draws)] for n in sizes]
    means = np.mean(figures, axis=1)
    return VoteCurve(tuple(sizes), tuple(map(float, means[:, 0])), tuple(map(float, means[:, 1])))


def sizes_for(votes: ArrayLike, against_mos: bool = False) -> tuple[int, ...]:
    """The sizes that leave every image of votes (B, 5) a vote to compare with. Raises UserError for none."""
    fewest = int(checked_votes(votes).sum(-1).min()) - (not against_mos)
    sizes = tuple(n for n in SIZES if n <= fewest)
    if len(sizes) < 2:
        raise UserError("at least 3 votes for every image", f"an image with {fewest + 1}", "leave it out")
    return sizes


def draw(counts: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n of each image's votes without replacement: counts (B, 5) -> (B, 5) that add up to n."""
    left, need = counts.sum(1), np.full(len(counts), n)
    columns = []
    for k in range(4):
        left = left - counts[:, k]
        columns.append(rng.hypergeometric(counts[:, k], left, need))
        need = need - columns[-1]
    return np.stack([*columns, need], 1)


def _correlate(
    counts: NDArray[np.int64], n: int, mos: ArrayLike | None, rng: np.random.Generator
) -> tuple[float, float]:
    from scipy.stats import rankdata

    drawn = draw(counts, n, rng)
    rest = counts - drawn
    x = drawn @ _SCALE / n
    y = rest @ _SCALE / rest.sum(1) if mos is None else np.asarray(mos, np.float64)
    if x.shape != y.shape or not np.isfinite(y).all():
        raise UserError(
            f"one finite MOS for each of {len(x)} images", f"shape {y.shape}", "correct the labels"
        )
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise UserError("images whose mean votes differ", "the same for all", "use more images")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1]), float(np.corrcoef(x, y)[0, 1])


def _whole(votes: ArrayLike) -> NDArray[np.int64]:
    counts = checked_votes(votes)
    if counts.ndim != 2 or len(counts) < 3:
        raise UserError("votes (B, 5) of at least 3 images", f"shape {counts.shape}", "use more images")
    if np.any(counts != np.round(counts)):
        image = int(np.argmax((counts != np.round(counts)).any(1)))
        raise UserError("whole votes, which can be drawn", f"fractions in image {image}", "give counts")
    return counts.astype(np.int64)
