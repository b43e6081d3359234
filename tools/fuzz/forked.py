"""The product's helper processes, started by fork: the same scripts in processes of their own, without the imports.

`score`, `inspect` and others run a file in a fresh Python first; starting one takes a third of a second, a hundred
times as long as the file. Only how the process comes to be differs: its limits, output and end are the script's own.
"""

import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

POLL_S = 0.002


def install() -> None:
    """Makes subprocess.run fork for `[sys.executable, "-P", SCRIPT, ...]`; any other command starts as always."""
    import ai_edge_litert.interpreter  # noqa: F401  (imported here once, not in every process)

    subprocess.run = _dispatching(subprocess.run)


def _dispatching(start: Callable[..., Any]) -> Callable[..., Any]:
    def run(command: Any, **options: Any) -> Any:
        if list(command[:2]) == [sys.executable, "-P"] and str(command[2]).endswith(".py"):
            return fork([str(word) for word in command[2:]], options)
        return start(command, **options)

    return run


def fork(command: list[str], options: dict[str, Any]) -> "subprocess.CompletedProcess[Any]":
    """subprocess.run of a script and its arguments; stdout and stderr are always captured."""
    sys.stdout.flush()
    sys.stderr.flush()
    files = [os.memfd_create(name) for name in ("stdout", "stderr")]
    pid = os.fork()
    if pid == 0:
        _child(command, files, options.get("env"))
    try:
        status = _status(pid, options.get("timeout"))
        printed = [_content(file) for file in files]
    finally:
        for file in files:
            os.close(file)
    if options.get("text"):
        printed = [content.decode(errors="replace") for content in printed]
    if status is None:
        raise subprocess.TimeoutExpired(command, options["timeout"], *printed)
    return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(status), *printed)


def _child(command: list[str], files: list[int], environment: dict[str, str] | None) -> NoReturn:
    """Runs the script as `python SCRIPT` does, and ends."""
    code: Any = 1
    try:
        for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), *files)):
            os.dup2(file, number)
        os.environ.update(environment or {})
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 (as the interpreter itself would show it)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def _status(pid: int, timeout: float | None) -> int | None:
    """How the process ended; None where it was killed after `timeout` seconds."""
    end = time.monotonic() + timeout if timeout else None
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if end is not None and time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(POLL_S)


def _content(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(file, 1 << 20), b""))
