"""Is a packaged file whole, and does it score here as it did where it was made? `python -m convert.selftest FILE`.

The checksum finds any byte that has changed; the golden vectors then run in this runtime. Golden photos
(convert.app.golden_photos) of a folder go through the decoder first; a file with float inputs has no checksum and is
compared with the hash that they name. With `--gpu` the accelerator is chosen: the GPU where all golden photos pass on
it, else the CPU, and why.
A damaged file is never given to the runtime. Exit 1 when anything is wrong, 2 when there is no such file.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convert.app import golden_photos
from convert.app.golden_photos import Decode, GoldenPhoto
from convert.flatbuffer.reader import read_graph
from convert.packaging import golden_vectors
from convert.packaging.packaged_file import flat
from convert.runtimes.gpu import run_gpu
from mobileiqa import cli
from mobileiqa.errors import UserError, one_line
from mobileiqa.files import integrity
from mobileiqa.photos.loading import read_image
from mobileiqa.scoring import litert
from mobileiqa.scoring.embedded_preprocessing import from_json

BESIDE = "golden"  # the folder of golden photos


@dataclass(frozen=True)
class Check:
    """One check's result."""

    name: str
    passed: bool
    result: str


def selftest(path: Path, golden: Path | None = None, decode: Decode | None = None) -> list[Check]:
    """The checks of a file: whether it is whole, then golden vectors, and golden photos through `decode`.

    golden: the folder of golden photos. decode: default: the decoder of every command.
    """
    photos = golden_photos.read(golden) if golden else ()
    checks = _whole(path, photos)
    if all(check.passed for check in checks):
        checks += _golden(path) if _is_packaged(path) else ()
        checks += _photos(path, golden, photos, decode) if golden else ()
    return checks


def _whole(path: Path, photos: Sequence[GoldenPhoto]) -> list[Check]:
    """Whether its bytes are those that were packaged, or that gave the golden photos their scores."""
    expected = {photo.model_sha256 for photo in photos}
    checks = []
    if not photos or integrity.read_checksum(path).at >= 0:
        whole = integrity.read_checksum(path)
        checks = [Check("checksum", whole.intact, _of_checksum(whole)), *_sidecar(path), *_contents(path)]
    if photos:
        same = expected == {integrity.sha256(path)}
        words = (
            "the file that gave the golden photos their scores"
            if same
            else "the golden photos are another file's"
        )
        checks.append(Check("file", same, f"SHA-256 {integrity.sha256(path)[:16]}...: {words}"))
    return checks


def _is_packaged(path: Path) -> bool:
    return litert.preprocessing_of(path) is not None


def _photos(
    path: Path, folder: Path, photos: Sequence[GoldenPhoto], decode: Decode | None
) -> Iterator[Check]:
    """One check for each golden photo: decoded, prepared and scored."""
    try:
        run = golden_photos.outputs_of(path)
        pixels = golden_photos.decoded(folder, photos, decode or _decoder(path))
        for photo, image in cli.progress(pixels, "golden photos", len(photos)):
            name = f"golden photo {photo.file}"
            if isinstance(image, str):
                yield Check(name, False, image)
            else:
                yield Check(name, *golden_photos.judged(photo, run(image)))
    except UserError as error:
        yield Check("golden photos", False, one_line(str(error)))


def _decoder(path: Path) -> Decode:
    colors = litert.load_spec(path).color_management
    return lambda photo: read_image(photo, colors)


@dataclass(frozen=True)
class Accelerator:
    """What the file should run on here: "gpu" where every golden photo passes on it, else "cpu", and why not."""

    runs_on: str
    adapter: str
    why_not: str


def choose_accelerator(path: Path, folder: Path) -> Accelerator:
    """Runs the golden photos on LiteRT's GPU accelerator. A GPU that refuses, or computes otherwise, is why not."""
    photos = golden_photos.read(folder)
    readable = [
        (photo, image)
        for photo, image in golden_photos.decoded(folder, photos, _decoder(path))
        if not isinstance(image, str)
    ]
    try:
        prepare = litert.inputs_of(path)
        gpu = run_gpu(path, [prepare(image) for _, image in readable])
        results = [golden_photos.judged(p, flat(o)) for (p, _), o in zip(readable, gpu.outputs, strict=True)]
    except UserError as error:
        return Accelerator("cpu", "", one_line(str(error)))
    wrong = [
        f"{photo.file}: {words}"
        for (photo, _), (passed, words) in zip(readable, results, strict=True)
        if not passed
    ]
    if not gpu.fully_accelerated:
        wrong = [f"{gpu.on_cpu} operators left to the CPU: {'; '.join(gpu.unsupported)}", *wrong]
    return Accelerator("cpu" if wrong else "gpu", gpu.adapter, "; ".join(wrong))


