"""Which photo of a burst to keep: python -m mobileiqa.best FOLDER_OR_PHOTO... [--model MODEL].

An absolute score says how good a photo is, and moves with what the photo shows: between photos of one scene that
differ by a little blur or noise it often picks another. So the photos are aligned first, by a shift, as hands make it,
and each pair is compared on the part that all of them show:

- detail, in bits: how far fine contrast stands out of the noise, of which the flattest places of the scene say how much
  there is; blur and shake lower the contrast, noise buries it;
- the model's score of the common part, which knows colour and exposure too;
- exposure: how far a photo is from the burst's median, in stops: a camera's bracket lies on both sides of what it
  metered. Where all others are darker, or all brighter, the median is not what was metered, and one near it is kept.

Left out and said: photos of another size or scene. Rotation between views is not undone.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobileiqa import cli
from mobileiqa.errors import UserError, one_line
from mobileiqa.loaded_model import LoadedModel, load_scorer, score_image
from mobileiqa.photos.loading import read_image
from mobileiqa.photos.search import search_images
from mobileiqa.preprocess import what_is_read
from mobileiqa.scoring import litert
from mobileiqa.text import printable

COARSE_PX = 400  # the longer side at which shifts are looked for first
FINE_PX = 256  # side of the windows in which they are found to the pixel
SAME_SCENE = 0.7  # correlation of reduced brightness, aligned
WINDOW_PX = 32  # of detail
FLATTEST = 5  # per cent of the windows: what varies there is noise
UNSEEN = 4.0  # variance, in grey levels squared, that nobody sees
CLIPPED, SHADOW = 250, 16  # grey levels from which on, and below which, noise is cut off
SCORE_BITS = 2.0  # what the whole range of the model's score weighs beside detail
STOP_BITS = 2.0  # what a stop from the median weighs
_DISPLAY = 2.2  # brightness is about the power of this of a grey level

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Measure:
    """What is measured on the common part. noise: deviation in grey levels; stops: from the burst's median."""

    detail: float
    noise: float
    stops: float
    score: float
    reasons: dict[str, float] = field(default_factory=dict)

    def margin(self, other: "Measure", width: float) -> float:
        """How much better than `other` this is, in bits; `width`: of the model's score range, signed."""
        score = SCORE_BITS * (self.score - other.score) / width
        return self.detail - other.detail + score + STOP_BITS * (abs(other.stops) - abs(self.stops))


@dataclass(frozen=True)
class Ranked:
    """A photo's place. margin: mean over the others, in bits; shift: (right, down) in pixels against the first one."""

    image: str
    margin: float
    shift: tuple[int, int]
    measure: Measure
    why: str  # what it lacks that the best one has


