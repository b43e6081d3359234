"""How long each stage of a command takes: wall seconds, CPU seconds, and the memory's peak by its end.

    with recording("converting a.pth") as clock:
        with stage("export"):
            ...
    clock.rows()

`stage` is called where the work is, however deep that lies; outside of `recording` it does nothing. A stage within
another one stops the outer one's time while it runs, so that the rows add up to the whole command.
"""

import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

from mobileiqa import text
from mobileiqa.freed_memory import give_back
from mobileiqa.progress import FIRST_LINE_S

OTHER = "other"  # what lies outside of all stages: arguments, imports, the report itself
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss


@dataclass
class StageTime:
    """One stage, all its parts together."""

    stage: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0  # user and system, of all threads and of child processes that ended
    peak_mb: float = 0.0  # the largest resident memory of the process from its start to the end of this stage


class StageClock:
    """The stages of one command, in the order in which they began."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.stderr: int | None = None  # a descriptor of its own: while a converter runs, 2 leads to a log
        self.times: dict[str, StageTime] = {}
        self._open = [OTHER]
        self._wall, self._cpu = time.perf_counter(), 0.0  # CPU time from the start of the process

    def enter(self, name: str) -> None:
        """The stage `name` begins; the one that ran waits."""
        self._charge()
        self._open.append(name)
        self.times.setdefault(name, StageTime(name))

    def leave(self) -> None:
        """The innermost stage ends, and gives back what it freed: allocators keep it, and stages want other sizes."""
        give_back()
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        """Adds what went by since the last call to the stage that runs."""
        wall, cpu = time.perf_counter(), _cpu_seconds()
        now = self.times.setdefault(self._open[-1], StageTime(self._open[-1]))
        now.seconds += wall - self._wall
        now.cpu_seconds += cpu - self._cpu
        now.peak_mb = _peak_mb()
        self._wall, self._cpu = wall, cpu

    @contextmanager
    def line_when_long(self, name: str) -> Iterator[None]:
        """Says on stderr that the stage `name` runs, if the block takes more than FIRST_LINE_S."""
        if self.stderr is None:
            yield
            return
        line = f"{text.printable(f'{self.what}: {name}')}\n".encode()
        timer = threading.Timer(FIRST_LINE_S, os.write, (self.stderr, line))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def rows(self) -> list[StageTime]:
        """The stages so far, `OTHER` last."""
        self._charge()
        return sorted(self.times.values(), key=lambda row: row.stage == OTHER)

    def table(self) -> list[str]:
        """`rows` and their sum as lines of text."""
        rows = self.rows()
        total = StageTime(
            "all",
            sum(r.seconds for r in rows),
            sum(r.cpu_seconds for r in rows),
            max(r.peak_mb for r in rows),
        )
        cells = [
            (r.stage, f"{r.seconds:.1f}", f"{r.cpu_seconds:.1f}", f"{r.peak_mb:,.0f}") for r in (*rows, total)
        ]
        return text.table([("stage", "seconds", "CPU s", "peak MB"), *cells]).splitlines()

    def to_json(self) -> list[dict[str, Any]]:
        """`rows`, rounded."""
        return [
            {
                name: value if isinstance(value, str) else round(value, 2)
                for name, value in asdict(row).items()
            }
            for row in self.rows()
        ]


_CLOCK: ContextVar[StageClock | None] = ContextVar("clock", default=None)


@contextmanager
def recording(what: str) -> Iterator[StageClock]:
    """A clock for the stages of the block; `what` is said before a stage's name where one takes long."""
    clock = StageClock(what)
    with suppress(OSError, ValueError, AttributeError):  # no stderr, or one without a descriptor
        clock.stderr = os.dup(sys.stderr.fileno())
    token = _CLOCK.set(clock)
    try:
        yield clock
    finally:
        _CLOCK.reset(token)
        if clock.stderr is not None:
            os.close(clock.stderr)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """The block is the stage `name`; off a terminal too, stderr says so once it takes two seconds."""
    clock = _CLOCK.get()
    if clock is None:
        yield
        return
    with clock.line_when_long(name):
        clock.enter(name)
        try:
            yield
        finally:
            clock.leave()


def _cpu_seconds() -> float:
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT / 1e6
