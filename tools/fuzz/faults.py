"""Faults put back on purpose, in the worker alone, to prove that the harness finds them (tests/tools/test_fuzz.py).

Each replaces a part of the product by what it was before the part was there. The oracles know nothing of them.
"""

from collections.abc import Callable


def put_back(name: str) -> None:
    """Puts one fault back; an empty name: none. KeyError for an unknown one."""
    if name:
        FAULTS[name]()


def _png_checksums() -> None:
    """A PNG's checksums are not compared: other pixels are scored."""
    from mobileiqa.photos import checks

    checks.check_png = lambda file, name, start=0: None


def _file_checksums() -> None:
    """A hash at hand is not compared: the checksum inside a file, its sidecar's."""
    from mobileiqa.files import integrity

    integrity.check_recorded = lambda path, recorded, source, todo: None
    integrity.verify = lambda path, is_whole=None: ""


def _first_run() -> None:
    """A file that no hash vouches for is loaded in the command's own process."""
    from mobileiqa.scoring import first_run

    first_run.check = lambda path, threads=1: None


def _typed_json() -> None:
    """A value of another type, or out of bounds, passes where JSON from outside is read."""
    from mobileiqa import typed_json

    typed_json._scalar = lambda hint, value, where, bounds: value


def _half_written() -> None:
    """What was written before an error stays, under its temporary name."""
    import contextlib
    import tempfile
    from collections.abc import Iterator
    from pathlib import Path

    from mobileiqa import cli

    @contextlib.contextmanager
    def atomic(path: Path) -> Iterator[Path]:
        temporary = Path(tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")[1])
        yield temporary
        temporary.rename(path)

    cli.atomic = atomic


FAULTS: dict[str, Callable[[], None]] = {
    "png-checksums": _png_checksums,
    "file-checksums": _file_checksums,
    "first-run": _first_run,
    "typed-json": _typed_json,
    "half-written": _half_written,
}
