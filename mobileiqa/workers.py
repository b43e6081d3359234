"""Worker processes that start afresh, leave Ctrl-C to their parent, and do not outlive it.

A forked copy of a process that has threads (OpenMP's, OpenCV's) can wait for ever for a lock that one of them
held; a spawned one imports its modules again, in under a second, and cannot. A terminal sends Ctrl-C to workers too:
they are born with it blocked, so that none ends in a traceback, not even while it imports. After kill -9 of their
parent they would wait for work for ever: each watches it.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess


class _Worker(SpawnProcess):
    def start(self) -> None:
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            super().start()
            return
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # it unblocks what is blocked, so it goes first
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    Process = _Worker


def process_pool(workers: int | None = None, start: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """A pool of `workers` (default: one per core); `start` runs first in each, and must be importable."""
    return ProcessPoolExecutor(workers, mp_context=_Context(), initializer=_begin, initargs=(start,))


def _begin(start: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
