"""Makes a labelled training set from pristine images: python -m mobileiqa.distort PRISTINE_DIR --severity CSV.

Every image gets KADID-10k's 25 distortions at 5 levels, saved losslessly. The label of a distortion at a level
is the mean score that people gave it on KADID-10k's images: a transferred score, not a MOS. The folder that
is written reads back as the data set `folder`. It appears whole or not at all.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.files.outputs import whole_folder
from mobileiqa.photos.loading import load_image
from mobileiqa.photos.search import search_images
from mobileiqa.text import csv_text, integer
from mobileiqa.workers import process_pool

CONTENT = IMAGES, LABELS, ABOUT, SHEET = "images", "labels.csv", "dataset.json", "contact_sheet.html"
EARLIER_SHEET = "contact_sheet.png"  # which an earlier version wrote, where a search for images found it
COLUMNS = ("image", "score", "reference", "distortion", "level")
_PNG_EFFORT = 1  # 0..9: higher is a little smaller and much slower


@dataclass(frozen=True)
class Job:
    """One distortion of one image, at every level: what a worker does at once."""

    source: Path
    number: int
    levels: tuple[int, ...]
    seed: int
    folder: Path

    def target(self, level: int) -> Path:
        """Where the image of a level is saved."""
        return self.folder / f"{self.source.stem}_{self.number:02d}_{level}.png"


def main(argv: list[str] | None = None) -> int:
    """The command. Exit 2, with nothing written, when an input cannot be used."""
    parser = cli.parser(
        __doc__ or "", "python -m mobileiqa.distort pristine/ --severity severity.csv --out synthetic"
    )
    add = parser.add_argument
    add("pristine", type=cli.input_path, metavar="PRISTINE_DIR", help="a folder of undistorted images")
    add("--severity", type=Path, metavar="CSV", help="scores: columns distortion, level, mean_score")
    add("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    add("--distortions", default="1..25", metavar="LIST", help="such as 1,2,10 or 1..8 (default: all)")
    add("--levels", default="1..5", metavar="LIST", help="default: %(default)s")
    add("--seed", type=int, default=0, metavar="S", help="of noise, places and directions (default 0)")
    add("--workers", type=int, metavar="N", help="processes (default: one per core)")
    add("--force", action="store_true", help="replace --out, if this command wrote it")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    from mobileiqa.distortions import kadid10k

    if args.severity is None:
        raise UserError("--severity CSV, where the labels come from", "none", kadid10k.HOW_TO_MAKE)
    workers = (os.cpu_count() or 1) if args.workers is None else args.workers
    for flag, value, least in (("--workers", workers, 1), ("--seed", args.seed, 0)):
        if value < least:
            raise UserError(f"{flag} of {least} or more", str(value), f"correct {flag}")
    numbers = parse_numbers("--distortions", args.distortions, 25)
    levels = parse_numbers("--levels", args.levels, 5)
    scores = kadid10k.read_severity(args.severity)
    search = search_images([args.pristine])
    sources = search.images
    _check_out(args.out, sources, args.force)
    _check_sources(sources)
    with whole_folder(args.out) as folder:
        jobs = [Job(s, n, levels, args.seed, folder / IMAGES) for s in sources for n in numbers]
        _make(jobs, workers)
        _write_labels(folder / LABELS, jobs, scores)
        cli.write_json(folder / ABOUT, _about(args, sources, numbers, levels))
        _draw_sheet(folder / SHEET, jobs[: len(numbers)])
    count = len(jobs) * len(levels)
    cli.say(f"{count} images of {len(sources)} references in {args.out}")
    if search.left_out:
        cli.say(f"{args.pristine}: {search}")
    summary = {"images": count, "references": len(sources), "seed": args.seed, "left_out": search.left_out}
    cli.emit({"out": str(args.out), **summary})
    return 0


def parse_numbers(flag: str, text: str, highest: int) -> tuple[int, ...]:
    """The numbers of a list such as 1,4..6, ascending. Raises UserError for other text, and beyond 1..highest."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        try:
            span = range(integer(first), integer(last if dots else first) + 1)
        except ValueError:
            span = range(0)
        if not span or span[0] < 1 or span[-1] > highest:
            raise UserError(f"{flag} such as 1,3 or 1..{highest}", repr(text), f"correct {flag}")
        numbers.update(span)
    return tuple(sorted(numbers))


