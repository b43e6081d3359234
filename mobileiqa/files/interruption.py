"""How a signal ends a command: 130 after Ctrl-C, 143 after `kill`, 129 when the terminal goes, and no traceback.

While a command's imports run there is nothing to clean, so the process just ends (mobileiqa/__init__.py). Once its
body runs, a signal is an exception (`listening`): workers end, half-written files go, rows stay. A signal that the
process was started to ignore, as `nohup` does for SIGHUP, stays ignored.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """`kill`, CI's time limit and a closed terminal stop a command as Ctrl-C does."""


@dataclass
class Signals:
    """The signal that came while a command ran, if any did."""

    number: int = 0

    def raise_for(self, number: int, frame: object) -> NoReturn:
        """The handler."""
        self.number = number
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated


@contextmanager
def listening() -> Iterator[Signals]:
    """Signals raise KeyboardInterrupt or Terminated in the block. In another thread than the main one none come."""
    signals = Signals()
    if not _in_main_thread():
        yield signals
        return
    before = {number: signal.getsignal(number) for number in NUMBERS}
    ignored = (signal.SIG_IGN, None)  # None: a handler that is not Python's
    heard = {number: handler for number, handler in before.items() if handler not in ignored}
    for number in heard:
        signal.signal(number, signals.raise_for)
    try:
        yield signals
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """A signal that comes in the block is raised at its end: for a few renames that belong together."""
    came: list[int] = []
    if not _in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in NUMBERS}
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def deaf() -> None:
    """From here to the end of `listening`'s block no signal interrupts: the command is ending already."""
    if _in_main_thread():
        for number in NUMBERS:
            if signal.getsignal(number) is not None:
                signal.signal(number, signal.SIG_IGN)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
