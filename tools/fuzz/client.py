"""The parent's end of worker.py: asks for one command, waits, and ends a process that hangs or eats memory."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tools.fuzz.case import INPUT, OUTPUT, SEEDS, Case, Outcome, Step

HANG_S = 60.0
RESIDENT = 6 << 30  # bytes of the worker and its children together
RECYCLE = 1500  # steps after which a process is replaced, so that nothing piles up in it
POLL_S = 0.25
ROOT = Path(__file__).resolve().parents[2]


class Client:
    """One worker process at a time, restarted when it ended. Not shared between threads."""

    def __init__(self, folder: Path, seeds: Path, fault: str = "", hang_s: float = HANG_S) -> None:
        self.folder, self.seeds, self.fault, self.hang_s = folder, seeds, fault, hang_s
        self.temporary = folder / "tmp"
        self.process: subprocess.Popen[bytes] | None = None
        self.steps = 0
        folder.mkdir(parents=True)

    def run(self, case: Case) -> list[Outcome]:
        """Every step of a case, in order, in fresh folders, which are removed again."""
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        folders = {INPUT: place / "in", OUTPUT: place / "out", SEEDS: self.seeds}
        case.write(folders[INPUT])
        folders[OUTPUT].mkdir()
        before = _tree(folders[INPUT])
        outcomes = []
        for step in case.steps:
            answer = self.ask(step.module, list(step.resolved(folders)))
            left = [*_tree(folders[OUTPUT]), *(f"tmp/{name}" for name in _tree(self.temporary))]
            left += [f"in/{name}" for name in _tree(folders[INPUT]) if name not in before]
            outcomes.append(Outcome(step, left=left, **answer))
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir(exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        return outcomes

    def ask(self, module: str, arguments: list[str]) -> dict[str, Any]:
        """The fields of an Outcome for one command."""
        if self.process is None or self.process.poll() is not None or self.steps >= RECYCLE:
            self._start()
        assert self.process is not None and self.process.stdin is not None
        self.steps += 1
        request = json.dumps({"module": module, "arguments": arguments})
        start = time.monotonic()
        with suppress(BrokenPipeError):
            self.process.stdin.write(request.encode("utf-8", "surrogateescape") + b"\n")
            self.process.stdin.flush()
        line, ended = self._answer(start + self.hang_s)
        if line:
            return json.loads(line)
        ended = ended or self._ending()
        printed = {name: _read(self.folder / name) for name in ("stdout", "stderr")}
        self.close()
        return {"exit_code": None, "ended": ended, "seconds": time.monotonic() - start, **printed}

    def close(self) -> None:
        """Ends the process and its children."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        os.close(self.answers)
        self.process = None

    def _start(self) -> None:
        self.close()
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()
        self.answers, theirs = os.pipe()
        environment = {
            **os.environ, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8:strict", "COLUMNS": "120",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor"),  # torch makes it on import
        }  # fmt: skip
        command = [sys.executable, "-m", "tools.fuzz.worker", str(theirs), str(self.folder), self.fault]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=environment, cwd=self.folder, pass_fds=[theirs],
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.steps, self.buffer = 0, b""

    def _answer(self, deadline: float) -> tuple[bytes, str]:
        """A line, or how waiting for it was ended; both empty where the process closed its end."""
        while b"\n" not in self.buffer:
            if time.monotonic() > deadline:
                return b"", "hang"
            if self._resident() > RESIDENT:
                return b"", "memory"
            if select.select([self.answers], [], [], POLL_S)[0]:
                content = os.read(self.answers, 1 << 20)
                if not content:
                    return b"", ""
                self.buffer += content
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line, ""

    def _ending(self) -> str:
        assert self.process is not None
        code = self.process.wait()
        return f"signal {-code}" if code < 0 else f"exit {code} without an answer"

    def _resident(self) -> int:
        assert self.process is not None
        pages = (_pages(pid) for pid in _family(self.process.pid))
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def _family(pid: int) -> Iterator[int]:
    """The process and what it started, to any depth."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                yield from _family(int(child))


def _pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0


def _tree(folder: Path) -> list[str]:
    """Every file and every empty folder below `folder`."""
    paths = (path for path in folder.rglob("*") if not path.is_dir() or not any(path.iterdir()))
    return sorted(str(path.relative_to(folder)) for path in paths)


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""


def step(module: str, *arguments: str) -> Step:
    """A step, shorter to write."""
    return Step(module, arguments)
