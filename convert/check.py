"""Judges converted files by what they were made of: python -m convert.check REFERENCE FILE... [--images DIR].

One question with four answers: does each stage of the conversion still score as the checkpoint
(convert.comparison.stages), what does each file cost in accuracy on the images, with gates by its precision
(convert.accuracy_report), is it what its sidecar says, and does LiteRT delegate it as forecast. --html is one page of
all of them. Exit 1 when one is broken; the outputs are written all the same.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.accuracy_report import files as accuracy_files
from convert.accuracy_report import tables
from convert.accuracy_report.measure import Images, images_of, spread
from convert.accuracy_report.report import FILES, as_json
from convert.comparison.compare import ParityReport
from convert.comparison.stages import DEFAULT_RUNTIMES, first_failing_stage
from convert.comparison.stages import check as check_stages
from convert.comparison.verified import note_reports
from convert.parity import add_scoring, check_scoring, exit_code, parity_images, table
from convert.report.content import Content, Request, gather, summary
from convert.report.files import find
from convert.runtimes import runners
from mobileiqa import cli
from mobileiqa.errors import UserError
from mobileiqa.photos.search import NOTHING_SEARCHED
from mobileiqa.spec import from_json
from mobileiqa.text import printable
from mobileiqa.zoo import UNTRAINED

STAGE_IMAGES = 24  # an INT8 file's ranking needs some; the published model takes 5 s for a full-size photo


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    return cli.command(_parser(), _run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "Judges converted files: parity at every stage, accuracy with gates, sidecars, delegation. Exit 1 when one\n"
        "is broken.",
        "python -m convert.check checkpoint.safetensors model_fp16.tflite --images photos/ --html report.html",
    )
    add = parser.add_argument
    add("reference", metavar="REFERENCE", help="checkpoint, `reference`, a model's name (untrained), or an FP32 "
        ".tflite file, which has no stages before it")  # fmt: skip
    add(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=".tflite and .onnx files, folders of .tflite files",
    )
    add_scoring(parser, without="generated images, for the stages alone")
    add(
        "--stages",
        type=int,
        default=STAGE_IMAGES,
        metavar="N",
        help="of the images, for the stages (%(default)s)",
    )
    add("--runtimes", default=",".join(DEFAULT_RUNTIMES),
        help=f"of {', '.join(runners.RUNTIMES)}, arm:CPU; default: %(default)s")  # fmt: skip
    cli.add_weights(parser)
    add("--html", type=Path, metavar="PAGE", help="write everything as one page")
    add("--out", type=Path, metavar="DIR", help=f"write {', '.join(FILES)} here")
    cli.add_json(parser, "everything")
    add("--force", action="store_true", help="replace the files that are written")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    check_scoring(arguments, ("limit", "out"))
    outputs = [arguments.out / name for name in FILES] if arguments.out else []
    for path in filter(None, [*outputs, arguments.html, arguments.json]):
        cli.refuse_existing(path, arguments.force)
    onnx = [path for path in arguments.files if path.suffix.lower() == ".onnx"]
    named = [path for path in arguments.files if path not in onnx]
    _refuse(arguments, onnx, named)
    files, left_out = find(named, packaged=True) if named else ([], {})
    specs = {file.label: from_json(file.graph.description["spec"]) for file in files}
    images = images_of(arguments.images, arguments.data, arguments.split, arguments.limit, specs)
    fp32, stages = _stages(arguments, [*(file.path for file in files), *onnx], images)
    request = Request(
        images, fp32, arguments.layers, arguments.latency, arguments.threads, arguments.weights, tuple(stages)
    )
    content = gather(files, left_out, request) if files else None
    passed = all(stage.passed for stage in stages) and (content is None or content.passed)
    search = images.search if images else NOTHING_SEARCHED
    code = exit_code(passed, search, arguments.limit)
    result = {**_result(arguments, stages, content), "images_left_out": search.left_out, "passed": code == 0}
    _write(arguments, content, stages, result)
    _show(stages, content)
    cli.emit(result)
    return code


def _refuse(arguments: argparse.Namespace, onnx: Sequence[Path], named: Sequence[Path]) -> None:
    """UserError for what cannot be judged, before anything is loaded."""
    for path in arguments.files:
        if not path.exists():
            raise UserError("a folder, .tflite or .onnx files", f"nothing at {path}", "correct the path")
    scored = arguments.images or arguments.data
    if _is_tflite(arguments.reference) and (onnx or not scored):
        reason = f"{onnx[0]}" if onnx else "no images"
        todo = "name its checkpoint as REFERENCE" + ("" if onnx else ", or images with --images or --data")
        raise UserError("images and .tflite files beside an FP32 .tflite file as REFERENCE", reason, todo)
    if not arguments.stages and (onnx or not scored):
        raise UserError("--stages of 1 or more for .onnx files or without images", "0", "correct --stages")
    if not named and (arguments.html or arguments.out):
        raise UserError("a .tflite file for --html and --out", f"{onnx[0]} alone", "leave them out")


def _is_tflite(reference: str) -> bool:
    return Path(reference).suffix.lower() == ".tflite"


def _stages(
    arguments: argparse.Namespace, paths: Sequence[Path], images: Images | None
) -> tuple[str, list[ParityReport]]:
    """FP32's file or name as convert.accuracy_report takes it, and the report of every stage; none before a file."""
    if _is_tflite(arguments.reference) or not arguments.stages:
        return arguments.reference, []
    from convert.load import load_model

    source = load_model(arguments.reference, weights=arguments.weights, converted=paths[0])
    if images is None:
        photos = parity_images(None, None)
    else:
        photos = spread(list(zip(images.names, images.paths, strict=True)), arguments.stages)
    reports = check_stages(source.model, source.spec, paths, photos, arguments.runtimes.split(","))
    for line in note_reports(paths, reports):
        cli.say(line)
    return str(source.checkpoint or arguments.reference), reports


