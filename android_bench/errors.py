"""The two ways a benchmark ends without a figure: the request was wrong, or the run failed."""


class InputError(ValueError):
    """The user's input was wrong: what was expected, what was found, what to do. Exit code 2."""

    def __init__(self, expected: str, found: str, todo: str) -> None:
        self.expected, self.found, self.todo = expected, found, todo
        super().__init__(f"expected {expected}; found {found}; {todo}")


class RunError(RuntimeError):
    """The runtime refused the file or crashed, or runs are missing. Exit code 1."""
