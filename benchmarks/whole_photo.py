"""Does a model read the whole photo? What must hold, measured on photos that were not trained on.

    python benchmarks/whole_photo.py reference --photos photos/ large/ --held-out val/ --severity severity.csv

Two parts. `--photos`, at full size: damage of a part, strengths of JPEG, exposure, noise and a second distortion must
lower the score, turning, mirroring and halving must not. `--held-out`, with KADID-10k's 25 distortions x 5 levels:
correlation with its mean human scores, order within a distortion, and whether the first reason is the right one.
Nobody rated these photos: the labels are of the distortion and level.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.table import markdown
from mobileiqa import cli
from mobileiqa.distortions import kadid10k
from mobileiqa.distortions.kadid10k import DISTORTIONS, distort
from mobileiqa.errors import UserError
from mobileiqa.files.integrity import sha256
from mobileiqa.fragments import Pixels
from mobileiqa.model_source import resolve
from mobileiqa.photos.loading import load_image
from mobileiqa.photos.search import find_images
from mobileiqa.reasons import NONE, REASONS, reason_of
from mobileiqa.training.damage import blurred, exposed, jpeg, with_noise
from mobileiqa.workers import process_pool

CENTRE_PX = 512
NOISE = 15.0  # deviation, of 255
SHARP = 0.7  # a photo that scores so much is called sharp
QUALITIES = (90, 50, 20, 8)
CARDS = {"black": 0, "white": 255, "grey": 128}
Answer = tuple[float, Sequence[float]]  # score, probabilities of the reasons (none: empty)
Scorer = Callable[[Pixels], Answer]


@dataclass(frozen=True)
class Check:
    """One line of what must hold: `figure` of `count` cases, and its limit."""

    name: str
    figure: float
    limit: float
    at_least: bool
    count: int

    @property
    def holds(self) -> bool:
        """Whether the figure is within its limit."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit 1 where something that must hold does not."""
    return cli.command(arguments(), measure, argv)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser(__doc__ or "", "python benchmarks/whole_photo.py reference --photos photos/")
    parser.add_argument("checkpoint", nargs="?", help="default: the reference checkpoint")
    add_photos(parser)
    parser.add_argument("--out", type=Path, metavar="PATH.json", help="the table goes beside it, as .md")
    parser.add_argument("--force", action="store_true", help="replace existing results")
    return parser


def add_photos(parser: argparse.ArgumentParser, limit: int = 0, workers: int = 1) -> None:
    """What `checked` measures on, and with how many processes."""
    add = parser.add_argument
    add("--photos", nargs="+", type=Path, default=[], metavar="PATH", help="photos at full size")
    add("--held-out", type=Path, metavar="DIR", help="pristine photos to distort")
    add("--severity", type=Path, metavar="CSV", help="KADID-10k's mean scores")
    add("--blur", type=float, default=12.0, metavar="PX", help="deviation (default %(default)s)")
    few = "the first N by name" if limit else "all"
    add("--limit", type=int, default=limit, metavar="N", help=f"photos of each part (default: {few})")
    add("--workers", type=int, default=workers, help="processes (default %(default)s)")


def measure(args: argparse.Namespace) -> int:
    """Scores, checks, prints and writes."""
    if args.out:
        cli.refuse_existing(args.out, args.force)
    if not args.photos and not args.held_out:
        raise UserError("--photos or --held-out", "neither", "name photos that were not trained on")
    if bool(args.held_out) != bool(args.severity):
        raise UserError("--held-out and --severity together", "one of them", "give both")
    checks, detail = checked(args.checkpoint, args)
    table = markdown(
        ["what must hold", "measured", "limit", "cases", "holds"], [_cells(check) for check in checks]
    )
    result = {
        "checkpoint": args.checkpoint or "reference",
        "sha256": (path := resolve(args.checkpoint).path) and sha256(path),
        "checks": [asdict(c) | {"holds": c.holds} for c in checks],
    }
    if args.out:
        cli.write_json(args.out, {**result, "blur_px": args.blur, **detail})
        args.out.with_suffix(".md").write_text(table + "\n")
    cli.say(table)
    cli.emit({**result, "json": str(args.out) if args.out else None})
    return int(not all(check.holds for check in checks))


def checked(checkpoint: str | None, args: argparse.Namespace) -> tuple[list[Check], dict[str, Any]]:
    """What must hold of a checkpoint on the photos of `args`, and the scores and figures that it comes from."""
    checks: list[Check] = []
    detail: dict[str, Any] = {}
    if args.photos:
        paths = find_images(args.photos)[: args.limit or None]
        work = partial(_photo_scores, checkpoint, args.blur)
        detail["photos"] = dict(zip([p.name for p in paths], _each(work, paths, args.workers), strict=True))
        detail["cards"] = card_answers(scorer(checkpoint))
        checks += photo_checks(list(detail["photos"].values()), detail["cards"])
    if args.held_out:
        paths = find_images([args.held_out])[: args.limit or None]
        work = partial(_held_out_rows, checkpoint, args.severity)
        rows = [row for part in _each(work, list(enumerate(paths)), args.workers) for row in part]
        checks += held_out_checks(rows)
        detail["within_distortion"] = within_distortion(rows)
        detail["reasons"] = reasons_by_distortion(rows)
    return checks, detail


