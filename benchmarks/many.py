"""Many photos: CPU time a photo beside an earlier checkout's, processes side by side, memory, a kill and a resume.

    git worktree add ../before COMMIT
    python benchmarks/many.py --photos photos/ --before ../before

The photos are linked under as many names as are scored. CPU times hold on a busy machine; rates of two workers want two
idle cores.
"""

import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import output
from benchmarks.checkouts import environment, run_python
from benchmarks.table import markdown
from mobileiqa import cli, zoo
from mobileiqa.errors import RunError, UserError
from mobileiqa.files import integrity
from mobileiqa.photos.search import find_images
from mobileiqa.scoring.parallel import cpus
from mobileiqa.scoring.row_files import partial_path

KILL_AT = 0.9
POLL_S = 0.05
MEMORY_AT = (0.1, 0.5, 1.0)  # shares of the photos


@dataclass(frozen=True)
class Pair:
    """CPU seconds a photo, of an earlier checkout and of this one, in turn."""

    before_s: float
    now_s: float


@dataclass(frozen=True)
class Scaled:
    """A run of all photos: photos per second of wall time, and the memory of its processes at MEMORY_AT."""

    workers: int
    photos_per_s: float
    memory_mb: tuple[float, ...]


@dataclass(frozen=True)
class Resumed:
    """A run of `photos` that was killed with `rows` written, and resumed."""

    photos: int
    rows: int
    rows_lost: int  # of those that were written
    same_bytes: bool


def main(argv: list[str] | None = None) -> int:
    """Exit 1 where a score differs from the earlier checkout's, or a resumed run lost a row."""
    parser = cli.parser(__doc__ or "", "python benchmarks/many.py --photos photos/ --before ../before")
    parser.add_argument("--photos", nargs="+", type=Path, required=True, metavar="PATH")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="an earlier checkout of this project")
    parser.add_argument("--model", type=Path, default=zoo.PACKAGED, metavar="FILE.tflite")
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="default %(default)s")
    parser.add_argument("--pair-photos", type=int, default=30, metavar="N", help="default %(default)s")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="default %(default)s")
    output.add_output(parser, "many")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    output.refuse_existing(args)
    photos = find_images(args.photos)
    if not photos:
        raise UserError("photos", f"none in {', '.join(map(str, args.photos))}", "name a folder of photos")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = list(_pairs(args, linked(photos, args.pair_photos, folder / "few"), folder))
        many = linked(photos, args.count, folder / "many")
        scaled = [_scaled(args.model, many, workers, folder) for workers in (1, len(cpus()))]
        resumed = killed_and_resumed(args.model, many, args.count, folder)
    content = {
        "photos": [path.name for path in photos], "model_sha256": integrity.sha256(args.model),
        "pairs": [asdict(pair) for pair in pairs], "scaled": [asdict(each) for each in scaled],
        "resumed": asdict(resumed), "cores": len(cpus()),
    }  # fmt: skip
    output.publish(args.out, content, page(len(photos), pairs, scaled, resumed), rows_lost=resumed.rows_lost)
    return int(resumed.rows_lost > 0 or not resumed.same_bytes)


def linked(photos: Sequence[Path], count: int, folder: Path) -> Path:
    """A folder of `count` links to the photos, in turn."""
    folder.mkdir()
    for number, photo in enumerate(islice(cycle(photos), count)):
        (folder / f"{number:06d}{photo.suffix}").symlink_to(photo.resolve())
    return folder


def _pairs(args: argparse.Namespace, folder: Path, scratch: Path) -> Iterator[Pair]:
    """The same photos by both checkouts in turn, on one core. Raises RunError where a score differs."""
    for _ in cli.progress(range(args.pairs if args.before else 0), "pairs of runs", args.pairs):
        scores, seconds = [], []
        for root in (args.before, ROOT):
            out = scratch / "pair.csv"
            cpu_s = _run(root, _arguments(args.model, folder, out, "--force"), {min(cpus())})
            seconds.append(cpu_s / args.pair_photos)
            with out.open(newline="") as file:
                scores.append([(row["image"], row["score"]) for row in csv.DictReader(file)])
        if scores[0] != scores[1]:
            raise RunError(f"the scores of {args.before} differ from these")
        yield Pair(*seconds)


def _arguments(model: Path, folder: Path, out: Path, *more: str) -> list[str]:
    return ["-m", "mobileiqa.score", str(folder), "--model", str(model.resolve()), "--out", str(out), *more]


def _run(root: Path, arguments: Sequence[str], cores: set[int]) -> float:
    """CPU seconds. Raises RunError where the command fails."""
    scoring = run_python(root, arguments, cores)
    if scoring.returncode:
        raise RunError(f"python {' '.join(arguments)}: {scoring.last_line}")
    return scoring.cpu_s