def shift_between(first: Floats, second: Floats) -> tuple[int, int]:
    """(right, down) by which the content of `second` lies off that of `first`; phase correlation, equal shapes."""
    window = np.outer(np.hanning(first.shape[0]), np.hanning(first.shape[1]))
    one, other = (np.fft.rfft2((each - each.mean()) * window) for each in (first, second))
    cross = one.conj() * other
    size = np.abs(cross)
    peak = np.fft.irfft2(cross / (size + 1e-3 * size.mean() + 1e-12), first.shape).argmax()
    down, right = (int(i) for i in np.unravel_index(peak, first.shape))
    height, width = first.shape
    return (right + width // 2) % width - width // 2, (down + height // 2) % height - height // 2


def reduced(grey: Grey) -> tuple[Floats, int]:
    """Means of squares of the returned side, so that the longer side is about COARSE_PX."""
    side = max(1, max(grey.shape) // COARSE_PX)
    height, width = (length // side * side for length in grey.shape)
    blocks = grey[:height, :width].astype(np.float32).reshape(height // side, side, width // side, side)
    return blocks.mean((1, 3)), side


def align(first: Grey, second: Grey) -> tuple[tuple[int, int], float]:
    """The shift of `second` to the pixel, and how well its brightness then correlates with that of `first`."""
    (small, side), (other, _) = reduced(first), reduced(second)
    coarse = shift_between(small, other)
    correlation = _correlation(small, other, coarse)
    start = (coarse[0] * side, coarse[1] * side)
    if min(first.shape) <= FINE_PX or side == 1:
        return start, correlation
    fine = [
        _fine(first, second, start, across, down) for across in (0.3, 0.5, 0.7) for down in (0.3, 0.5, 0.7)
    ]
    right, down = (int(np.median(values)) for values in zip(*fine, strict=True))
    return (right, down), correlation


def _fine(first: Grey, second: Grey, start: tuple[int, int], across: float, down: float) -> tuple[int, int]:
    """The shift of one window, looked for around `start`."""
    height, width = first.shape
    left, top = int(across * (width - FINE_PX)), int(down * (height - FINE_PX))
    x = min(max(left + start[0], 0), width - FINE_PX)
    y = min(max(top + start[1], 0), height - FINE_PX)
    one, other = (
        grey[b : b + FINE_PX, a : a + FINE_PX].astype(np.float32)
        for grey, a, b in ((first, left, top), (second, x, y))
    )
    right, along = shift_between(one, other)
    return right + x - left, along + y - top


def _correlation(first: Floats, second: Floats, shift: tuple[int, int]) -> float:
    """Of what both show; 0 where that is less than a quarter."""
    height, width = first.shape
    (left, top, right, bottom) = common_part([(0, 0), shift], (width, height))
    if (right - left) * (bottom - top) < height * width / 4:
        return 0.0
    a = first[top:bottom, left:right]
    b = second[top + shift[1] : bottom + shift[1], left + shift[0] : right + shift[0]]
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if a.std() and b.std() else 0.0


def common_part(shifts: Sequence[tuple[int, int]], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom), in the first photo's pixels, of what photos of one `size` all show."""
    (width, height), across, down = size, [x for x, _ in shifts], [y for _, y in shifts]
    return -min(0, *across), -min(0, *down), width - max(0, *across), height - max(0, *down)


def detail_and_noise(parts: Sequence[Grey]) -> list[tuple[float, float]]:
    """(detail in bits, noise as a deviation in grey levels) of aligned photos of one shape."""
    energies, means = zip(*map(_windows, parts), strict=True)
    middle = np.all([(mean > SHADOW) & (mean < CLIPPED) for mean in means], axis=0)
    usable = middle if middle.sum() >= 20 else np.ones_like(middle)
    measures = []
    for energy in energies:
        noise = float(np.percentile(energy[usable], FLATTEST))
        bits = np.log2(1 + np.maximum(energy - noise, 0) / (noise + UNSEEN))
        measures.append((float(bits.mean()), (noise / 20) ** 0.5))  # 20: the filter's own gain of white noise
    return measures


def _windows(grey: Grey) -> tuple[Floats, Floats]:
    """Of each window: the mean square of the Laplacian, and the mean grey level."""
    values = grey.astype(np.float32)
    edges = np.zeros_like(values)
    edges[1:-1, 1:-1] = (
        4 * values[1:-1, 1:-1] - values[:-2, 1:-1] - values[2:, 1:-1] - values[1:-1, :-2] - values[1:-1, 2:]
    )
    height, width = (length // WINDOW_PX * WINDOW_PX for length in values.shape)
    shape = (height // WINDOW_PX, WINDOW_PX, width // WINDOW_PX, WINDOW_PX)
    energy = np.square(edges[:height, :width]).reshape(shape).mean((1, 3))
    return energy, values[:height, :width].reshape(shape).mean((1, 3))


def rank(
    photos: Sequence[tuple[str, Image.Image]], scorer: LoadedModel
) -> tuple[list[Ranked], dict[str, str]]:
    """The photos of one scene, the best first, and why others are left out. Names and upright RGB images.

    Raises UserError where fewer than two photos show one scene.
    """
    sizes = [photo.size for _, photo in photos]
    size = max(set(sizes), key=lambda each: (sizes.count(each), each))
    left_out = {name: "of another size ({}x{})".format(*p.size) for name, p in photos if p.size != size}
    same = [(name, photo) for name, photo in photos if photo.size == size]
    greys = [np.asarray(photo.convert("L")) for _, photo in same]
    shifts = _one_scene(greys)
    left_out |= {
        name: "of another scene" for (name, _), shift in zip(same, shifts, strict=True) if shift is None
    }
    burst = [
        (*pair, grey, shift)
        for pair, grey, shift in zip(same, greys, shifts, strict=True)
        if shift is not None
    ]
    box = common_part([shift for *_, shift in burst], size)
    if len(burst) < 2 or min(box[2] - box[0], box[3] - box[1]) < 3 * WINDOW_PX:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(
            "two or more photos of one scene", reasons or f"{len(burst)}", "name the photos of one burst"
        )
    measures = _measures(burst, box, scorer)
    low, high = scorer.spec.score_range
    width = (high - low) * (1 if scorer.spec.higher_is_better else -1)
    margins = [np.mean([m.margin(o, width) for o in measures if o is not m]) for m in measures]
    best = measures[int(np.argmax(margins))]
    rows = [
        Ranked(name, float(margin), shift, measure, "" if measure is best else _why(measure, best, width))
        for (name, _, _, shift), margin, measure in zip(burst, margins, measures, strict=True)
    ]
    return sorted(rows, key=lambda row: -row.margin), left_out


def _one_scene(greys: Sequence[Grey]) -> list[tuple[int, int] | None]:
    """Shifts against the first photo that at least half of the others match; None for those that do not match it."""
    best: list[tuple[int, int] | None] = []
    for first in greys:
        aligned = [((0, 0), 1.0) if grey is first else align(first, grey) for grey in greys]
        shifts = [shift if correlation >= SAME_SCENE else None for shift, correlation in aligned]
        if len(shifts) - shifts.count(None) > len(best) - best.count(None):
            best = shifts
        if 2 * best.count(None) <= len(best):
            break
    return best


def _measures(
    burst: Sequence[tuple[str, Image.Image, Grey, tuple[int, int]]],
    box: tuple[int, int, int, int],
    scorer: LoadedModel,
) -> list[Measure]:
    left, top, right, bottom = box
    parts = [grey[top + y : bottom + y, left + x : right + x] for _, _, grey, (x, y) in burst]
    stops = np.array([_DISPLAY * np.log2(max(part.mean(), 1)) for part in parts])
    stops -= np.median(stops)
    measures = []
    for (name, photo, _, (x, y)), (detail, noise), stop in cli.progress(
        list(zip(burst, detail_and_noise(parts), stops, strict=True)), "comparing"
    ):
        row = score_image(name, photo.crop((left + x, top + y, right + x, bottom + y)), scorer)
        if row.score is None:
            raise UserError(f"a score of {name}", row.error, "take another model")
        measures.append(Measure(detail, noise, float(stop), row.score, dict(row.reasons)))
    return measures


def _why(measure: Measure, best: Measure, width: float) -> str:
    """What the photo lacks most."""
    softer = "noisier" if measure.noise > 1.2 * best.noise + 0.2 else "softer"
    lacks = {
        softer: best.detail - measure.detail,
        "brighter" if measure.stops > best.stops else "darker": STOP_BITS
        * (abs(measure.stops) - abs(best.stops)),
        "lower score": SCORE_BITS * (best.score - measure.score) / width,
    }
    return max(lacks, key=lambda name: lacks[name])


def main(argv: list[str] | None = None) -> int:
    """The command. Exit 2 where fewer than two photos can be compared, or one that was named cannot."""
    parser = cli.parser(__doc__ or "", "python -m mobileiqa.best burst/")
    parser.add_argument("images", nargs="+", metavar="PHOTO_OR_FOLDER", help="photos of one scene")
    parser.add_argument("--model", metavar="MODEL", help="as of score; default: the packaged file")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default 1)")
    cli.add_weights(parser)
    return cli.command(parser, _run, argv)


def _run(args: argparse.Namespace) -> int:
    litert.check_threads(args.threads)
    search = search_images(args.images)
    scorer = load_scorer(args.model, args.threads, args.weights)
    scorer.require_parts()
    left_out: dict[str, str] = {}
    rows, others = rank(list(_read(search.images, scorer, left_out)), scorer)
    left_out |= others
    for line in table(rows, scorer):
        cli.say(line)
    if search.left_out:
        cli.warn(f"{search}")
    for name, reason in left_out.items():
        cli.warn(f"left out: {printable(name)}: {reason}")
    results = [{"rank": place, **asdict(row)} for place, row in enumerate(rows, 1)]
    cli.emit(
        {"best": rows[0].image, "model": scorer.spec.name, "note": scorer.note, "results": results,
         "left_out": left_out, "unread": dict(search.left_out)}
    )  # fmt: skip
    named = {str(Path(path)) for path in args.images}
    return 2 if named & set(left_out) else 0


def _read(
    paths: Sequence[Path], scorer: LoadedModel, left_out: dict[str, str]
) -> Iterator[tuple[str, Image.Image]]:
    """Name and pixels of each photo; of one that cannot be read, the reason into `left_out`."""
    for path in paths:
        try:
            yield str(path), read_image(path, scorer.spec.color_management)
        except UserError as error:
            left_out[str(path)] = one_line(str(error))


def table(rows: Sequence[Ranked], scorer: LoadedModel) -> list[str]:
    """The ranking for people; scores are of the common part."""
    head = f"{scorer.spec.name} reads {what_is_read(scorer.spec)}, of the part that all photos show"
    lines = [
        head,
        *([scorer.note] if scorer.note else []),
        f"{'':>3} {'margin':>7} {'detail':>7} {'score':>7}  {'':<11}  image",
    ]
    for place, row in enumerate(rows, 1):
        figures = f"{row.margin:>+7.3f} {row.measure.detail:>7.3f} {row.measure.score:>7.4f}"
        lines.append(f"{place:>3} {figures}  {row.why or 'keep':<11}  {printable(row.image)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