def _result(
    arguments: argparse.Namespace, stages: Sequence[ParityReport], content: Content | None
) -> dict[str, Any]:
    """The last line but for whether all passed."""
    first = first_failing_stage(stages)
    fields = summary(content) if content else {"images": 0, "files": [], "left_out": {}}
    return {
        "reference": arguments.reference, **fields, "stages": len(stages),
        "stage_images": max((stage.n for stage in stages if stage.stage != "features"), default=0),
        "failed_stages": sum(not stage.passed for stage in stages),
        "first_failing_stage": f"{first.candidate} [{first.runtime}]" if first else None,
        "html": str(arguments.html) if arguments.html else None,
        "out": str(arguments.out) if arguments.out else None,
    }  # fmt: skip


def _write(
    arguments: argparse.Namespace,
    content: Content | None,
    stages: Sequence[ParityReport],
    result: dict[str, Any],
) -> None:
    report = content.report if content else None
    if content and arguments.html:
        from convert.report.page import page

        cli.write_text(arguments.html, page(content))
    if report and arguments.out:
        accuracy_files.write(report, arguments.out)
    if arguments.json:
        accuracy = as_json(report) if report else None
        reports = [stage.to_json() for stage in stages]
        cli.write_json(arguments.json, {**result, "stage_reports": reports, "accuracy": accuracy})


def _show(stages: Sequence[ParityReport], content: Content | None) -> None:
    """Everything, for people."""
    for line in (
        table(stages)
        if stages
        else ["no stages were compared: the reference is a .tflite file, or --stages 0"]
    ):
        cli.say(line)
    if first := first_failing_stage(stages):
        cli.say(f"FAIL: the first stage that breaks is {first.candidate} in {first.runtime}: {first.reason}")
    if content is None:
        return
    cli.say(
        f"\n{tables.text(content.report)}\n"
        if content.report
        else "accuracy was not judged: no images were named"
    )
    if content.spec.untrained and not content.report:
        cli.say(f"{content.spec.name} is {UNTRAINED}")
    for file in content.files:
        problems = "; ".join(content.problems(file)) or "nothing wrong"
        cli.say(f"{printable(file.label)} ({file.precision}): {problems}")
    for name, reason in content.left_out.items():
        cli.say(printable(f"{name} is not compared: {reason}"))


if __name__ == "__main__":
    raise SystemExit(main())
