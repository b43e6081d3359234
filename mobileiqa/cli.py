"""What every command shares: its name as it was typed, exit codes, the last JSON line, one-line errors, progress.

Exit 0: done. 1: a gate failed. 2: the user's input was wrong (one line on stderr, no traceback). 130, 143, 129:
ended by Ctrl-C, `kill`, a closed terminal (interruption.py). 141: whoever read stdout has gone, as `head` does.
The last line on stdout is one compact JSON object, for machines; on a terminal only with --json. What a terminal
cannot show is written out (`\\xe9`, `\\u5199`), so no name costs a result.
"""

import argparse
import json
import os
import re
import select
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mobileiqa.errors import RunError, UserError, one_line
from mobileiqa.files import claims, interruption
from mobileiqa.files.interruption import Signals, Terminated
from mobileiqa.files.outputs import (
    atomic,
    refuse_existing,
    refuse_existing_folder,
    refuse_existing_in,
    write_bytes,
    write_json,
    write_text,
)
from mobileiqa.progress import progress, status
from mobileiqa.text import PLOT_METADATA, flush_or_drop, integer, note, printable, real

__all__ = [
    "Terminated", "atomic", "command", "emit", "note", "older", "parser", "progress", "refuse_existing",
    "refuse_existing_folder", "refuse_existing_in", "run", "save_plot", "say", "status", "typed", "warn",
    "write_bytes", "write_json", "write_text",
]  # fmt: skip

T = TypeVar("T")

_TYPED: ContextVar[tuple[str, Mapping[str, str]]] = ContextVar("_TYPED")  # not of `python -m MODULE`
_PROG = ContextVar("_PROG", default="")  # of the running command
_ONLY_JSON = ContextVar("_ONLY_JSON", default=False)  # --json without a path
_WORDS: ContextVar[set[str]] = ContextVar("_WORDS")  # not empty once the running command has said something
_COMMAND = re.compile(r"(python (-m )?)?\S+")
_MODULE = re.compile(r"python -m ([a-z_]+(?:\.[a-z_0-9]+)*)")
_NO_GLYPH = re.compile(r"Glyph (\d+) .*missing from")  # matplotlib's warning
_READER_GONE = 141  # 128 + SIGPIPE, as a shell says it of other programs


@contextmanager
def typed(prog: str, names: Mapping[str, str]) -> Iterator[None]:
    """In the block a command is called `prog`, as it was typed, and others that it mentions by `names`: of modules."""
    with _value(_TYPED, (prog, names)):
        yield


@contextmanager
def _value(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def as_typed(text: str) -> str:
    """`text` with each `python -m MODULE` of ours as this command was typed: `mobileiqa NAME`."""
    _, names = _TYPED.get(("", {}))
    return _MODULE.sub(lambda match: names.get(match[1], match[0]), text) if names else text


def command(
    parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace], int], argv: Sequence[str] | None
) -> int:
    """Parses `argv` and runs the command; returns its exit code (see `run`)."""
    arguments = parser.parse_args(argv)

    def checked() -> int:
        path = getattr(arguments, "json", None)  # a model, where --json without a path stands before it
        if path and path.is_file() and path.suffix.lower() != ".json":
            todo = "put --json without a path last"
            raise UserError(
                "a .json file for --json, and none of the inputs", f"{path}, which is there", todo
            )
        return body(arguments)

    return run(parser.prog, checked)


def run(prog: str, body: Callable[[], int]) -> int:
    """Runs a command's body; a UserError, an OS error or a signal becomes one line on stderr and an exit code."""
    with _streams(), _value(_PROG, prog), _value(_WORDS, set()), interruption.listening() as signals:
        try:
            with claims.command():
                code = body()
                if sys.stdout is not None:
                    sys.stdout.flush()  # in here: a command has ended when its last line is out
            return code
        except (Exception, KeyboardInterrupt) as error:
            interruption.deaf()
            code = _ended(prog, error, signals)
            if code is None:
                raise
            return code


