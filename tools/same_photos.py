"""Training photos that show what a test photo shows: python -m tools.same_photos TRAIN... --held-out TEST...

Prints their file names, one a line, for --exclude of the commands that train; says which test photo each of them is.
The same file, the same pixels, and nearly the same picture (another size or JPEG quality) count, equal names do not.
"""

import argparse
import sys
from pathlib import Path

from mobileiqa import cli

EVIDENCE = ("file", "pixels", "near")  # of calibration.leakage.KINDS


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = cli.parser(__doc__ or "", "python -m tools.same_photos pristine/train --held-out pristine/val")
    parser.add_argument("photos", nargs="+", type=Path, metavar="TRAIN", help="folders that are trained on")
    parser.add_argument("--held-out", nargs="+", type=Path, required=True, metavar="TEST", help="folders")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    for line in same_photos(args.photos, args.held_out):
        cli.say(line)
    return 0


def same_photos(folders: list[Path], held_out: list[Path]) -> list[str]:
    """Names of the photos of `folders` that show what one of `held_out` shows. UserError as read_folder."""
    from calibration.leakage import leaks
    from calibration.photos import read_folder

    tested = [photo for folder in held_out for photo in read_folder(folder, f"reading {folder}")[0]]
    names = []
    for folder in folders:
        for match in leaks(read_folder(folder, f"reading {folder}")[0], tested):
            if match.kind in EVIDENCE:
                cli.note(f"left out: {match}")
                names.append(Path(match.image).name)
    return names


if __name__ == "__main__":
    sys.exit(main())