def _sidecar(path: Path) -> Iterator[Check]:
    """Whether the sidecar is this file's, where there is one with a hash."""
    try:
        if integrity.check_sidecar(path):
            yield Check("sidecar", True, f"SHA-256 {integrity.sha256(path)[:16]}...")
    except UserError as error:
        yield Check("sidecar", False, one_line(str(error)))


def _of_checksum(stored: integrity.Checksum) -> str:
    if stored.at < 0:
        return "no checksum: never packaged, or damaged there"
    if not stored.intact:
        return f"SHA-256 {stored.computed.hex()[:16]}..., packaged as {stored.stored.hex()[:16]}..."
    return f"SHA-256 {stored.stored.hex()}"


def _contents(path: Path) -> Iterator[Check]:
    """A failed check where the file, or what it says of its inputs, cannot be read."""
    try:
        from_json(read_graph(path).description.get("delivery"), str(path))
    except UserError as error:
        yield Check("contents", False, one_line(str(error)))


def _golden(path: Path) -> Iterator[Check]:
    """One check for each golden image in each size; or that they, or the file, cannot be run."""
    try:
        stored = golden_vectors.read(read_graph(path))
        run, embedded = litert.outputs_runner(path), litert.preprocessing_of(path)
        assert embedded is not None, "its metadata was read before"
        vectors = [(size, name) for size in stored.sizes for name in size.scores]
        for size, name in cli.progress(vectors, "golden vectors"):
            pixels = golden_vectors.draw(name, size.width_px, size.height_px)
            outputs, expected = flat(run({embedded.input: pixels[None]})), size.outputs(name)
            yield Check(
                _named(name, size, len(stored.sizes)),
                *golden_vectors.compare(outputs, expected, stored.tolerance),
            )
    except UserError as error:
        yield Check("golden vectors", False, one_line(str(error)))


def _named(image: str, size: golden_vectors.GoldenSize, sizes: int) -> str:
    """The check's name, with the size where there are several."""
    return f"golden {image}" + (f" {size.width_px}x{size.height_px}" if sizes > 1 else "")


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "Checks a packaged file: every byte against its checksum, and its golden vectors in this runtime; with golden"
        " photos the decoder too, and any file that gave their scores. Exit 1 when a check fails.",
        "python -m convert.selftest reference_camera.tflite",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE.tflite", help="a file of convert.package or of an app"
    )
    parser.add_argument(
        "--golden",
        type=Path,
        metavar="DIR",
        help="golden photos; default: the folder `golden` beside the file",
    )
    parser.add_argument(
        "--gpu", action="store_true", help="choose the accelerator: the GPU where it passes, else the CPU"
    )
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    path: Path = arguments.file
    if not path.is_file():
        raise UserError("a .tflite file", f"none at {path}", "check the path")
    golden = arguments.golden
    if golden is None and (path.parent / BESIDE / golden_photos.LISTING).is_file():
        golden = path.parent / BESIDE
    if arguments.gpu and golden is None:
        raise UserError(
            "golden photos for --gpu", f"no {BESIDE}/ beside {path.name}", "name them with --golden"
        )
    checks = selftest(path, golden)
    for check in checks:
        cli.say(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.result}")
    passed = all(check.passed for check in checks)
    result: dict[str, Any] = {"file": str(path), "passed": passed, "checks": [asdict(c) for c in checks]}
    if arguments.gpu and passed:
        accelerator = choose_accelerator(path, golden)
        reason = (
            f", not on the GPU: {accelerator.why_not}" if accelerator.why_not else f" ({accelerator.adapter})"
        )
        cli.say(f"runs on the {accelerator.runs_on.upper()}{reason}")
        result["accelerator"] = asdict(accelerator)
    cli.emit(result)
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