def _ended(prog: str, error: BaseException, signals: Signals) -> int | None:
    """The exit code of a command that raised `error`, which is said in one line; None for a bug."""
    gone = isinstance(error, BrokenPipeError) and _reader_gone()
    flush_or_drop(sys.stdout)
    if signals.number or isinstance(error, KeyboardInterrupt):  # after a signal any error may be its echo
        number = signals.number or (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
        words = str(error) if isinstance(error, KeyboardInterrupt) else ""
        note(f"{prog}: interrupted; {one_line(words) or 'nothing half written was left behind'}")
        return 128 + number
    if gone:
        return _READER_GONE
    if isinstance(error, UserError | RunError):
        warn(one_line(str(error)), prog)
        return 1 if isinstance(error, RunError) else 2
    if isinstance(error, OSError):
        note(f"{prog}: {one_line(str(error))}; check the path, its permissions and the space left")
    elif isinstance(error, UnicodeEncodeError):
        bad = one_line(ascii(error.object)[:200])
        note(f"{prog}: expected names in {error.encoding}; found {bad}; rename the file or folder")
    else:
        return None
    return 2


@contextmanager
def _streams() -> Iterator[None]:
    """stdout writes out what it cannot encode; a closed standard stream is the null device, not the next file."""
    for number in range(3):
        with suppress(OSError):
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number: this
    stream = sys.stdout
    before = getattr(stream, "errors", None)
    if before is None or not hasattr(stream, "reconfigure"):
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


def _reader_gone() -> bool:
    """Whether it is stdout's other end that has gone, and not that of some other pipe."""
    with suppress(OSError, ValueError, AttributeError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False


class _Json(argparse.Action):
    """--json: the JSON line only. With a path: everything as JSON, in that file."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        if values:
            setattr(namespace, self.dest, values)
        else:
            _ONLY_JSON.set(True)


class _Store(argparse._StoreAction):
    """argparse's, but an option typed again loses nothing: lists are joined, and of a pair only one is taken.

    For argparse the last one counts, in silence: `--set a=1 --set b=2` would be `--set b=2`.
    """

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Stores the values."""
        earlier = getattr(namespace, self.dest, self.default)
        if option_string and isinstance(values, list) and earlier is not self.default:
            if isinstance(self.nargs, int):
                parser.error(
                    f"expected {option_string} once; found it again, with {' '.join(map(str, values))}"
                )
            values = [*earlier, *values]
        super().__call__(parser, namespace, values, option_string)


class Parser(argparse.ArgumentParser):
    """An argument parser whose error is one line, with exit code 2, and whose --help a pipe may cut short."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("action", None, _Store)
        self.register("action", "store", _Store)
        self.register("type", int, integer)  # every argument of type=int, and so in subcommands
        self.register("type", float, real)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; every command has --json, without a path where it writes no such file."""
        if self._subparsers is None and "--json" not in self._option_string_actions:
            self.add_argument(
                "--json", action=_Json, nargs=0, help="print the JSON line only, on a terminal too"
            )
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As argparse's; what the arguments name is known to the command, which never writes over it."""
        _ONLY_JSON.set(False)
        parsed = super().parse_args(args, namespace)
        claims.remember(vars(parsed), self.prog)
        return parsed

    def format_help(self) -> str:
        """As argparse's, with commands called as this one was."""
        return as_typed(super().format_help())

    def error(self, message: str) -> NoReturn:
        """One line on stderr."""
        warn(f"{one_line(message)}; see {self.prog} --help", self.prog)
        self.exit(2)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Flushes here, where it can still be said quietly that nobody reads."""
        if message:
            note(one_line(message))
        with suppress(OSError, AttributeError):
            sys.stdout.flush()
            sys.exit(status)
        gone = _reader_gone()
        flush_or_drop(sys.stdout)
        sys.exit(status or (_READER_GONE if gone else 2))


def parser(summary: str, example: str) -> argparse.ArgumentParser:
    """An argument parser whose help ends in a working example and whose errors are one line.

    The example begins with the command, `python -m MODULE`, which is shown as it was typed.
    """
    match = _COMMAND.match(example)
    assert match, "an example begins with its command"
    prog = _TYPED.get(("", {}))[0] or match[0]
    return Parser(
        prog=prog,
        description=summary,
        epilog=f"example:\n  {prog}{example[match.end() :]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def input_path(text: str) -> Path:
    """argparse's `type` of a file or folder that is read: an empty text is none, not the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty path; . is the current folder")
    return Path(text)


def model_name(text: str) -> str:
    """An argument that names a model of the zoo, with or without variants."""
    from mobileiqa.errors import UserError
    from mobileiqa.zoo import entry

    try:
        return entry(text).spec.name
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_json(parser: argparse.ArgumentParser, content: str) -> None:
    """The flag --json of a command that can write `content` into a file."""
    about = (
        f"write {content} to PATH (- is stdout); without PATH: print the JSON line only, on a terminal too"
    )
    parser.add_argument("--json", action=_Json, nargs="?", type=Path, metavar="PATH", help=about)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The flag --weights: which weights of a checkpoint that has several are meant."""
    parser.add_argument(
        "--weights",
        choices=("raw", "ema"),
        help="of a checkpoint that has both; default: those it has",
    )


def warn(text: str, prog: str = "") -> None:
    """One line about what went wrong, or may have, on stderr, after the command's name where one is running."""
    name = prog or _PROG.get()
    note(as_typed(f"{name}: {text}" if name else text))


def older(prog: str, now: str) -> None:
    """Says what to type now instead of an earlier version's name."""
    warn(f"an older name; type `{now}` now", prog)


def say(text: str = "") -> None:
    """One line of a result, printable, on stdout; on stderr where stdout is data; nowhere with --json alone."""
    _WORDS.get(set()).add(text)
    if not _ONLY_JSON.get():
        _print(as_typed(text))


def _print(text: str) -> None:
    if claims.stdout_is_data():
        note(text)
    else:
        print(printable(text, "\n"), flush=True)  # noqa: T201


def save_plot(figure: Any, out: Any, dpi: float | None = None) -> None:
    """A matplotlib figure as a PNG that a search for images leaves out. `out`: a path or a binary file.

    Characters that the plot's font lacks become boxes, of which one line is said.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(out, format="png", dpi=dpi or "figure", metadata=PLOT_METADATA)
    lacking: dict[str, None] = {}
    for warning in caught:
        if match := _NO_GLYPH.match(str(warning.message)):
            lacking[chr(int(match[1]))] = None
    if lacking:
        shown = "".join(list(lacking)[:20])
        note(f"note: {len(lacking)} characters are boxes in the plot, whose font lacks them: {shown}")


def emit(result: dict[str, Any], shown: bool = False) -> None:
    r"""The command's last line on stdout: one compact JSON object, ASCII (`\udcff`: a byte that is no UTF-8).

    On a terminal, whose reader has the words before it, only with --json; where there were none (unless `shown` in
    another way) the fields are said.
    NaN is refused: it is not JSON.
    """
    line = json.dumps(result, separators=(",", ":"), allow_nan=False)
    if _ONLY_JSON.get() or sys.stdout is None or not sys.stdout.isatty():
        _print(line)
    elif not shown and not _WORDS.get(set()):
        for name, value in result.items():
            say(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
