"""The two ways a benchmark ends without a figure, and how a command says so: a wrong request, a failed run."""

import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from mobileiqa.errors import UserError, one_line


class InputError(UserError):
    """The user's input was wrong: what was expected, what was found, what to do. Exit code 2."""


class RunError(RuntimeError):
    """The runtime refused the file or crashed, or runs are missing. Exit code 1."""


def exit_code(prog: str, body: Callable[[], int]) -> int:
    """What body() returns; an error is one line on stderr and its exit code; 130 after Ctrl-C, 143 after `kill`."""
    main = threading.current_thread() is threading.main_thread()  # only it can ask for signals
    before = signal.signal(signal.SIGTERM, _terminated) if main else None
    try:
        return body()
    except (UserError, RunError, OSError) as error:
        print(f"{prog}: {one_line(str(error))}", file=sys.stderr)  # noqa: T201
        return 1 if isinstance(error, RunError) else 2
    except KeyboardInterrupt as error:
        print(f"{prog}: interrupted; nothing was written", file=sys.stderr)  # noqa: T201
        return 143 if isinstance(error, _Terminated) else 130
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


class _Terminated(KeyboardInterrupt):
    """`kill` and CI's time limit end a command as Ctrl-C does: phones are cleaned, half-written files go."""


def _terminated(number: int, frame: object) -> NoReturn:
    raise _Terminated