def _cells(check: Check) -> list[str]:
    limit = f"{'>=' if check.at_least else '<='} {check.limit:g}"
    return [check.name, f"{check.figure:.4f}", limit, str(check.count), "yes" if check.holds else "**no**"]


def _each(work: Callable[[Any], Any], items: Sequence[Any], workers: int) -> list[Any]:
    """`work` of every item, in order."""
    if workers == 1:
        return [work(item) for item in cli.progress(items, "photos")]
    with process_pool(workers) as pool:
        return list(cli.progress(pool.map(work, items), "photos", len(items)))


def _photo_scores(checkpoint: str | None, blur_px: float, path: Path) -> dict[str, float]:
    return photo_scores(path, scorer(checkpoint), blur_px)


def _held_out_rows(checkpoint: str | None, table: Path, numbered: tuple[int, Path]) -> "list[Row]":
    return held_out_rows(*numbered, scorer(checkpoint), table)


@cache
def scorer(checkpoint: str | None) -> Scorer:
    """Score and reasons of uint8 (H, W, 3) pixels by a checkpoint of ours or a model's name."""
    import torch

    from mobileiqa.freed_memory import keep_freed_memory
    from mobileiqa.preprocess import prepare

    keep_freed_memory()
    torch.set_num_threads(1)  # of each worker
    model, spec = resolve(checkpoint).load()
    model = model.to(memory_format=torch.channels_last)

    def score(pixels: Pixels) -> Answer:
        inputs = [torch.from_numpy(x) for x in prepare(Image.fromarray(pixels), spec).values()]
        with torch.inference_mode():
            if not spec.reasons:
                return float(model(*inputs).mean()), ()
            value, reasons = model.forward_reasons(*inputs)
        return float(value[0]), reasons[0].tolist()

    return score


def photo_scores(path: Path, score: Scorer, blur_px: float) -> dict[str, float]:
    """The scores of a photo and of its variants, each made and scored in turn."""
    photo = np.asarray(load_image(path))
    return {name: score(np.ascontiguousarray(pixels))[0] for name, pixels in variants(photo, blur_px)}


