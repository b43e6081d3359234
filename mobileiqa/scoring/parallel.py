"""A function of one photo in worker processes or on a Ray cluster: rows in the photos' order, none lost in a crash.

Each process loads the model itself and runs it on one thread; where there is one for every core, each is pinned to
its own. What dies (a crafted photo, no memory left) takes its pool along: the photos that were under way are then
done one by one, and the one that ends its process again gets a row that says so.

On a cluster Ray Data sends paths to tasks of a few photos and gives rows back in order; tasks of a node that is gone
run again elsewhere. Every node needs mobileiqa, and the model and the photos under the same names. Only this process
writes, so each photo has one row, whatever happens.
"""

import functools
import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from mobileiqa.errors import RunError, UserError, install_command
from mobileiqa.freed_memory import keep_photo_memory
from mobileiqa.scoring.rows import Row
from mobileiqa.workers import process_pool

AUTO = "auto"
MAX_WORKERS = 1024
WAITING = 4  # photos under way or waiting, per process
RAY_BATCH = 16  # photos of one task
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
        keep_photo_memory()
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
    keep_photo_memory()
    _function = row_of
    if numbers is not None and hasattr(os, "sched_setaffinity"):
        with numbers.get_lock():
            number, numbers.value = numbers.value, numbers.value + 1
        own = cpus()
        os.sched_setaffinity(0, {own[number % len(own)]})


def _call(photo: str) -> Row:
    assert _function is not None, "a worker begins with _begin"
    return _function(photo)


def ray_rows(photos: Sequence[str], row_of: RowOf, address: str | None) -> Iterator[Row]:
    """The same on a Ray cluster, by Ray Data. address: of a running cluster; None: one of this machine's cores.

    Raises UserError where Ray is not installed or no cluster is there, RunError where the cluster fails.
    """
    ray = _import_ray()
    if not photos:
        return
    try:
        ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"a Ray cluster at {address}", str(error), "start it with `ray start`") from error
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    ray.data.DataContext.get_current().enable_progress_bars = False
    items = [{"photo": pickle.dumps(photo)} for photo in photos]
    tasks = ray.data.from_items(items, override_num_blocks=-(-len(items) // RAY_BATCH))
    scored = tasks.map_batches(functools.partial(_scored, row_of=row_of), batch_size=RAY_BATCH, num_cpus=1)
    try:
        for row in scored.iter_rows():
            yield pickle.loads(row["row"])
    except ray.exceptions.RayError as error:
        raise RunError(f"the Ray cluster failed: {str(error).splitlines()[-1]}") from error
    finally:
        ray.shutdown()


def _scored(batch: dict[str, Any], row_of: RowOf) -> dict[str, list[bytes]]:
    """The rows of a task's photos, pickled: a name of any bytes comes back as it is."""
    return {"row": [pickle.dumps(row_of(pickle.loads(photo))) for photo in batch["photo"]]}


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UserError(
            "the package ray for --engine ray", f"no {error.name}", install_command("ray")
        ) from error
    return ray
