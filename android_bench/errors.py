"""The two ways a benchmark ends without a figure, and how a command says so: a wrong request, a failed run."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """The user's input was wrong: what was expected, what was found, what to do. Exit code 2."""

    def __init__(self, expected: str, found: str, todo: str) -> None:
        self.expected, self.found, self.todo = expected, found, todo
        super().__init__(f"expected {expected}; found {found}; {todo}")


class RunError(RuntimeError):
    """The runtime refused the file or crashed, or runs are missing. Exit code 1."""


def exit_code(prog: str, body: Callable[[], int]) -> int:
    """What body() returns; an error is one line on stderr and its exit code, an interruption 130."""
    try:
        return body()
    except (InputError, RunError, OSError) as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 1 if isinstance(error, RunError) else 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; nothing was written", file=sys.stderr)  # noqa: T201
        return 130