def _check_out(out: Path, sources: Sequence[Path], force: bool) -> None:
    """--force replaces what this command wrote, and never the pristine images or somebody's other files."""
    inside = [source for source in sources if out.resolve() in source.resolve().parents]
    if inside:
        raise UserError("--out away from the pristine images", f"{inside[0]} in it", "give another --out")
    cli.refuse_existing_folder(out, force)
    if out.exists():
        if not (out / ABOUT).is_file():
            raise UserError(f"a folder with {ABOUT} at {out}, to replace", "none", "give another --out")
        other = sorted(path.name for path in out.iterdir() if path.name not in (*CONTENT, EARLIER_SHEET))
        if other:
            raise UserError(
                f"nothing but {', '.join(CONTENT)} in {out}", other[0], "move it, or give another --out"
            )


def _check_sources(sources: Sequence[Path]) -> None:
    """Before anything is written: every image can be read, is large enough and has a name of its own."""
    from mobileiqa.distortions.kadid10k import MIN_PX

    name, count = Counter(source.stem for source in sources).most_common(1)[0]
    if count > 1:
        raise UserError("images of different names, without suffix", f"{count} called {name}", "rename one")
    for source in cli.progress(sources, "checking images", len(sources)):
        width, height = load_image(source).size
        if min(width, height) < MIN_PX:
            raise UserError(
                f"{MIN_PX} pixels or more a side in {source}", f"{width}x{height}", "leave it out"
            )


def _make(jobs: Sequence[Job], workers: int) -> None:
    jobs[0].folder.mkdir()
    with _mapper(workers) as run:
        for _ in cli.progress(run(distort_levels, jobs), "distorting", len(jobs)):
            pass


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterator[None]]]:
    """map, or the same over processes; those left when the block fails do not start."""
    if workers == 1:
        yield map
        return
    pool = process_pool(workers, _start_worker)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """The processes share the cores already."""
    import cv2

    cv2.setNumThreads(1)


def distort_levels(job: Job) -> None:
    """Saves the job's images."""
    import numpy as np
    from PIL import Image

    from mobileiqa.distortions.kadid10k import distort

    pixels = np.asarray(load_image(job.source))
    for level in job.levels:
        image = Image.fromarray(distort(pixels, job.number, level, job.seed))
        image.save(job.target(level), compress_level=_PNG_EFFORT)


def _write_labels(path: Path, jobs: Sequence[Job], scores: dict[tuple[int, int], float]) -> None:
    rows: list[tuple[Any, ...]] = [COLUMNS]
    for job in jobs:
        for level in job.levels:
            image = job.target(level).relative_to(path.parent).as_posix()
            score = f"{scores[job.number, level]:.4f}"
            rows.append((image, score, job.source.stem, job.number, level))
    path.write_bytes(csv_text(rows).encode("utf-8", "backslashreplace"))


def _about(
    args: argparse.Namespace, sources: Sequence[Path], numbers: Sequence[int], levels: Sequence[int]
) -> dict[str, Any]:
    from mobileiqa.checkpoint import sha256
    from mobileiqa.distortions.kadid10k import DISTORTIONS, SCORE_NAME, SCORE_RANGE
    from mobileiqa.training_record import pixel_key

    return {
        "score_name": SCORE_NAME,
        "range": list(SCORE_RANGE),
        "severity": {"file": args.severity.name, "sha256": sha256(args.severity)},
        "seed": args.seed,
        "references": len(sources),
        "reference_keys": {source.stem: pixel_key(load_image(source)) for source in sources},
        "distortions": {number: DISTORTIONS[number].name for number in numbers},
        "levels": list(levels),
    }


def _draw_sheet(path: Path, jobs: Sequence[Job]) -> None:
    """`jobs` are all of one image."""
    from mobileiqa.distortions import sheet
    from mobileiqa.distortions.kadid10k import DISTORTIONS

    levels = jobs[0].levels
    sheet.draw(
        path,
        [[job.source, *map(job.target, levels)] for job in jobs],
        [f"{job.number} {DISTORTIONS[job.number].name}" for job in jobs],
        ["reference", *(f"level {level}" for level in levels)],
        f"{jobs[0].source.name}, seed {jobs[0].seed}",
    )


if __name__ == "__main__":
    sys.exit(main())
