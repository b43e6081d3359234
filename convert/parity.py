"""Does every converted file still score as the published model? `python -m convert.parity`.

Prints every stage's figures (see `convert.comparison.stages`), writes them as JSON; exit 1 when a tolerance breaks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convert.comparison.compare import ParityReport
from convert.comparison.converted_file import read_converted_file
from convert.comparison.stages import DEFAULT_RUNTIMES, Images, check, first_failing_stage
from convert.comparison.verified import note_reports
from convert.load import load_model
from convert.runtimes import runners
from mobileiqa import cli, text
from mobileiqa.errors import UserError
from mobileiqa.evaluate import SPLITS
from mobileiqa.photos.generated_images import sample_images
from mobileiqa.photos.search import NOTHING_SEARCHED, ImageSearch, search_images
from mobileiqa.zoo import UNTRAINED

__all__ = ["check", "first_failing_stage", "main", "table"]

LAYER_IMAGES = 4  # SQNR hardly changes from image to image, and the runtime's own kernels are slow
GENERATED = 6  # images where --images is not given


def table(reports: Sequence[ParityReport]) -> list[str]:
    """The reports as lines of text, one stage per line."""
    heads = ("stage", "file", "runtime", "n", "max_abs", "mean_abs", "bias", "SQNR dB", "SRCC", "flips",
             "worst image", "tolerance", "result")  # fmt: skip
    return text.table([heads, *map(_row, reports)]).splitlines()


def _row(report: ParityReport) -> tuple[str, ...]:
    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        report.stage,
        report.candidate,
        report.runtime,
        str(report.n),
        shown(report.max_abs, ".2e"),
        shown(report.mean_abs, ".2e"),
        shown(report.bias, "+.1e"),
        shown(report.sqnr_db, ".1f"),
        shown(report.srcc, ".4f"),
        shown(report.pair_flips, ".3f"),
        report.worst_image or "-",
        str(report.tolerance),
        "pass" if report.passed else f"FAIL: {report.reason}",
    )


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "Compares converted files with the published model over images; exit 1 when a tolerance is broken.",
        "python -m convert.parity reference reference_fp16.tflite --images photos/",
    )
    parser.add_argument(
        "checkpoint", help="checkpoint file, `reference`, or a model's name for its untrained weights"
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".tflite and .onnx files")
    parser.add_argument(
        "--images", type=cli.input_path, help=f"image or folder; default: {GENERATED} generated images"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--runtimes",
        default=",".join(DEFAULT_RUNTIMES),
        help=f"of {', '.join(runners.RUNTIMES)}, arm:CPU; default: %(default)s",
    )
    cli.add_weights(parser)
    cli.add_json(parser, "the reports")
    parser.add_argument("--force", action="store_true", help="replace an existing --json file")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.json:
        cli.refuse_existing(arguments.json, arguments.force)
    for path in arguments.files:
        read_converted_file(path)  # before the model is built
    source = load_model(arguments.checkpoint, weights=arguments.weights, converted=arguments.files[0])
    images, search = searched_images(arguments.images, arguments.limit)
    reports = check(source.model, source.spec, arguments.files, images, arguments.runtimes.split(","))
    first = first_failing_stage(reports)
    for line in table(reports):
        cli.say(line)
    for line in note_reports(arguments.files, reports):
        cli.say(line)
    if source.spec.untrained:
        cli.say(f"{source.spec.name} is {UNTRAINED}")
    if first:
        cli.say(f"FAIL: the first stage that breaks is {first.candidate} in {first.runtime}: {first.reason}")
    code = exit_code(first is None, search, arguments.limit)
    summary = {
        "model": source.spec.name,
        "untrained": source.spec.untrained,
        "images": len(images),
        "stages": len(reports),
        "failed": sum(not report.passed for report in reports),
        "first_failing_stage": f"{first.candidate} [{first.runtime}]" if first else None,
        "edges": len(reports),
        "culprit": f"{first.candidate} [{first.runtime}]" if first else None,  # old names
        "left_out": search.left_out,
        "passed": code == 0,
    }
    if arguments.json:
        cli.write_json(arguments.json, {**summary, "reports": [report.to_json() for report in reports]})
    cli.emit(summary)
    return code


def exit_code(passed: bool, search: ImageSearch, limit: int | None) -> int:
    """1 where a gate failed; 2 where all images of a folder were to be judged and photos of it cannot be read."""
    if not passed:
        return 1
    return 2 if search.unread and limit is None else 0


def add_scoring(parser: argparse.ArgumentParser, without: str = "") -> None:
    """What is scored and measured; `without`: what happens where no images are named, empty where some must be."""
    add = parser.add_argument
    images = parser.add_mutually_exclusive_group(required=not without)
    about = f"image or folder; default: {without}" if without else "image or folder"
    images.add_argument("--images", type=cli.input_path, metavar="DIR", help=about)
    images.add_argument("--data", nargs=2, metavar=("SET", "PATH"), help="see python -m mobileiqa.data list")
    add("--split", choices=SPLITS, help="of --data; default: test, else validation")
    add("--limit", type=int, metavar="N", help="N images only: the first, or drawn from --data")
    add(
        "--layers", type=int, default=LAYER_IMAGES, metavar="N", help="images for SQNR (%(default)s); 0: none"
    )
    add("--latency", action="store_true", help="also run python -m android_bench on all files, in turn")
    add("--threads", type=int, default=1, metavar="N", help="for scoring (1)")


def check_scoring(arguments: argparse.Namespace, of_images: Sequence[str] = ("limit",)) -> None:
    """UserError for options of `add_scoring` that cannot be, or do not go together."""
    for name, least in (("threads", 1), ("limit", 1), ("layers", 0), ("stages", 0)):
        value = getattr(arguments, name, None)
        if value is not None and value < least:
            raise UserError(f"--{name} of {least} or more", str(value), f"correct --{name}")
    scored = arguments.images or arguments.data
    needs = [
        ("split", "--data", arguments.data),
        *((name, "--images or --data", scored) for name in of_images),
    ]
    for name, other, there in needs:
        value = getattr(arguments, name)
        if value is not None and not there:
            raise UserError(f"--{name} with {other}", f"--{name} alone", "leave it out")


def parity_images(path: Path | None, limit: int | None) -> Images:
    """The images of a folder (all, or the first `limit`), or generated ones; (name, image or path) pairs."""
    return searched_images(path, limit)[0]


def searched_images(path: Path | None, limit: int | None) -> tuple[Images, ImageSearch]:
    """`parity_images`, and what else the folder holds, which is also noted on stderr."""
    if limit is not None and limit < 1:
        raise UserError("--limit of at least 1", str(limit), "correct --limit")
    if path is None:
        return sample_images(limit or GENERATED), NOTHING_SEARCHED
    search = search_images([path])
    if search.left_out:
        cli.note(f"{path}: {search}")
    folder = path if path.is_dir() else path.parent
    return [(str(file.relative_to(folder)), file) for file in search.images[:limit]], search


if __name__ == "__main__":
    raise SystemExit(main())
