"""Chooses the images that calibrate an INT8 model: python -m calibration.select --images DIR --model NAME.

Seeded and stratified by resolution, luminance and, where they are known, score and distortion. Left out: copies
of another image, what the test split knows, and what the labels hold out for testing or do not list. Writes
OUT/manifest.json, which refers to the images by hash. Without --images the set is generated, which every output
says: good for a first look, not for a phone.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from calibration import leakage
from calibration import stratified_sampling as sampling
from calibration.checks import ADVISED, FEWEST
from calibration.inference import prepared_sha256
from calibration.labels import Labelled, with_labels, with_scores
from calibration.leakage import Match
from calibration.photos import Photo, Unreadable, read_folder, refuse_unreadable
from calibration.sets import MANIFEST, CalibrationSet, generated, save
from calibration.stratified_sampling import coverage_lines
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.files.outputs import entries
from mobileiqa.model_source import resolve
from mobileiqa.preprocess import prepare
from mobileiqa.spec import ModelSpec
from mobileiqa.text import printable

SHOWN = 10  # of the images that were left out
COPIES = "images"  # where --copy puts them, inside --out


@dataclass(frozen=True)
class Sources:
    """Where candidates come from and what is known of them."""

    images: Path
    scores: Path | None = None
    labels: Path | None = None
    test_split: Path | None = None
    skip_unreadable: bool = False


@dataclass(frozen=True)
class Selection:
    """What was chosen, from what, and what was left out."""

    calibration: CalibrationSet
    candidates: sampling.Coverage  # of all that could have been chosen
    count: int  # of candidates
    unreadable: tuple[Unreadable, ...] = ()
    left_out: tuple[Match, ...] = ()
    notes: tuple[str, ...] = ()

    def report(self) -> dict[str, Any]:
        """What the manifest says about the choice, beside the set itself."""
        return {
            "notes": list(self.notes),
            "candidates": self.count,
            "candidate_coverage": self.candidates,
            "unreadable": [asdict(image) for image in self.unreadable],
            "left_out": [asdict(match) for match in self.left_out],
            "near_duplicates": [asdict(match) for match in leakage.near_duplicates(self.calibration.images)],
        }


def select(sources: Sources, spec: ModelSpec, count: int, seed: int) -> Selection:
    """`count` images for `spec`. Raises UserError where too few remain, and for every kind of bad input."""
    folder = sources.images
    if not folder.is_dir():
        kind = "a file" if folder.exists() else "nothing"
        raise UserError("a folder of images", f"{kind} at {folder}", "correct --images")
    photos, broken = read_folder(folder, "measuring")
    refuse_unreadable(broken, len(photos) + len(broken), sources.skip_unreadable)
    described = _described(photos, sources)
    listed = [p for p in described.photos if p.id not in described.unlisted]
    held = [p for p in listed if p.id in described.held_out]
    photos = [p for p in listed if p.id not in described.held_out]
    test, out = _test_images(sources)
    known = leakage.leaks(photos, [*held, *test])
    distinct, copies = leakage.without_duplicates(_without(photos, known))
    left_out = [*_told(described, sources), *known, *copies]
    broken += out
    _check_enough(distinct, count, left_out, broken)
    candidates = sampling.assign(distinct)
    images = [_prepared(photo, folder, spec) for photo in _progress(sampling.choose(candidates, count, seed))]
    kind = CalibrationSet(spec, seed, tuple(images), folder)
    return Selection(
        kind, sampling.coverage(candidates), len(candidates), tuple(broken), tuple(left_out), described.notes
    )


def _described(photos: Sequence[Photo], sources: Sources) -> Labelled:
    """The photos with labels, then with scores: --scores' scores win."""
    labelled = Labelled(tuple(photos))
    if sources.labels is not None:
        labelled = with_labels(photos, sources.images, sources.labels)
    if sources.scores is not None:
        scored = with_scores(labelled.photos, sources.images, sources.scores)
        labelled = replace(labelled, photos=scored.photos, notes=scored.notes)
    return labelled


def _told(described: Labelled, sources: Sources) -> list[Match]:
    """What the labels themselves leave out."""
    kinds = {"unlisted": described.unlisted, "split": described.held_out}
    return [Match(name, str(sources.labels), kind) for kind, names in kinds.items() for name in sorted(names)]


def _test_images(sources: Sources) -> tuple[list[Photo], list[Unreadable]]:
    if sources.test_split is None:
        return [], []
    test, broken = leakage.read_test_split(sources.test_split)
    refuse_unreadable(broken, len(test) + len(broken), sources.skip_unreadable)
    return test, broken


def _without(photos: Sequence[Photo], matches: Sequence[Match]) -> list[Photo]:
    gone = {match.image for match in matches}
    return [photo for photo in photos if photo.id not in gone]


def _check_enough(
    distinct: Sequence[Photo], count: int, left_out: Sequence[Match], broken: Sequence[Unreadable]
) -> None:
    if count <= len(distinct):
        return
    reasons = [f"{n} left out: {kind}" for kind, n in _kinds(left_out).items()]
    reasons += [f"{len(broken)} unreadable"] if broken else []
    shortage = f"{len(distinct)} ({', '.join(reasons)})" if reasons else f"{len(distinct)}"
    raise UserError(f"{count} images to choose from", shortage, "add images, or lower --count")


