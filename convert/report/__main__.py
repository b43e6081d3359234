"""One HTML page about the converted files of a model: python -m convert.report DIR --images photos/ --out report.html.

Gates, plots and worst images as convert.accuracy measures them; size, latency, memory; delegation; where every file
comes from and the commands that made it. Exit 1 when a gate is broken, a sidecar is another file's, or LiteRT does
not delegate as forecast; the page is written all the same.
"""

import argparse
from pathlib import Path

from convert.accuracy_report.measure import images_of
from convert.parity import add_scoring, check_scoring, exit_code
from convert.report.content import Request, gather, summary
from convert.report.files import find
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.photos.search import NOTHING_SEARCHED
from mobileiqa.spec import from_json
from mobileiqa.text import printable


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    return cli.command(_parser(), _run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "One HTML page about the converted files of a model; exit 1 when a gate is broken.",
        "python -m convert.report converted/ --images photos/ --out report.html",
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="DIR", help="folder of .tflite files, or such files by name")
    add_scoring(parser, without="no scores")
    add("--fp32", metavar="FP32", help="what to compare with: .tflite file, checkpoint or `reference`; "
        "default: the FP32 file among them")  # fmt: skip
    add("--out", type=Path, default=Path("report.html"), metavar="PATH", help="default: %(default)s")
    add("--force", action="store_true", help="replace the file that is written")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from convert.report.page import page

    _check(arguments)
    cli.refuse_existing(arguments.out, arguments.force)
    files, left_out = find(arguments.files)
    specs = {file.label: from_json(file.graph.description["spec"]) for file in files}
    images = images_of(arguments.images, arguments.data, arguments.split, arguments.limit, specs)
    request = Request(images, arguments.fp32, arguments.layers, arguments.latency, arguments.threads)
    content = gather(files, left_out, request)
    cli.write_text(arguments.out, page(content))
    for file in content.files:
        cli.say(
            f"{printable(file.label)} ({file.precision}): {'; '.join(content.problems(file)) or 'nothing wrong'}"
        )
    if not images:
        cli.say("no images were named, so no score was compared")
    search = images.search if images else NOTHING_SEARCHED
    cli.emit({"out": str(arguments.out), **summary(content), "images_left_out": search.left_out})
    return exit_code(content.passed, search, arguments.limit)


def _check(arguments: argparse.Namespace) -> None:
    """Raises UserError for options that cannot be, or do not go together."""
    check_scoring(arguments, ("limit", "fp32"))
    for path in arguments.files:
        if not path.exists():
            raise UserError("a folder or .tflite files", f"nothing at {path}", "correct the path")


if __name__ == "__main__":
    cli.older("python -m convert.report", "python -m convert.check FP32 DIR --html PAGE")
    raise SystemExit(main())
