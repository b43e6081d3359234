"""`python -m convert.snippets`: the code that an app needs for a camera file, in five languages."""

import argparse
from pathlib import Path

from mobileiqa import cli
from mobileiqa.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "convert.snippets",
        "Writes Kotlin, Java, Swift, C++ and Python sources that load a camera file, score a photo, and check with"
        " the file's golden vectors that phone, runtime and app score as Python does.",
        "python -m convert.snippets reference_camera.tflite --out snippets/",
    )
    parser.add_argument("file", type=Path, metavar="FILE.tflite", help="a file of convert.delivery")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the sources")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    arguments = parser.parse_args(argv)
    return cli.run("convert.snippets", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    from convert.snippets.render import render

    folder: Path = arguments.out
    if folder.exists() and not folder.is_dir():
        raise UserError("a folder for the sources", f"a file at {folder}", "correct --out")
    sources = {folder / name: content for name, content in render(arguments.file).items()}
    for path in sources:
        cli.refuse_existing(path, arguments.force)
    for path, content in sources.items():
        with cli.atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
        cli.say(str(path))
    cli.emit({"file": str(arguments.file), "out": str(folder), "sources": [path.name for path in sources]})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
