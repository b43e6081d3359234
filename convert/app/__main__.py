"""`python -m convert.app`: libraries that an engineer adds to an app and calls with a photo of any size."""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from convert.runtimes.tool_environments import package_of
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.files.outputs import whole_folder

# Platform -> the module and its function (app, folder) -> lines for people.
PLATFORMS = {
    "android": ("convert.app.android", "write"),
    "ios": ("convert.app.project", "write_ios"),
    "cpp": ("convert.app.project", "write_cpp"),
    "web": ("convert.app.web", "write"),
}
# Platform -> the environment and package from npm that it cannot do without.
NPM = {"web": ("web", "@litertjs/core")}


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "Writes libraries around a converted file: a photo of any size in; score, reasons and a label out. Each has\n"
        "a self-test that goes through the app's own decoder and chooses the accelerator. Several files: one folder\n"
        "for each in DIR.",
        "python -m convert.app reference_fp16.tflite --out app/",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.tflite", help="a file of convert.tflite")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the libraries")
    parser.add_argument(
        "--platform", metavar="NAME[,NAME...]", help=f"among {', '.join(PLATFORMS)}; default: all of them"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing folder")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    from convert.app.project import GOLDEN, read_app

    platforms, left_out = _platforms(arguments.platform)
    files, out = arguments.files, arguments.out
    cli.refuse_existing_folder(out, arguments.force)
    stems = [path.stem for path in files]
    if len(set(stems)) < len(stems):
        raise UserError("files of different names", ", ".join(map(str, files)), "rename one")
    results: list[dict[str, Any]] = []
    with whole_folder(out) as staged:
        for path in files:
            folder = staged / path.stem if len(files) > 1 else staged
            folder.mkdir(exist_ok=True)
            lines = _write(read_app(path, folder / GOLDEN), platforms, folder)
            results.append({"file": str(path), "notes": lines})
            for line in lines:
                cli.say(line)
    for name, reason in left_out.items():
        cli.warn(f"left out: {name}: {reason}")
    cli.emit({"out": str(out), "platforms": platforms, "left_out": left_out, "files": results})
    return 0


def _write(app: Any, platforms: list[str], folder: Path) -> list[str]:
    """Every platform in a folder of its own; what each says."""
    lines = []
    for name in platforms:
        (folder / name).mkdir()
        module, function = PLATFORMS[name]
        write = getattr(import_module(module), function)
        lines += [f"{name}: {line}" for line in write(app, folder / name)]
    return lines


def _platforms(text: str | None) -> tuple[list[str], dict[str, str]]:
    """Those that are named, else all whose tools are here, and why the others are left out.

    UserError for a name that is none, and for one that is named whose tools are not here.
    """
    names = list(PLATFORMS) if text is None else list(dict.fromkeys(text.split(",")))
    left_out = {}
    for name in names:
        if name not in PLATFORMS:
            raise UserError(f"platforms among {', '.join(PLATFORMS)}", repr(name), "correct --platform")
        try:
            _ = package_of(*NPM[name]) if name in NPM else None
        except UserError as error:
            if text is not None:
                raise
            left_out[name] = f"no {error.expected}; {error.todo}"
    return [name for name in names if name not in left_out], left_out


if __name__ == "__main__":
    raise SystemExit(main())
