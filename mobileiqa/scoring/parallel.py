"""A function of one photo in worker processes: rows in the photos' order, none lost when a process dies.

Each process loads the model itself and runs it on one thread; where there is one for every core, each is pinned to
its own. What dies (a crafted photo, no memory left) takes its pool along: the photos that were under way are then
done one by one, and the one that ends its process again gets a row that says so.
"""

import functools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from mobileiqa.errors import RunError, UserError
from mobileiqa.scoring.rows import Row
from mobileiqa.workers import process_pool

AUTO = "auto"
MAX_WORKERS = 1024
WAITING = 4  # photos under way or waiting, per process
MAX_DEATHS = 8  # of single photos in a row: then it is not the photos
DEATH = (
    "the process that scored it was ended, once with others and once alone: by the system, or by its memory"
)

RowOf = Callable[[str], Row]
_function: RowOf | None = None  # of this worker


def count_of(text: str, threads: int = 1) -> int:
    """--workers: a number, or `auto`, one process per `threads` of the CPUs that this one may use."""
    if text == AUTO:
        return max(1, len(cpus()) // threads)
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= MAX_WORKERS:
        raise UserError(f"--workers of 1..{MAX_WORKERS} or {AUTO}", repr(text), "correct --workers")
    return int(text)


def cpus() -> list[int]:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def rows(photos: Iterable[str], row_of: RowOf, workers: int) -> Iterator[Row]:
    """`row_of` of every photo, in order; with one worker in this process, else in so many others, which get it pickled.

    Raises UserError where the model does not load there, RunError where processes die whatever the photo.
    """
    if workers == 1:
        yield from map(row_of, photos)
        return
    waiting, deaths = iter(photos), 0
    while batch := list(islice(waiting, workers * WAITING)):
        under_way: deque[tuple[str, Future[Row]]] = deque()
        with _pool(row_of, workers) as pool:
            under_way.extend((photo, pool.submit(_call, photo)) for photo in batch)
            try:
                while under_way:
                    row = under_way[0][1].result()
                    photo, _ = under_way.popleft()
                    for following in islice(waiting, 1):
                        under_way.append((following, _submitted(pool, following)))
                    yield row
            except BrokenProcessPool:
                pass
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        for photo, future in under_way:
            row = _result(future) or _alone(photo, row_of)
            deaths = deaths + 1 if row.error == DEATH else 0
            if deaths == MAX_DEATHS:
                raise RunError(f"the processes of {deaths} photos in a row were ended; give them more memory")
            yield row


def _submitted(pool: ProcessPoolExecutor, photo: str) -> "Future[Row]":
    """The future of a photo; one that is broken already where the pool is."""
    try:
        return pool.submit(_call, photo)
    except BrokenProcessPool as error:
        future: Future[Row] = Future()
        future.set_exception(error)
        return future


def _result(future: "Future[Row]") -> Row | None:
    """What was done before the pool broke."""
    return future.result() if future.done() and not future.cancelled() and not future.exception() else None


def _alone(photo: str, row_of: RowOf) -> Row:
    with _pool(row_of, 1) as pool:
        try:
            return pool.submit(_call, photo).result()
        except BrokenProcessPool:
            return Row(photo, None, DEATH)


def _pool(row_of: RowOf, workers: int) -> ProcessPoolExecutor:
    numbers = multiprocessing.get_context("spawn").Value("i", 0) if workers == len(cpus()) > 1 else None
    return process_pool(workers, functools.partial(_begin, row_of, numbers))


def _begin(row_of: RowOf, numbers: Any) -> None:
    """Once in each worker, before the model is loaded."""
    global _function
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _function = row_of
    if numbers is not None and hasattr(os, "sched_setaffinity"):
        with numbers.get_lock():
            number, numbers.value = numbers.value, numbers.value + 1
        own = cpus()
        os.sched_setaffinity(0, {own[number % len(own)]})


def _call(photo: str) -> Row:
    assert _function is not None, "a worker begins with _begin"
    return _function(photo)
