"""Looks at data sets before anything is trained on them: python -m mobileiqa.data describe NAME PATH.

`describe` reads a set exactly as training does and prints its counts, sides and scores; `list` says what each
set's folder must hold; `severity` averages KADID-10k's human scores for `python -m mobileiqa.distort`.
"""

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mobileiqa import cli
from mobileiqa.datasets.core import ALLOW_OUTSIDE, SPLIT_SEED
from mobileiqa.errors import UserError

OPENED = 24  # images that `describe` decodes to learn their sizes


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    return cli.command(_parser(), lambda args: args.command(args), argv)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        __doc__ or "", "python -m mobileiqa.data describe kadid-10k kadid10k/ --picture kadid.png"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    describe = commands.add_parser("describe", help="counts, split and score histogram of a set")
    describe.add_argument("name", metavar="NAME", help="a set that `list` names")
    describe.add_argument("path", type=Path, metavar="PATH", help="the set's folder")
    describe.add_argument(
        "--split-seed",
        type=int,
        default=SPLIT_SEED,
        metavar="N",
        help="draws the split (default %(default)s)",
    )
    describe.add_argument("--allow-outside", action="store_true", help=ALLOW_OUTSIDE)
    cli.add_json(describe, "the figures")
    describe.add_argument("--picture", type=Path, metavar="PATH.png", help="draw the scores here")
    describe.add_argument("--force", action="store_true", help="replace existing files")
    describe.set_defaults(command=_describe)

    severity = commands.add_parser("severity", help="mean human score per distortion and level, as CSV")
    severity.add_argument("path", type=Path, metavar="KADID_PATH", help="the folder of KADID-10k's dmos.csv")
    severity.add_argument("--out", type=Path, required=True, metavar="PATH.csv")
    severity.add_argument("--force", action="store_true", help="replace --out's file")
    severity.set_defaults(command=_severity)

    listing = commands.add_parser("list", help="the sets, and what each folder must hold")
    listing.set_defaults(command=_list)
    return parser


def _describe(args: argparse.Namespace) -> int:
    from mobileiqa.datasets import summary
    from mobileiqa.datasets.registry import read

    if args.picture is not None and args.picture.suffix.lower() != ".png":
        raise UserError("a path ending in .png", str(args.picture), "correct --picture")
    for out in filter(None, (args.json, args.picture)):
        cli.refuse_existing(out, args.force)
    dataset = read(args.name, args.path, args.split_seed, args.allow_outside)
    figures = summary.summarize(dataset)
    figures["sizes"] = summary.image_sizes(dataset, OPENED)
    for line in summary.as_text(figures):
        cli.say(line)
    cli.say()
    sizes = ", ".join(f"{size} ({count})" for size, count in figures["sizes"].items())
    cli.say(f"sizes of {sum(figures['sizes'].values())} images: {sizes}")
    if args.json is not None:
        cli.write_json(args.json, figures)
    if args.picture is not None:
        summary.draw(args.picture, figures)
    cli.emit({key: figures[key] for key in ("name", "images", "references", "raw_range", "splits")})
    return 0


def _severity(args: argparse.Namespace) -> int:
    cli.refuse_existing(args.out, args.force)
    rows = severities(args.path)
    write_severity(args.out, rows)
    cli.say(f"{len(rows)} distortions and levels in {args.out}")
    cli.emit({"out": str(args.out), "rows": len(rows), "ratings": sum(row.n_references for row in rows)})
    return 0


def _list(_: argparse.Namespace) -> int:
    from mobileiqa.datasets.registry import READERS

    for name, reader in READERS.items():
        cli.say(name)
        for what in ("images", "labels", "score", "split"):
            cli.say(f"  {what:<7} {getattr(reader, what)}")
    cli.emit({"datasets": list(READERS)})
    return 0


@dataclass(frozen=True)
class Severity:
    """Human scores of one distortion at one level; 1..5, higher is better."""

    distortion: int  # 1..25
    level: int  # 1..5, 1 is the mildest
    n_references: int
    mean_score: float
    std_score: float  # over those references (divided by n)


def severities(root: Path) -> list[Severity]:
    """One row per distortion and level of KADID-10k's dmos.csv in `root`, in order. Raises UserError."""
    from mobileiqa.datasets.labels import check_scores
    from mobileiqa.datasets.readers import KADID_SCALE, kadid_labels

    labels = kadid_labels(root)
    check_scores("kadid-10k", labels, KADID_SCALE)
    scores: dict[tuple[int, int], list[float]] = defaultdict(list)
    for label in labels:
        scores[label.distortion, label.level].append(label.score)
    return [
        Severity(*key, len(values), statistics.fmean(values), statistics.pstdev(values))
        for key, values in sorted(scores.items())
    ]


def write_severity(path: Path, rows: list[Severity]) -> None:
    """Writes rows as CSV with 4 decimals, atomically."""
    with cli.atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Severity))
        for row in rows:
            writer.writerow(f"{cell:.4f}" if isinstance(cell, float) else cell for cell in astuple(row))


if __name__ == "__main__":
    sys.exit(main())
