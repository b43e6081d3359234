"""The child process: calls the commands' own `main(argv)`, one after the other, and says what came of each.

Requests are lines of JSON on stdin, answers lines of JSON on the descriptor named first; everything that a command
prints, native libraries included, goes to files and comes back with the answer. An exception that leaves `main` is
what a user would see as a traceback. The process may end at any time: client.py starts another.
"""

import contextlib
import importlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ADDRESS_SPACE = 16 << 30  # bytes; torch alone maps several


def main() -> int:
    """Answers requests until stdin ends. Arguments: answer's descriptor, folder for captured output, fault's name."""
    descriptor, folder, fault = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    requests = os.fdopen(os.dup(0), encoding="utf-8", errors="surrogateescape")
    answers = os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    prepare(folder, fault)
    for line in requests:
        request = json.loads(line)
        json.dump(run(request["module"], request["arguments"], folder), answers)
        answers.write("\n")
        answers.flush()
    return 0


def prepare(folder: Path, fault: str) -> None:
    """Limits, captured output, one thread, the tiny model, and the fault that was asked for."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("always")  # else a warning shows for the first case alone
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), number)
    from tools.fuzz import faults, forked, tiny

    tiny.register()
    forked.install()
    faults.put_back(fault)


def run(module: str, arguments: list[str], folder: Path) -> dict[str, Any]:
    """One command's exit code, output, traceback and time."""
    start, trace, code = time.monotonic(), "", None
    try:
        code = _function(module)(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 (whatever leaves `main` is what is looked for)
        trace = traceback.format_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    seconds = time.monotonic() - start
    printed = dict(_printed(folder))
    return {"exit_code": code, "traceback": trace, "seconds": seconds, **printed}


def _function(module: str) -> Callable[[list[str]], int | None]:
    """`package.module`'s main, or `package.module:function` of a path, run as commands run theirs."""
    name, _, function = module.partition(":")
    if not function:
        return importlib.import_module(name).main

    def call(arguments: list[str]) -> int:
        from mobileiqa import cli

        def body() -> int:
            getattr(importlib.import_module(name), function)(*map(Path, arguments))
            print("{}")  # noqa: T201 (the last line that a command would end with)
            return 0

        return cli.run(module, body)

    return call


def _printed(folder: Path) -> Iterator[tuple[str, str]]:
    """What was printed since the last call; the files are emptied."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        yield name, (folder / name).read_bytes().decode("utf-8", "surrogateescape")
        os.ftruncate(number, 0)


if __name__ == "__main__":
    sys.exit(main())
