"""`python -m convert.snippets`: the code that an app needs for a packaged file, in five languages."""

import argparse
from pathlib import Path

from mobileiqa import cli
from mobileiqa.files.outputs import entries


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "Writes Kotlin, Java, Swift, C++ and Python sources that load a packaged file, score a photo, and check with"
        " the file's golden vectors that phone, runtime and app score as Python does.",
        "python -m convert.snippets reference_camera.tflite --out snippets/",
    )
    parser.add_argument("file", type=Path, metavar="FILE.tflite", help="a file of convert.package")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the sources")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    from convert.snippets.render import render

    folder: Path = arguments.out
    sources = render(arguments.file)
    cli.refuse_existing_in(folder, sources, arguments.force)
    with entries(folder) as staged:
        for name, content in sources.items():
            (staged / name).write_bytes(content.encode("utf-8", "backslashreplace"))
    for name in sources:
        cli.say(str(folder / name))
    cli.emit({"file": str(arguments.file), "out": str(folder), "sources": list(sources)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
