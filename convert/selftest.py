"""Is a packaged file whole, and does it score here as it did where it was made? `python -m convert.selftest FILE`.

The checksum finds any byte that has changed; the golden vectors then run in this runtime.
A damaged file is never given to the runtime. Exit 1 when anything is wrong, 2 when there is no such file.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.flatbuffer.reader import read_graph
from convert.packaging import golden_vectors
from convert.packaging.packaged_file import flat
from mobileiqa import cli
from mobileiqa.errors import UserError, one_line
from mobileiqa.files import integrity
from mobileiqa.scoring import litert
from mobileiqa.scoring.embedded_preprocessing import from_json


@dataclass(frozen=True)
class Check:
    """One check's result."""

    name: str
    passed: bool
    result: str


def selftest(path: Path) -> list[Check]:
    """The checks of a packaged file: checksum, sidecar and, where these are whole, golden vectors."""
    whole = integrity.read_checksum(path)
    checks = [Check("checksum", whole.intact, _of_checksum(whole)), *_sidecar(path), *_contents(path)]
    if all(check.passed for check in checks):
        checks += _golden(path)
    return checks


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
            yield Check(_named(name, size, len(stored.sizes)), *_close(outputs, expected, stored.tolerance))
    except UserError as error:
        yield Check("golden vectors", False, one_line(str(error)))


def _close(outputs: np.ndarray, expected: np.ndarray, tolerance: float) -> tuple[bool, str]:
    """Whether score and reasons are the golden ones within `tolerance`, and the figures. NaN never is."""
    figures = f"{outputs[0]:.6f}, expected {expected[0]:.6f} within {tolerance:g}"
    if outputs.shape != expected.shape:
        return False, f"{len(outputs) - 1} reasons, expected {len(expected) - 1}"
    errors = np.abs(outputs - expected)
    if len(errors) > 1:
        figures += f"; reasons off by {errors[1:].max():.6f} at most"
    return bool((errors <= tolerance).all()), figures


def _named(image: str, size: golden_vectors.GoldenSize, sizes: int) -> str:
    """The check's name, with the size where there are several."""
    return f"golden {image}" + (f" {size.width_px}x{size.height_px}" if sizes > 1 else "")


def main(argv: list[str] | None = None) -> int:
    """The command; see --help."""
    parser = cli.parser(
        "Checks a packaged file: every byte against its checksum, and its golden vectors in this runtime. Exit 1 when"
        " a check fails.",
        "python -m convert.selftest reference_camera.tflite",
    )
    parser.add_argument("file", type=Path, metavar="FILE.tflite", help="a file of convert.package")
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.file.is_file():
        raise UserError("a .tflite file", f"none at {arguments.file}", "check the path")
    checks = selftest(arguments.file)
    for check in checks:
        cli.say(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.result}")
    passed = all(check.passed for check in checks)
    result: dict[str, Any] = {
        "file": str(arguments.file),
        "passed": passed,
        "checks": [asdict(c) for c in checks],
    }
    cli.emit(result)
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
