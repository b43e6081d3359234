"""`python -m convert.package`: the file that an app takes, from one with float inputs."""

import argparse
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.output_file import Sidecar, place, read_sidecar, staged
from mobileiqa import cli
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    from convert.packaging.packaged_file import Agreement
    from mobileiqa.scoring.embedded_preprocessing import EmbeddedPreprocessing, Size

PARITY_IMAGES = 4  # generated ones, when --images is not given


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "Puts preprocessing into a converted file: one uint8 RGB image in, score out; with metadata, golden\n"
        "vectors and a checksum that `python -m convert.selftest` checks. Exit 1 when the score moved: the file is\n"
        "then kept as NAME.failed.tflite.",
        "python -m convert.package reference_fp16.tflite --input-size 4032x3024 --out reference_camera.tflite",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.tflite", help="a file of convert.tflite")
    parser.add_argument(
        "--input-size",
        metavar="WxH",
        help="of the app's images, WxH,WxH for portrait and landscape; default: the model's own size",
    )
    parser.add_argument(
        "--images", type=cli.input_path, metavar="DIR", help="images for parity; default: generated ones"
    )
    parser.add_argument("--out", type=Path, required=True, help="output path, ending in .tflite")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    from convert.packaging.packaged_file import agreements, embed_preprocessing
    from convert.packaging.preprocessing import parse_sizes
    from convert.parity import parity_images

    source, path = arguments.model, arguments.out
    if path.suffix.lower() != ".tflite":
        raise UserError("an output ending in .tflite", str(path), "correct --out")
    cli.refuse_existing(path, arguments.force)
    sizes = parse_sizes(arguments.input_size)
    origin = _origin(source)  # first, so that a file that is none of ours is refused at once
    images = parity_images(arguments.images, None if arguments.images else PARITY_IMAGES)
    with staged(path) as unproven:
        embedded = embed_preprocessing(source, unproven, sizes)
        compared = agreements(source, unproven, images)
        passed = all(agreement.passed for _, agreement in compared)
        target = place(unproven, path, passed, delivery=embedded.to_json(), **origin)
    result = _report(target, embedded, compared)
    cli.emit(result)
    return 0 if passed else 1


def _origin(source: Path) -> dict[str, Any]:
    """The sidecar's fields: what the file inside says, and how the source was made where its sidecar is there."""
    from convert.comparison.converted_file import read_converted_file
    from convert.flatbuffer import model as fb
    from convert.flatbuffer.reader import read_graph

    converted, graph = read_converted_file(source), read_graph(source)
    content, sidecar = graph.description, read_sidecar(source) or Sidecar()
    return {
        "precision": converted.precision,
        "via": sidecar.via or "unknown: no sidecar",
        "spec": converted.spec,
        "checkpoint_sha256": content.get("checkpoint_sha256"),
        "calibration_sha256": sidecar.calibration_sha256,
        "fp16_arithmetic_allowed": fb.REDUCED_PRECISION in graph.metadata,
        "rewrites": asdict(sidecar.rewrites) if sidecar.rewrites else {},
        "approximations": sidecar.approximations or (),
    }


def _report(
    path: Path, embedded: "EmbeddedPreprocessing", compared: "list[tuple[Size, Agreement]]"
) -> dict[str, Any]:
    """Prints what was done, for people; returns the same for machines, the worst size's figures in front."""
    megabytes = path.stat().st_size / 1e6
    cli.say(f"{path}: {megabytes:.1f} MB, {embedded.described}")
    for size, agreement in compared:
        verdict = "pass" if agreement.passed else f"FAIL: {agreement.reason}"
        cli.say(
            f"{size} against the float file: max_abs {agreement.max_abs:.2e} ({agreement.worst_image}), "
            f"{agreement.images} images: {verdict}"
        )
    sizes = [{**asdict(size), **_figures(agreement)} for size, agreement in compared]
    _, worst = max(compared, key=lambda each: (not each[1].passed, each[1].max_abs))
    return {
        "path": str(path), "size_mb": round(megabytes, 2), "input": ",".join(map(str, embedded.sizes)),
        "fitted": embedded.fitted, **_figures(worst), "sizes": sizes,
    }  # fmt: skip


def _figures(agreement: "Agreement") -> dict[str, Any]:
    return {
        "images": agreement.images, "max_abs": agreement.max_abs if isfinite(agreement.max_abs) else None,
        "worst_image": agreement.worst_image, "passed": agreement.passed, "reason": agreement.reason,
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
