"""What the benchmarks' commands share: the flags of their protocol, and where results go.

Results are OUT, as JSON, and a Markdown page beside it that is committed: int8.json, INT8.md.
"""

import argparse
from pathlib import Path
from typing import Any

from android_bench.results.interference import IfDisturbed
from mobileiqa import cli

FOLDER = Path(__file__).parent


def add_protocol(parser: argparse.ArgumentParser, launches: int = 3, of: str = "of every file") -> None:
    """--runs and --launches of android_bench's protocol."""
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="per launch (default %(default)s)")
    parser.add_argument(
        "--launches", type=int, default=launches, metavar="N", help=f"{of} (default %(default)s)"
    )


def add_if_disturbed(parser: argparse.ArgumentParser) -> None:
    """--if-disturbed: what to do with a launch that something else slowed down."""
    parser.add_argument(
        "--if-disturbed", choices=list(IfDisturbed), default=IfDisturbed.REPEAT, help="default %(default)s"
    )


def add_output(parser: argparse.ArgumentParser, name: str) -> None:
    """--out, by default benchmarks/NAME.json, and --force."""
    out = FOLDER / f"{name}.json"
    about = f"JSON; {page_of(out).name} goes beside it (default benchmarks/{out.name})"
    parser.add_argument("--out", type=Path, default=out, metavar="PATH.json", help=about)
    parser.add_argument("--force", action="store_true", help="replace existing results")


def page_of(out: Path) -> Path:
    """The Markdown page beside a JSON file: int8.json, INT8.md."""
    return out.with_name(f"{out.stem.upper()}.md")


def refuse_existing(args: argparse.Namespace, *others: Path) -> None:
    """UserError where a result is there already, before anything is measured; `others`: besides JSON and page."""
    for path in (args.out, page_of(args.out), *others):
        cli.refuse_existing(path, args.force)


def publish(out: Path, content: dict[str, Any], page: str, **last_line: Any) -> None:
    """Writes and prints what was measured; `last_line`: what it says besides the two paths."""
    cli.write_json(out, content)
    cli.write_text(page_of(out), page)
    cli.say(page)
    cli.emit({"json": str(out), "report": str(page_of(out)), **last_line})