def _kinds(matches: Sequence[Match]) -> dict[str, int]:
    return dict(sorted(Counter(match.kind for match in matches).items()))


def _prepared(photo: Photo, folder: Path, spec: ModelSpec) -> Photo:
    return replace(photo, prepared_sha256=prepared_sha256(prepare(folder / photo.id, spec)))


def _progress(photos: Sequence[Photo]) -> list[Photo]:
    return list(cli.progress(photos, "preparing", len(photos)))


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        __doc__ or "",
        "python -m calibration.select --images photos/ --model mobilenet-iqa --count 64 --seed 0 --out calib",
    )
    add = parser.add_argument
    add(
        "--images",
        type=cli.input_path,
        metavar="DIR",
        help="choose from the images below; none: generated ones",
    )
    add("--model", metavar="MODEL", help="a name, .tflite file or checkpoint; default: the reference model")
    add("--size", metavar="WxH", help="the model's input size, if not its own; WxH,WxH for two inputs")
    add("--count", type=int, default=64, metavar="N", help="images to choose (default 64)")
    add("--seed", type=int, default=0, metavar="S", help="default 0")
    add("--out", type=Path, required=True, metavar="DIR", help=f"write {MANIFEST} here")
    add("--scores", type=Path, metavar="CSV", help="image,score as python -m mobileiqa.score writes them")
    add("--labels", type=Path, metavar="CSV", help="image,score[,split,reference,distortion,distortion_name]")
    add(
        "--test-split",
        type=cli.input_path,
        metavar="PATH",
        help="folder or label CSV: choose nothing that is in it",
    )
    add("--copy", action="store_true", help=f"copy the chosen images to OUT/{COPIES}")
    add("--skip-unreadable", action="store_true", help="leave out, and list, images that cannot be read")
    add("--force", action="store_true", help="replace an earlier selection in --out")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    _check(args)
    spec = resolve(args.model).spec()
    spec = spec.sized(args.size) if args.size else spec
    if args.images is None:
        calibration = generated(args.count, args.seed, spec)
        selection = Selection(calibration, calibration.coverage, len(calibration.images))
    else:
        sources = Sources(args.images, args.scores, args.labels, args.test_split, args.skip_unreadable)
        selection = select(sources, spec, args.count, args.seed)
    _write(selection, args.out, args.copy)
    _show(selection, args.out)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.count < 1 or args.seed < 0:
        request = f"--count {args.count} --seed {args.seed}"
        raise UserError("--count of 1 or more and --seed of 0 or more", request, "correct them")
    needing = [name for name in ("scores", "labels", "test_split", "copy") if getattr(args, name)]
    if args.images is None and needing:
        flag = "--" + needing[0].replace("_", "-")
        raise UserError(f"--images with {flag}", f"{flag} alone", "name the folder of images")
    cli.refuse_existing_in(args.out, [MANIFEST, *([COPIES] if args.copy else [])], args.force)
    if args.copy and args.out.resolve().is_relative_to(args.images.resolve()):
        raise UserError("--out outside --images with --copy", str(args.out), "copies would become candidates")


def _write(selection: Selection, out: Path, copy: bool) -> None:
    """The manifest, with `copy` also the images, in a folder that appears whole or not at all."""
    with entries(out) as staged:
        if copy:
            _copy(selection.calibration, staged / COPIES)
            selection = replace(selection, calibration=replace(selection.calibration, folder=out / COPIES))
        save(selection.calibration, staged, selection.report(), place=out)


def _copy(calibration: CalibrationSet, folder: Path) -> None:
    assert calibration.folder is not None
    for photo in cli.progress(calibration.images, "copying"):
        (folder / photo.id).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(calibration.folder / photo.id, folder / photo.id)


def _show(selection: Selection, out: Path) -> None:
    calibration, near = selection.calibration, leakage.near_duplicates(selection.calibration.images)
    warnings = [calibration.warning] if calibration.warning else []
    warnings += [f"note: {note}" for note in selection.notes]
    warnings += _first([f"chosen, but {match}" for match in near])
    if len(calibration.images) < ADVISED:
        warnings.append(
            f"{len(calibration.images)} images are few: {ADVISED} or more are advised, {FEWEST} are needed"
        )
    for line in coverage_lines(calibration.coverage, selection.candidates):
        cli.say(printable(line))
    for line in _first([f"left out: {match}" for match in selection.left_out]) + warnings:
        cli.say(printable(line))
    cli.emit(
        {
            "out": str(out / MANIFEST),
            "model": calibration.spec_name,
            "images": len(calibration.images),
            "candidates": selection.count,
            "unreadable": len(selection.unreadable),
            "left_out": _kinds(selection.left_out),
            "near_duplicates": len(near),
            "generated": calibration.generated,
            "warning": calibration.warning,
            "sha256": calibration.sha256,
        }
    )


def _first(lines: list[str]) -> list[str]:
    rest = [f"... and {len(lines) - SHOWN} more, see {MANIFEST}"] if len(lines) > SHOWN else []
    return lines[:SHOWN] + rest


if __name__ == "__main__":
    sys.exit(main())
