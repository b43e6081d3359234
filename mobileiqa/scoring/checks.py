"""Whether scores can be what the model's spec says: inside its range, and not one number for every picture.

A damaged or miscompiled file computes without an error. Two signs of it cost nothing to look for.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from mobileiqa.files import integrity
from mobileiqa.spec import ModelSpec

# Of the range's width, on either side. A regressor that ends without a sigmoid passes the ends of its range on
# pictures unlike its training's, by a few hundredths; 8-bit and FP16 arithmetic adds less than that.
RANGE_MARGIN = 0.25
CONSTANT = 1e-6  # of the range's width: what different pictures' scores differ by at least
FEWEST_PICTURES = 3


def score_error(score: float, spec: ModelSpec) -> str:
    """Why `score` cannot be a score of the model, an empty string where it can be.

    It must be finite and, unless the weights are untrained, lie within `score_range` widened by RANGE_MARGIN.
    """
    if not math.isfinite(score):
        return f"the model's score is {score}"
    low, high = spec.score_range
    margin = RANGE_MARGIN * (high - low)
    if spec.untrained or low - margin <= score <= high + margin:
        return ""
    return (
        f"the model's score is {score:.6g}, outside {low:g}..{high:g} by more than {margin:g}: the file is damaged, "
        "its spec is another model's, or it was hardly trained"
    )


def constant_warning(scores: Sequence[float], pictures: Sequence[Path], spec: ModelSpec) -> str:
    """What to say of a folder whose different pictures all score the same, an empty string where they do not.

    scores: in the unit of `score_range`, one for each of `pictures`. Copies of one file are one picture.
    """
    low, high = spec.score_range
    if len(scores) < FEWEST_PICTURES or max(scores) - min(scores) > CONSTANT * (high - low):
        return ""
    different = len({integrity.sha256(path) for path in pictures})
    if different < FEWEST_PICTURES:
        return ""
    return (
        f"all {len(scores)} images, {different} different files, score {scores[0]:.6g}: the model does not see them; "
        "compare the file with its checkpoint (python -m convert.check)"
    )
