"""Worker processes that start afresh.

A forked copy of a process that has threads (OpenMP's, OpenCV's) can wait for ever for a lock that one of them
held; a spawned one imports its modules again, in under a second, and cannot.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def process_pool(workers: int | None = None, start: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """A pool of `workers` (default: one per core); `start` runs first in each, and must be importable."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=start)
