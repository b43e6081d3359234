"""What every command shares: exit codes, the last JSON line, atomic writes, progress.

Exit 0: done. 1: a gate failed. 2: the user's input was wrong (one line on stderr, no traceback).
The last line on stdout is one compact JSON object, for machines.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mobileiqa.errors import UserError, one_line

T = TypeVar("T")


class Terminated(KeyboardInterrupt):
    """`kill` and CI's time limit stop a command as Ctrl-C does: its workers end, half-written files go."""


def run(prog: str, body: Callable[[], int]) -> int:
    """Runs a command's body; a UserError or an OS error becomes one line on stderr and exit code 2."""
    try:
        with _terminable():
            return body()
    except UserError as error:
        print(f"{prog}: {one_line(str(error))}", file=sys.stderr)  # noqa: T201
    except OSError as error:
        advice = "check the path, its permissions and the space left"
        print(f"{prog}: {one_line(str(error))}; {advice}", file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt as error:
        print(f"{prog}: interrupted; nothing half written was left behind", file=sys.stderr)  # noqa: T201
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
    return 2


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises Terminated. Only a main thread can ask for signals; `main` called in another goes without."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parser(prog: str, summary: str, example: str) -> argparse.ArgumentParser:
    """An argument parser whose help ends in a working example."""
    return argparse.ArgumentParser(
        prog=prog,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The flag --weights: which weights of a checkpoint that has several are meant."""
    parser.add_argument(
        "--weights",
        choices=("raw", "ema"),
        help="of a checkpoint that has both; default: those it has",
    )


def say(text: str = "") -> None:
    """One line of a result for people, on stdout."""
    print(text)  # noqa: T201


def note(text: str) -> None:
    """One line about what is going on, on stderr."""
    print(text, file=sys.stderr)  # noqa: T201


def emit(result: dict[str, Any]) -> None:
    """The command's last line on stdout: one compact JSON object. NaN is refused: it is not JSON."""
    print(json.dumps(result, separators=(",", ":"), allow_nan=False), flush=True)  # noqa: T201


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterates with a progress bar on stderr, only on a terminal and only after two seconds."""
    from tqdm import tqdm

    yield from tqdm(items, desc=what, total=total, delay=2, disable=not sys.stderr.isatty(), leave=False)


def refuse_existing(path: Path, force: bool) -> None:
    """Raises UserError if `path` exists and `force` was not given."""
    if path.exists() and not force:
        raise UserError(
            f"no file at {path}", "one that exists", "pass --force to replace it, or --out for another name"
        )


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renamed to `path` when the block succeeds, else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
