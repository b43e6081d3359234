"""Worker processes: rows in order, none lost when one dies, and what --workers takes."""

import functools
import os
from pathlib import Path

import pytest

from mobileiqa import score
from mobileiqa.errors import RunError, UserError
from mobileiqa.scoring import first_run, parallel
from mobileiqa.scoring.rows import Row

HELPER = """
import os, signal, time
from mobileiqa.errors import UserError
from mobileiqa.scoring.rows import Row

def row_of(photo, fatal=()):
    if photo in fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.001 * (hash(photo) % 5))
    return Row(photo, float(photo))

def refuse(photo):
    raise UserError("a model", "none", "name one")
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module that worker processes can import."""
    (tmp_path / "parallel_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    return importlib.import_module("parallel_helper")


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1.5", "9999"])
def test_a_number_of_workers_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match="--workers of 1"):
        parallel.count_of(text)


def test_auto_is_every_cpu_once() -> None:
    cpus = len(parallel.cpus())
    assert parallel.count_of("auto") == cpus and parallel.count_of("auto", 2 * cpus) == 1
    assert parallel.count_of("3") == 3


def test_one_worker_is_this_process() -> None:
    rows = parallel.rows(["a", "b"], lambda photo: Row(photo, float(os.getpid())), 1)
    assert [(row.image, row.score) for row in rows] == [("a", os.getpid()), ("b", os.getpid())]


@pytest.mark.slow
def test_rows_come_in_order_and_a_fatal_photo_gets_a_row_that_says_so(helper) -> None:
    photos = [str(n) for n in range(40)]
    row_of = functools.partial(helper.row_of, fatal=("3", "20"))
    rows = list(parallel.rows(photos, row_of, 2))
    assert [row.image for row in rows] == photos
    assert [row.image for row in rows if row.score is None] == ["3", "20"]
    assert {row.error for row in rows if row.score is None} == {parallel.DEATH}
    assert all(row.score == float(row.image) for row in rows if row.score is not None)


@pytest.mark.slow
def test_processes_that_die_whatever_the_photo_end_the_run(helper) -> None:
    photos = [str(n) for n in range(40)]
    rows = parallel.rows(photos, functools.partial(helper.row_of, fatal=tuple(photos)), 2)
    with pytest.raises(RunError, match="give them more memory"):
        list(rows)
    with pytest.raises(UserError, match="expected a model"):
        list(parallel.rows(photos, helper.refuse, 2))


@pytest.mark.slow
def test_workers_score_as_one_process_does_and_run_no_file_again(
    photos: Path, tiny, tmp_path: Path, monkeypatch
) -> None:
    """The cache of files that passed cannot be written, and a worker's first run would fail."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    monkeypatch.setattr(first_run, "_passed", set())
    monkeypatch.setattr(first_run, "_familiar", set())
    (tmp_path / "sitecustomize.py").write_text(
        "import mobileiqa.scoring.first_run as f\n"
        "def refuse(*_): raise AssertionError('a worker runs the file in a child')\n"
        "f._run = refuse\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    outs = [tmp_path / f"{n}.csv" for n in (1, 2)]
    for workers, out in enumerate(outs, 1):
        words = [str(photos), "--model", str(tiny[2]), "--out", str(out), "--workers", str(workers)]
        assert score.main(words) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
