"""Does `mobileiqa best` keep the right photo? Generated bursts of several photos, an absolute score beside it.

    python benchmarks/burst.py --photos photos/ --markdown benchmarks/BURST.md

A burst is one photo as it is and others that are a little worse, each cut out of the scene elsewhere, as a hand moves,
with noise of its own and as a JPEG. The right keeper is the one that was not made worse.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.table import markdown
from mobileiqa import cli
from mobileiqa.best import rank
from mobileiqa.distortions.detail import motion_blur
from mobileiqa.fragments import Pixels
from mobileiqa.loaded_model import LoadedModel, load_scorer, score_image
from mobileiqa.photos.loading import load_image
from mobileiqa.photos.search import find_images
from mobileiqa.training.damage import blurred, exposed, jpeg, noisy

AIM = 0.95
LONGER_PX = 1000  # of the photos, reduced, so that they are sharp at their pixels
SHIFT_PX = 24  # of a hand between photos, at most, each way
SENSOR = 1.5  # deviation of every photo's own noise, in grey levels
QUALITY = 92
Damage = Callable[[Pixels, np.random.Generator], Pixels]


def _blur(sigma: float) -> Damage:
    return lambda pixels, rng: blurred(pixels, sigma)


def _shake(length: float) -> Damage:
    return lambda pixels, rng: motion_blur(pixels, length, rng)


def _expose(stops: float) -> Damage:
    return lambda pixels, rng: exposed(pixels, stops)


def _noise(sigma: float) -> Damage:
    return lambda pixels, rng: noisy(pixels, sigma, rng)


KINDS: dict[str, tuple[Damage, ...]] = {
    "blur of 0.6, 0.9, 1.3 pixels": (_blur(0.6), _blur(0.9), _blur(1.3)),
    "shake of 3, 5, 8 pixels": (_shake(3), _shake(5), _shake(8)),
    "noise of 4, 7, 11 grey levels": (_noise(4), _noise(7), _noise(11)),
    "exposure of -0.8, -0.4, +0.4, +0.8 stops": (_expose(-0.8), _expose(-0.4), _expose(0.4), _expose(0.8)),
    "one of each": (_blur(0.8), _shake(4), _noise(6), _expose(0.5), _expose(-0.5)),
}
# The median of such a burst is not what was metered, and nothing else in it says what was; it does not count.
ONE_SIDED: dict[str, tuple[Damage, ...]] = {
    "exposure of -0.4, -0.8, -1.2 stops": (_expose(-0.4), _expose(-0.8), _expose(-1.2)),
    "exposure of +0.4, +0.8, +1.2 stops": (_expose(0.4), _expose(0.8), _expose(1.2)),
}


@dataclass(frozen=True)
class Count:
    """Bursts of a kind, and in how many of them each way kept the right photo."""

    kind: str
    bursts: int
    compared: int
    absolute: int


def burst_of(
    photo: Pixels, damages: Sequence[Damage], rng: np.random.Generator
) -> list[tuple[str, Image.Image]]:
    """The photo as it is, named "0", and damaged ones, "1" to "n", in any order."""
    height, width = (length - 2 * SHIFT_PX for length in photo.shape[:2])
    photos = []
    for number, damage in enumerate((lambda pixels, rng: pixels, *damages)):
        left, top = (int(each) for each in rng.integers(0, 2 * SHIFT_PX + 1, 2))
        part = damage(photo, rng)[top : top + height, left : left + width]
        photos.append((str(number), Image.fromarray(jpeg(noisy(part, SENSOR, rng), QUALITY))))
    return [photos[i] for i in rng.permutation(len(photos))]


def count(
    photos: Sequence[Path], kind: str, damages: Sequence[Damage], scorer: LoadedModel, seed: int
) -> Count:
    """One burst of each photo."""
    compared = absolute = 0
    for number, path in enumerate(photos):
        rng = np.random.default_rng([seed, number])
        image = load_image(path)
        image.thumbnail((LONGER_PX, LONGER_PX), Image.Resampling.LANCZOS)
        burst = burst_of(np.asarray(image), damages, rng)
        rows, _ = rank(burst, scorer)
        scores = {name: score_image(name, each, scorer).score or 0.0 for name, each in burst}
        compared += rows[0].image == "0"
        absolute += max(scores, key=lambda name: scores[name]) == "0"
    return Count(kind, len(photos), compared, absolute)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit 1 where fewer than AIM of the bursts of KINDS keep the right photo."""
    parser = cli.parser(__doc__ or "", "python benchmarks/burst.py --photos photos/")
    parser.add_argument(
        "--photos", nargs="+", type=Path, required=True, metavar="PATH", help="photos to damage"
    )
    parser.add_argument("--model", metavar="MODEL", help="as of score; default: the packaged file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, metavar="MD", help="write the table here")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    photos, scorer = find_images(arguments.photos), load_scorer(arguments.model)
    counts = [count(photos, kind, damages, scorer, arguments.seed) for kind, damages in _progress(KINDS)]
    others = [count(photos, kind, damages, scorer, arguments.seed) for kind, damages in _progress(ONE_SIDED)]
    bursts, compared, absolute = (
        sum(getattr(each, name) for each in counts) for name in ("bursts", "compared", "absolute")
    )
    whole = Count("all of these", bursts, compared, absolute)
    if arguments.markdown:
        cli.write_text(arguments.markdown, page(photos, [*counts, whole], others, scorer))
    for each in [*counts, whole, *others]:
        cli.say(f"{each.kind}: {each.compared} of {each.bursts}; by the absolute score {each.absolute}")
    cli.emit({"bursts": bursts, "right": compared / bursts, "right_by_score": absolute / bursts})
    return 0 if compared >= AIM * bursts else 1


def _progress(kinds: dict[str, tuple[Damage, ...]]) -> Iterator[tuple[str, tuple[Damage, ...]]]:
    yield from cli.progress(list(kinds.items()), "kinds of bursts")


def page(
    photos: Sequence[Path], counts: Sequence[Count], others: Sequence[Count], scorer: LoadedModel
) -> str:
    """benchmarks/BURST.md."""
    head = ["bursts: the photo and", "right keeper, `mobileiqa best`", "by the absolute score"]
    rows, more = (
        [
            [each.kind, f"{each.compared} of {each.bursts}", f"{each.absolute} of {each.bursts}"]
            for each in group
        ]
        for group in (counts, others)
    )
    return f"""# Which photo of a burst to keep

`python benchmarks/burst.py`: one burst of each of {len(photos)} photos (reduced to {LONGER_PX} pixels) for each kind,
with `{scorer.spec.name}`. Every photo of a burst is cut out up to {SHIFT_PX} pixels elsewhere, has noise of its own
({SENSOR} grey levels) and is a JPEG of quality {QUALITY}; the right keeper is the one that was not made worse.

{markdown(head, rows)}

An absolute score is moved by what the cut shows; `mobileiqa best` compares what all photos show.

Where all other photos are darker, or all are brighter, the burst's median exposure is not the metered one, and
`mobileiqa best` keeps a photo near the median: take the score there. These do not count above:

{markdown(head, more)}
"""


if __name__ == "__main__":
    raise SystemExit(main())
