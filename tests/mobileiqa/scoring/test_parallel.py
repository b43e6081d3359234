"""Worker processes: rows in order, none lost when one dies, and what --workers takes."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobileiqa import score
from mobileiqa.errors import RunError, UserError
from mobileiqa.scoring import first_run, parallel
from mobileiqa.scoring.rows import Row
from tools.make_env import ENVS

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_scores_every_photo_once(photos: Path, tiny, tmp_path: Path) -> None:
    python = ENVS / "ray" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .envs/ray: `make ray` builds it")
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(600):
        os.link(photos / f"photo{index % 4}.{'jpg' if index % 2 else 'png'}", folder / f"{index:03d}.jpg")
    (folder / "broken.jpg").write_text("words")
    words = [str(folder), "--model", str(tiny[2])]
    assert score.main([*words, "--out", str(whole := tmp_path / "whole.jsonl")]) == 0
    out, script = tmp_path / "ray.jsonl", Path(__file__).with_name("ray_cluster.py")
    run = subprocess.run(
        [python, script, "100", out, *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "ray", "--workers", "2"], "--workers with --engine"),
        (["--address", "x:1"], "--address without --engine"),
        (["--engine", "ray"], "ray"),
    ],
)
def test_flags_of_a_cluster_that_do_not_go_together(
    flags: list[str], message: str, photos: Path, tiny, capsys, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert score.main([str(photos), "--model", str(tiny[2]), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
