"""How far a command is: a bar on a terminal; elsewhere, as in a log, a line every few seconds."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from mobileiqa.text import note, printable

T = TypeVar("T")

FIRST_LINE_S, NEXT_LINE_S = 2.0, 5.0  # where there is no terminal


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterates, and shows on stderr how far it is once that takes two seconds.

    A bar on a terminal; elsewhere, as in a log, a line every few seconds: count, rate, time left.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total, delay=FIRST_LINE_S, leave=False)
    else:
        yield from _lines(items, what, total)


def _lines(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    start = time.monotonic()
    due, count = start + FIRST_LINE_S, 0
    for item in items:
        yield item
        count, now = count + 1, time.monotonic()
        if now >= due:
            note(_progress_line(what, count, total, now - start))
            due = now + NEXT_LINE_S


def status() -> Callable[[str], None]:
    """A function that shows what runs now: on one line of a terminal; elsewhere, as in a log, every few seconds."""
    if sys.stderr is not None and sys.stderr.isatty():
        return lambda text: print(  # noqa: T201
            f"\r\033[K{printable(text)}", end="\r", file=sys.stderr, flush=True
        )
    due = [time.monotonic() + FIRST_LINE_S]

    def show(text: str) -> None:
        if time.monotonic() >= due[0]:
            note(text)
            due[0] = time.monotonic() + NEXT_LINE_S

    return show


def _progress_line(what: str, count: int, total: int | None, seconds: float) -> str:
    r"""Such as "scoring: 120 of 5000, 35.2/s, 2:19 left"."""
    rate = count / seconds
    pace = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
    if total is None:
        return f"{what}: {count}, {pace}"
    left = f"{_clock((total - count) / rate)} left" if count < total else f"done in {_clock(seconds)}"
    return f"{what}: {count} of {total}, {pace}, {left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
