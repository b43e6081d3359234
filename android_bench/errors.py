"""The two ways a benchmark ends without a figure, and how a command says so: a wrong request, a failed run."""

from collections.abc import Callable

from mobileiqa import cli
from mobileiqa.errors import UserError, one_line


class InputError(UserError):
    """The user's input was wrong: what was expected, what was found, what to do. Exit code 2."""


class RunError(RuntimeError):
    """The runtime refused the file or crashed, or runs are missing. Exit code 1."""


def exit_code(prog: str, body: Callable[[], int]) -> int:
    """What body() returns; an error is one line on stderr and its exit code, as in every command (mobileiqa.cli)."""

    def ended() -> int:
        try:
            return body()
        except RunError as error:
            cli.note(f"{prog}: {one_line(str(error))}")
            return 1

    return cli.run(prog, ended)
