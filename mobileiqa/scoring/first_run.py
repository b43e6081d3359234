"""A .tflite file runs once in a process of its own before it may run in this one.

LiteRT checks few of the offsets, sizes and indices in a file: a crafted or damaged one can end the process that loads
it (SIGSEGV), eat all memory or never return. A file that survives is remembered by its SHA-256, in this process and
in the user's cache folder, so that the next command does not pay again. Left out: what depends on a photo's own
values, and a sandbox; a file made to attack the machine runs with the rights of whoever scores it.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from mobileiqa import cli, typed_json
from mobileiqa.errors import UserError
from mobileiqa.files import integrity

CHILD = Path(__file__).with_name("first_run_child.py")
TIMEOUT_S = 300.0  # MobileNet-IQA as other converters write it takes 6 s on an idle core
MEMORY_BYTES = 8 << 30  # address space, and what the file itself takes eight times over
MAX_HASHES = 512
HASHES, FILES = "sha256", "files"  # in the cache
_TODO = "score it with the tool that wrote it, or convert its checkpoint with `python -m convert.tflite`"

_passed: set[str] = set()  # hashes
_familiar: set[str] = set()  # files, by `_state`


def check(path: str | os.PathLike[str], threads: int = 1) -> None:
    """Raises UserError where `path` does not load and run in a process of its own, or a hash at hand is not its.

    A file of the installation is not run, and none twice. A right checksum spares no file the run: it says that
    nothing was damaged since, and whoever crafts a file can write it as well.
    """
    if verify(path) == "packaged":
        return
    digest = integrity.sha256(path)
    if not is_trusted(digest):
        _run(Path(path), threads)
        _passed.add(digest)
        _remember(digest, _state(path))
    elif not is_familiar(path):
        _remember(digest, _state(path))


def verify(path: str | os.PathLike[str]) -> str:
    """`integrity.verify`, which spares a file that passed once the second hash of its bytes."""
    return integrity.verify(path, is_trusted)


def trust(digest: str) -> None:
    """Takes the word of the process that started this one: it has run the file of this SHA-256."""
    _passed.add(digest)


def is_trusted(digest: str) -> bool:
    """Whether the file of this SHA-256 has passed `check`: its hashes were right, and it ran."""
    if digest not in _passed:
        _passed.update(_remembered()[HASHES])
    return digest in _passed


def is_familiar(path: str | os.PathLike[str]) -> bool:
    """Whether a file that passed `check` stands here, not written to since by any ordinary way.

    LiteRT may load it while it is hashed; only the hash says that its bytes are those that passed.
    """
    with suppress(OSError):
        state = _state(path)
        if state not in _familiar:
            remembered = _remembered()
            _passed.update(remembered[HASHES])
            _familiar.update(remembered[FILES])
        return state in _familiar
    return False


def _state(path: str | os.PathLike[str]) -> str:
    return "-".join(map(str, integrity.file_identity(path)))


def cache_file() -> Path:
    """Where hashes of files that passed are kept: $XDG_CACHE_HOME/mobileiqa/trusted.json."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not folder.is_absolute():  # which the XDG specification has ignored
        folder = Path.home() / ".cache"
    return folder / "mobileiqa" / "trusted.json"


def _run(path: Path, threads: int) -> None:
    """One process that loads and runs the file. UserError says how it ended."""
    memory = MEMORY_BYTES + 8 * path.stat().st_size
    command = [sys.executable, "-P", str(CHILD), str(path.resolve()), str(threads), str(memory)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            env=environment,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(path, f"a process still {_phase(error.stdout)} after {TIMEOUT_S:.0f} s") from error
    if child.returncode < 0:
        raise _refused(
            path, f"a process ended by {signal_name(child.returncode)} while {_phase(child.stdout)} it"
        )
    if child.returncode:
        raise _refused(path, _reason(child.stdout, child.stderr))


def signal_name(returncode: int) -> str:
    """The name of the signal that ended a process, by subprocess's negative exit code."""
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _refused(path: Path, outcome: str) -> UserError:
    return UserError(f"a TFLite file that LiteRT can load and run, in {path}", outcome, _TODO)


def _phase(stdout: bytes | None) -> str:
    return "running" if b"running" in (stdout or b"").splitlines() else "loading"


def _reason(stdout: bytes, stderr: bytes) -> str:
    """The runtime's own words, or the last line that the process wrote."""
    lines = stdout.decode(errors="replace").splitlines()
    with suppress(ValueError, IndexError, KeyError, TypeError):
        return typed_json.shortened(str(json.loads(lines[-1])["error"]), 600)
    words = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()][-1:]
    return f"a process that failed while {_phase(stdout)} it: {typed_json.shortened(' '.join(words), 600)}"


def _remembered() -> dict[str, list[str]]:
    """What passed under this version of LiteRT: HASHES, and FILES by `_state`.

    Nothing where the cache cannot be read or is none of ours.
    """
    nothing: dict[str, list[str]] = {HASHES: [], FILES: []}
    with suppress(OSError, RuntimeError, UserError):  # RuntimeError: no home folder
        path = cache_file()
        if not path.is_file():  # a pipe would be waited for
            return nothing
        content = typed_json.parse(typed_json.content_of(path), str(path))
        if isinstance(content, dict) and content.get("litert") == _litert_version():
            return {name: _texts(content.get(name)) for name in nothing}
    return nothing


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _remember(digest: str, state: str) -> None:
    """Adds a file, the oldest of more than MAX_HASHES go. A cache that cannot be written is none: nothing fails."""
    with suppress(OSError, RuntimeError, UserError):
        remembered = _remembered()
        for name, value in ((HASHES, digest), (FILES, state)):
            others = [each for each in remembered[name] if each != value]
            remembered[name] = [*others, value][-MAX_HASHES:]
        _familiar.add(state)
        cli.write_json(cache_file(), {"litert": _litert_version(), **remembered})


def _litert_version() -> str:
    """What tells one installed LiteRT from another: size and time of its library; the package's version costs more."""
    spec = importlib.util.find_spec("ai_edge_litert")
    files = sorted(Path(spec.origin).parent.glob("libLiteRt.*")) if spec and spec.origin else []
    return " ".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