def _scaled(model: Path, folder: Path, workers: int, scratch: Path) -> Scaled:
    """All photos by so many workers; the rate is that of the rows between the first and the last."""
    out = scratch / f"scaled{workers}.jsonl"
    total = len(list(folder.iterdir()))
    marks = [max(1, round(total * share)) for share in MEMORY_AT]
    memory, first, process = [], None, _started(model, folder, out, "--workers", str(workers))
    while process.poll() is None and len(memory) < len(marks):
        rows = _rows(out)
        if rows and first is None:
            first = (rows, time.perf_counter())
        if rows >= marks[len(memory)]:
            memory.append(_memory_mb(process.pid))
            last = (rows, time.perf_counter())
        time.sleep(POLL_S)
    if process.wait() or first is None or len(memory) < len(marks) - 1:
        raise RunError(f"scoring with {workers} workers failed")
    return Scaled(workers, (last[0] - first[0]) / (last[1] - first[1]), tuple(memory))


def _started(model: Path, folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *_arguments(model, folder, out, *more)], cwd=ROOT, env=environment(ROOT),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _rows(out: Path) -> int:
    """Of a file of JSON lines that is being written."""
    path = out if out.exists() else partial_path(out)
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _memory_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def killed_and_resumed(model: Path, folder: Path, total: int, scratch: Path) -> Resumed:
    """kill -9 at KILL_AT of the rows of a Parquet file, then --resume; its rows beside those of an undisturbed run."""
    out, workers = scratch / "killed.parquet", ("--workers", str(len(cpus())))
    process = _started(model, folder, out, *workers)
    while process.poll() is None and _rows(out) < KILL_AT * total:
        time.sleep(POLL_S)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = partial_path(out).read_bytes() if partial_path(out).exists() else b""
    whole = before[: before.rfind(b"\n") + 1]
    _run(ROOT, _arguments(model, folder, out, "--resume", *workers), set(cpus()))
    undisturbed = scratch / f"scaled{len(cpus())}.jsonl"
    return Resumed(total, whole.count(b"\n"), _lost(whole, undisturbed), _same(out, undisturbed))


def _lost(whole: bytes, undisturbed: Path) -> int:
    """Rows that were written and are not what an undisturbed run has there."""
    rows = whole.splitlines()
    return sum(a != b for a, b in zip(rows, undisturbed.read_bytes().splitlines(), strict=False))


def _same(out: Path, undisturbed: Path) -> bool:
    from pyarrow import parquet

    table = parquet.read_table(out, columns=["image", "score"]).to_pylist()
    rows = [json.loads(line) for line in undisturbed.read_text().splitlines()]
    return table == [{"image": row["image"], "score": row["score"]} for row in rows]


def page(photos: int, pairs: Sequence[Pair], scaled: Sequence[Scaled], resumed: Resumed) -> str:
    """MANY.md."""
    parts = ["# Many photos", "Written by `benchmarks/many.py`, on one machine in one run."]
    if pairs:
        ratios = [pair.before_s / pair.now_s for pair in pairs]
        parts += [
            f"CPU time of one photo, of {photos} in turn: {len(pairs)} pairs of runs, one core, the same scores.",
            markdown(
                ["", "median", "least", "most"],
                [
                    _spread("before, s", [p.before_s for p in pairs]),
                    _spread("now, s", [p.now_s for p in pairs]),
                    _spread("before / now", ratios),
                ],
            ),
        ]
    heads = ["workers", "photos/s", "x one", *(f"MB at {share:.0%}" for share in MEMORY_AT)]
    parts += ["All photos, by one process and by one for each core:", markdown(heads, _rates(scaled))]
    parts.append(
        f"`kill -9` with {resumed.rows} of {resumed.photos} rows written, then `--resume`: {resumed.rows_lost} rows "
        f"lost; the Parquet file {'holds' if resumed.same_bytes else 'does not hold'} the undisturbed run's rows."
    )
    return "\n\n".join(parts) + "\n"


def _rates(scaled: Sequence[Scaled]) -> list[list[str]]:
    one = scaled[0].photos_per_s
    return [
        [
            str(s.workers),
            f"{s.photos_per_s:.2f}",
            f"{s.photos_per_s / one:.2f}",
            *(f"{mb:.0f}" for mb in s.memory_mb),
        ]
        for s in scaled
    ]


def _spread(name: str, values: Sequence[float]) -> list[str]:
    return [name, *(f"{each(values):.3f}" for each in (statistics.median, min, max))]


if __name__ == "__main__":
    sys.exit(main())
