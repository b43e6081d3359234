"""What converted files cost in accuracy: python -m convert.accuracy FP32 FILE... --images DIR | --data SET PATH.

FP32 is a .tflite file or a checkpoint of the same model; the others are .tflite files of any precision. Reports
correlations with FP32 and, with labels, the drop of SRCC; pairs and thresholds that flip; steps of the score;
SQNR along the graph; partitions and size. Gates by precision (convert.accuracy_report.gates); exit 1 when one is
broken.
"""

import argparse
from pathlib import Path

from convert.accuracy_report import files, tables
from convert.accuracy_report import report as reports
from convert.accuracy_report.measure import images_of, is_converted, load, measure
from convert.parity import add_scoring, check_scoring, exit_code
from mobileiqa import cli
from mobileiqa.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    return cli.command(_parser(), _run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "What converted files cost in accuracy against FP32; exit 1 when a gate is broken.",
        "python -m convert.accuracy reference_fp32.tflite reference_int8.tflite --images photos/ --out report",
    )
    add = parser.add_argument
    add("fp32", metavar="FP32", help="FP32 .tflite file, checkpoint or `reference`")
    add("files", nargs="+", metavar="FILE", help=".tflite files of any precision")
    add_scoring(parser)
    add("--out", type=Path, metavar="DIR", help=f"write {', '.join(reports.FILES)} here")
    cli.add_json(parser, f"{reports.FILES[0]}'s content")
    add("--force", action="store_true", help="replace the files that are written")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    check_scoring(arguments)
    outputs = [arguments.out / name for name in reports.FILES] if arguments.out else []
    for path in [*outputs, *([arguments.json] if arguments.json else [])]:
        cli.refuse_existing(path, arguments.force)
    models = load(arguments.fp32, arguments.files, arguments.threads)
    if arguments.latency and not is_converted(models[0]):
        raise UserError("an FP32 .tflite file for --latency", arguments.fp32, "convert it with --fp32")
    specs = {model.label: model.scorer.spec for model in models}
    images = images_of(arguments.images, arguments.data, arguments.split, arguments.limit, specs)
    assert images is not None, "one of the two is required"
    report = measure(models, images, arguments.layers, arguments.latency)
    cli.say(tables.text(report))
    if arguments.out:
        files.write(report, arguments.out)
    if arguments.json:
        cli.write_json(arguments.json, reports.as_json(report))
    cli.emit({**reports.summary(report, arguments.out), "left_out": images.search.left_out})
    return exit_code(report.passed, images.search, arguments.limit)


if __name__ == "__main__":
    cli.older("python -m convert.accuracy", "python -m convert.check FP32 FILE... --images DIR")
    raise SystemExit(main())