def variants(photo: Pixels, blur_px: float) -> Iterator[tuple[str, Pixels]]:
    """(name, pixels) of the photo, its damaged versions and those that should score the same."""
    height, width = photo.shape[:2]
    soft = blurred(photo, blur_px)
    yield "original", photo
    yield "blurred", soft
    yield "centre sharp", _pasted(soft, photo, _centre(height), _centre(width))
    halves = [(slice(0, n // 2), slice(n // 2, n)) for n in (height, width)]
    for y, rows in enumerate(halves[0]):
        for x, columns in enumerate(halves[1]):
            yield f"quarter {2 * y + x + 1} blurred", _pasted(photo, soft, rows, columns)
    for quality in QUALITIES:
        yield f"JPEG {quality}", jpeg(photo, quality)
    yield "JPEG 20, blurred", blurred(jpeg(photo, 20), 3)
    for stops in (-2, 2):
        yield f"{stops:+d} stops", exposed(photo, stops)
    noise = _noisy(photo)
    yield "noise", noise
    yield "noise, JPEG 15", jpeg(noise, 15)
    yield "blurred, noise", _noisy(soft)
    for turns in (1, 2, 3):
        yield f"turned {90 * turns}", np.rot90(photo, turns)
    yield "mirrored", photo[:, ::-1]
    half = Image.fromarray(photo).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    yield "half size", np.asarray(half)


def _centre(length: int) -> slice:
    start = max(0, (length - CENTRE_PX) // 2)
    return slice(start, start + CENTRE_PX)


def _pasted(below: Pixels, above: Pixels, rows: slice, columns: slice) -> Pixels:
    out = below.copy()
    out[rows, columns] = above[rows, columns]
    return out


def _noisy(photo: Pixels) -> Pixels:
    return with_noise(photo, NOISE, 3, np.random.default_rng(0))


def card_answers(score: Scorer) -> dict[str, float]:
    """The scores of black, white and grey cards."""
    return {name: score(np.full((1200, 1600, 3), value, np.uint8))[0] for name, value in CARDS.items()}


def photo_checks(photos: Sequence[Mapping[str, float]], cards: Mapping[str, float]) -> list[Check]:
    """What must hold of full-size photos."""

    def lower(name: str, limit: float, *pairs: tuple[str, str]) -> Check:
        cases = [photo[worse] < photo[better] for photo in photos for better, worse in pairs]
        return Check(name, float(np.mean(cases)), limit, True, len(cases))

    part = [p["original"] - p["centre sharp"] >= 0.5 * (p["original"] - p["blurred"]) for p in photos]
    moves = [abs(p[f"turned {90 * t}"] - p["original"]) for p in photos for t in (1, 2, 3)]
    moves += [abs(p["mirrored"] - p["original"]) for p in photos]
    sharp = [abs(p["half size"] - p["original"]) for p in photos if p["original"] >= SHARP]
    levels = [f"JPEG {quality}" for quality in QUALITIES]
    return [
        Check("blurring all but the centre costs half of blurring all", float(np.mean(part)), 0.9, True, len(part)),
        lower("blurring a quarter lowers", 0.95, *(("original", f"quarter {i} blurred") for i in range(1, 5))),
        lower("JPEG 90 > 50 > 20 > 8", 0.95, *pairwise(levels)),
        lower("two stops lower", 0.9, ("original", "-2 stops"), ("original", "+2 stops")),
        lower("noise and a second distortion lower", 0.95, ("original", "noise"), ("noise", "noise, JPEG 15"),
              ("blurred", "blurred, noise"), ("JPEG 20", "JPEG 20, blurred")),
        Check("turned or mirrored: median change", float(np.median(moves)), 0.02, False, len(moves)),
        Check("turned or mirrored: 95 % change", float(np.quantile(moves, 0.95)), 0.05, False, len(moves)),
        Check("half-size copies of sharp photos: largest change", max(sharp, default=0.0), 0.1, False, len(sharp)),
        Check("black, white and grey cards: highest score", max(cards.values()), 0.15, False, len(cards)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One copy of a held-out photo; level 0 is the photo itself. reason: the first one's index, -1 without reasons."""

    photo: int
    distortion: int
    level: int
    label: float
    score: float
    reason: int


def held_out_rows(index: int, path: Path, score: Scorer, table: Path) -> list[Row]:
    """A photo, and every distortion and level of it."""
    labels = kadid10k.read_labels(table)
    photo = np.asarray(load_image(path))
    pristine = Row(index, 0, 0, 1.0, *_first(score(photo)))
    return [pristine] + [
        Row(index, *cell, label, *_first(score(distort(photo, *cell)))) for cell, label in labels.items()
    ]


def _first(answer: Answer) -> tuple[float, int]:
    return answer[0], int(np.argmax(answer[1])) if len(answer[1]) else -1


def held_out_checks(rows: Sequence[Row]) -> list[Check]:
    """What must hold of 25 distortions at 5 levels."""
    from mobileiqa.metrics import correlations

    cells = [row for row in rows if row.level]
    figures = correlations([row.score for row in cells], [row.label for row in cells])
    within = within_distortion(rows).values()
    pairs = list(_ordered_pairs(cells))
    checks = [
        Check("SRCC", figures.srcc, 0.93, True, len(cells)),
        Check("PLCC", figures.plcc, 0.93, True, len(cells)),
        Check(
            "distortions with SRCC >= 0.85 within",
            sum(value >= 0.85 for value in within),
            20,
            True,
            len(within),
        ),
        Check("pairs two levels apart in order", float(np.mean(pairs)), 0.97, True, len(pairs)),
    ]
    if any(row.reason >= 0 for row in rows):
        strong = [row.reason == reason_of(row.distortion, row.level) for row in cells if row.level >= 3]
        none = [row.reason == NONE for row in rows if not row.level]
        checks.append(
            Check("right reason first at levels 3 to 5", float(np.mean(strong)), 0.85, True, len(strong))
        )
        checks.append(
            Check(f"{REASONS[NONE]!r} for pristine photos", float(np.mean(none)), 0.9, True, len(none))
        )
    return checks


def within_distortion(rows: Sequence[Row]) -> dict[str, float]:
    """SRCC of the copies of each distortion."""
    from scipy import stats

    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row.level:
            groups[row.distortion].append(row)
    return {
        f"{number} {DISTORTIONS[number].name}": float(
            stats.spearmanr([r.score for r in group], [r.label for r in group]).statistic
        )
        for number, group in sorted(groups.items())
    }


def reasons_by_distortion(rows: Sequence[Row]) -> dict[str, float]:
    """How often the right reason came first at levels 3 to 5 of each distortion; empty without reasons."""
    right: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row.level >= 3 and row.reason >= 0:
            name = f"{row.distortion} {DISTORTIONS[row.distortion].name}"
            right[name].append(row.reason == reason_of(row.distortion, row.level))
    return {name: float(np.mean(each)) for name, each in right.items()}


def _ordered_pairs(rows: Sequence[Row]) -> Iterator[bool]:
    """Of each photo and distortion that gets worse with every level: is the score lower two or more levels on?"""
    table = {(row.photo, row.distortion, row.level): row.score for row in rows}
    for (photo, number, level), score in table.items():
        for other in range(level + 2, 6):
            if DISTORTIONS[number].monotone:
                yield table[photo, number, other] < score


if __name__ == "__main__":
    sys.exit(main())
