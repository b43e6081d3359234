"""Output files: what may be replaced, and how a file or a folder appears whole or not at all.

Only ordinary files are replaced, and only when told to. A device, a FIFO, a folder or a link is refused: writing to
a stream is what `-` is for, and then all that is for people goes to stderr. A file is written as
`.NAME.xxxxxxxx.tmp` beside its place and renamed, a folder likewise; who may write there is claims.py's. What the same
command left when it was killed before its last line is no file that exists: it is made again, and that is said.
"""

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mobileiqa.errors import UserError
from mobileiqa.files import interruption
from mobileiqa.files.claims import (
    claim,
    held,
    in_folder,
    is_unfinished,
    lock_of,
    note_placed,
    refuse_read,
    sweep,
    take_stdout,
)
from mobileiqa.text import note, printable

STREAM = Path("-")  # stdout
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link"),
)


def refuse_existing(path: Path, force: bool) -> None:
    """Before any work: raises UserError where `path` may not be written, and claims it for the running command.

    That is where it is anything but an ordinary file or absent, where the command reads it, where it exists and
    `force` was not given, where its folder cannot be written, and where another command is writing it. `-` is stdout,
    for one output.
    """
    if path == STREAM:
        take_stdout()
        return
    exists = refuse_other(path)
    refuse_read(path)
    if exists and not force and not _is_unfinished(path):
        raise UserError(
            f"no file at {path}", "one that exists", "pass --force to replace it, or write to another name"
        )
    claim(path)


def refuse_existing_folder(folder: Path, force: bool) -> None:
    """The same for a folder that is replaced as a whole."""
    kind = _kind(folder)
    if kind is not None and kind != "a folder":
        raise UserError(f"a folder, or nothing, at {folder}", kind or "a file", "write to another name")
    refuse_read(folder)
    if kind and not force and not _is_unfinished(folder):
        raise UserError(f"nothing at {folder}", kind, "pass --force to replace it, or write to another name")
    claim(folder)


def refuse_existing_in(folder: Path, names: Iterable[str], force: bool) -> None:
    """The same for a folder of outputs: nothing of these names may be in it without `force`; claims the folder."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(
            f"a folder, or nothing, at {folder}", _kind(folder) or "a file", "write to another name"
        )
    claimed = (in_folder(folder), folder)  # the second: where it was made by the run that left it
    for path in (folder / name for name in names):
        kind = _kind(path)
        if kind is not None and kind not in ("", "a folder"):
            raise UserError(f"nothing at {path}", kind, "remove it, or write to another name")
        refuse_read(path)
        if kind is not None and not force and not any(_is_unfinished(path, lock) for lock in claimed):
            raise UserError(
                f"nothing at {path}", kind or "a file", "pass --force to replace it, or write to another name"
            )
    claim(in_folder(folder))
    if lock_of(folder).exists():  # such a run's: taken, so that it goes with this one
        claim(folder)


def _is_unfinished(path: Path, claimed: Path | None = None) -> bool:
    if not is_unfinished(path, claimed):
        return False
    note(f"{printable(str(path))} is what this command left when it was ended early: it is made again")
    return True


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renamed to `path` when the block succeeds, else removed.

    `-`: what the block wrote goes to stdout. Raises UserError where something other than an ordinary file is there.
    """
    if path == STREAM:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, "stdout")
            _copy_to_stdout(Path(folder, "stdout"))
        return
    refuse_other(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with held(handle):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            put(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def put(temporary: Path, path: Path, *more: tuple[Path, Path]) -> None:
    """Gives the finished file `temporary` its name, after `more` pairs of what belongs to it and its name.

    A signal waits until all have theirs. After kill -9 `more` may be there without `path`, never `path` alone. Raises
    UserError, with nothing moved, where something other than an ordinary file is at one of the names.
    """
    pairs = (*more, (temporary, path))
    for _, target in pairs:
        refuse_other(target)  # what appeared there meanwhile is not ours to replace either
    with interruption.postponed():
        note_placed([temporary], path)
        for source, target in pairs:
            os.replace(source, target)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content`, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    r"""Writes UTF-8, atomically. A byte of a file name that is no UTF-8 is written as Python's \udc80 to \udcff."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    r"""Writes indented JSON, atomically; in ASCII, so \udcff stands for a byte that is no UTF-8. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Yields a new hidden folder beside `path`, on the same disk; it is removed in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        with held(_opened(folder)):
            yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a new folder, empty; it becomes `path`, in place of what is there, when the block succeeds.

    When it does not, nothing is left and what was there stays.
    """
    with staging(path) as outer:
        new, replaced = outer / "new", outer / "replaced"
        new.mkdir()
        yield new
        with interruption.postponed():
            note_placed([new], path)
            try:
                if path.exists():
                    path.rename(replaced)
                new.rename(path)
            finally:
                if replaced.exists() and not path.exists():
                    replaced.rename(path)


@contextmanager
def entries(path: Path) -> Iterator[Path]:
    """Yields a new folder, empty; all that is in it moves into the folder `path` when the block succeeds.

    There it takes the place of what has the same names; other files stay. When the block or a move fails, `path` is
    as it was.
    """
    with staging(in_folder(path)) as outer:
        new, replaced = outer / "new", outer / "replaced"
        new.mkdir()
        replaced.mkdir()
        yield new
        with interruption.postponed():
            note_placed(new.iterdir(), in_folder(path))
            if not path.exists():
                new.rename(path)
            else:
                _move_in(new, path, replaced)


def _move_in(new: Path, path: Path, replaced: Path) -> None:
    names = sorted(os.listdir(new))
    try:
        for name in names:
            if os.path.lexists(path / name):
                (path / name).rename(replaced / name)
            (new / name).rename(path / name)
    except BaseException:
        for name in names:
            if not os.path.lexists(new / name):
                (path / name).rename(new / name)
            if os.path.lexists(replaced / name):
                (replaced / name).rename(path / name)
        raise


def refuse_other(path: Path) -> bool:
    """True for an ordinary file, False where nothing is; UserError for the rest, which is never replaced."""
    kind = _kind(path)
    if kind:
        stream = "`-` writes to stdout; else " if "FIFO" in kind or "device" in kind else ""
        raise UserError(f"an ordinary file, or none, at {path}", kind, f"{stream}write to another name")
    return kind is not None


def _kind(path: Path) -> str | None:
    """What is at `path`, "" for an ordinary file; None where nothing is. A link is said with what it leads to."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    kind = next((words for matches, words in _KINDS if matches(mode)), "")
    if not stat.S_ISLNK(mode):
        return kind
    target = Path(os.path.realpath(path))
    return f"a link to {_kind(target) or target}" if target != path else "a link in a circle"


def _copy_to_stdout(path: Path) -> None:
    if sys.stdout is None:
        raise UserError("an open stdout for `-`", "a closed one", "give the output a name")
    sys.stdout.flush()
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(path.read_bytes())
    else:
        sys.stdout.write(path.read_text(encoding="utf-8"))
    sys.stdout.flush()


def _opened(folder: Path) -> int | None:
    """A handle of a folder, where the system has such."""
    return os.open(folder, os.O_RDONLY) if os.name == "posix" else None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
