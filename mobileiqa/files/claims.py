"""Who is writing an output: the running command's claims, what it reads, and what killed commands left.

While a command runs it holds `.NAME.lock` beside each of its outputs, so that a second command that would write
there says so and stops. The lock is the system's own: it ends with its process, whatever the file says. Temporary
files and folders, `.NAME.xxxxxxxx.tmp`, are held by the process that made them; after kill -9 they stay until
whoever writes the same output next removes them. Without the system's locks (Windows) neither happens.
A lock also notes which files its command put in their places. One that ended before its last line (kill -9, Ctrl-C, a
full disk) leaves it then, and the same command typed again knows those files as its own (`is_unfinished`) and makes
them again; to any other command they are files that exist.
No output takes the place of what the same command reads, whatever --force allows: `refuse_read` knows its arguments.
"""

import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from mobileiqa.errors import UserError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


OUTPUT_FLAGS = frozenset(
    {"out", "json", "csv", "html", "plot", "picture", "junit"}
)  # all other arguments are read


@dataclass(frozen=True)
class _Arguments:
    """The existing files and folders that a command's arguments name, and its outputs; links followed.

    `digest` is the same for the same command, typed with the same words in the same folder; "" of none.
    """

    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    digest: str = ""


@dataclass
class _Command:
    """What the running command holds until it ends."""

    exits: ExitStack
    arguments: _Arguments = _Arguments()
    claims: dict[str, int | None] = field(default_factory=dict)  # each one's place, and its open lock
    placed: dict[str, Path] = field(default_factory=dict)  # those whose output is whole and at its name
    unfinished: set[str] = field(default_factory=set)  # what an earlier run of the same command left
    ended: bool = False  # it came to its last line
    stdout: bool = False  # an output goes there


_COMMAND: ContextVar[_Command | None] = ContextVar("_COMMAND", default=None)
_NONE = _Arguments()
_PARSED: ContextVar[_Arguments] = ContextVar("_PARSED", default=_NONE)  # of the command that runs next


@contextmanager
def command() -> Iterator[None]:
    """A command's body: what it claims is released at the end, and folders made for nothing are removed."""
    with ExitStack() as exits:
        running = _Command(exits, _PARSED.get())
        token = _COMMAND.set(running)
        _PARSED.set(_NONE)
        try:
            yield
            running.ended = True
        except KeyboardInterrupt as error:
            if running.placed and not str(error):
                raise type(error)(f"whole already: {', '.join(map(str, running.placed.values()))}") from error
            raise
        finally:
            _COMMAND.reset(token)


def remember(arguments: Mapping[str, object], prog: str = "") -> None:
    """Takes a command line's arguments by name, for the command `prog` that runs next."""
    paths: dict[bool, list[Path]] = {False: [], True: []}
    for name, value in arguments.items():
        paths[name in OUTPUT_FLAGS] += [Path(os.path.realpath(text)) for text in _texts(value)]
    words = repr((prog, _folder(), sorted((name, repr(value)) for name, value in arguments.items())))
    digest = hashlib.sha256(words.encode()).hexdigest()
    _PARSED.set(_Arguments(tuple(filter(os.path.exists, paths[False])), tuple(paths[True]), digest))


def _folder() -> str:
    """The current one; "" where it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def refuse_read(path: Path) -> None:
    """Raises UserError where an output at `path` would replace what the running command reads, or another output.

    That is an argument itself, what lies in a folder that is replaced, or an image or its labels in a folder that is
    read. Outside a command, nothing.
    """
    running = _COMMAND.get()
    if running is None:
        return
    place = Path(os.path.realpath(path))
    if running.arguments.outputs.count(place) > 1:
        raise UserError("a file of its own for each output", f"{path} twice", "give one of them another name")
    for source in running.arguments.inputs:
        inside = source in place.parents and _is_material(place)
        if source == place or place in source.parents or inside:
            reason = f"{path}, which is read" if source == place else f"{path}, but {source} is read"
            raise UserError("an output that is none of the inputs", reason, "write to another name")


def _is_material(place: Path) -> bool:
    """Whether a file in a folder that is read may be what is read there."""
    from mobileiqa.photos.search import is_searched

    return place.is_file() and (place.name in ("labels.csv", "dataset.json") or is_searched(place))


def _texts(value: object) -> Iterator[str]:
    """The texts and paths in an argument's value, which may be a list of lists; without `-` and what no path can be."""
    if isinstance(value, (str, Path)):
        text = str(value)
        if text not in ("", "-") and "\0" not in text:
            yield text
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def stdout_is_data() -> bool:
    """Whether one of the running command's outputs is `-`: words for people go to stderr then."""
    running = _COMMAND.get()
    return running is not None and running.stdout


def claim(path: Path) -> None:
    """Locks `path`, a file's or a folder's name, until the running command ends; outside a command, nothing.

    Raises UserError where another process holds it, and OSError where its folder cannot be made or written.
    """
    if path.name in ("", ".."):
        raise UserError(
            "an output with a name", repr(str(path)), "name a file or folder that can be made or replaced"
        )
    running, place = _COMMAND.get(), _place(path)
    if running is not None and place not in running.claims:
        running.exits.enter_context(_parents(path.parent))
        handle = None if fcntl is None else running.exits.enter_context(_locked(path, running))
        running.claims[place] = handle
        sweep(path)


def note_placed(new: Iterable[Path], path: Path) -> None:
    """Notes in `path`'s lock that the files or folders `new` are about to get their places there.

    Before and not after, so that kill -9 leaves none in its place that is not noted. Nothing where the running
    command does not hold that lock.
    """
    running, place = _COMMAND.get(), _place(path)
    if running is None or place not in running.claims:
        return
    handle = running.claims[place]
    if handle is not None:
        with suppress(OSError):  # a full disk: the same command typed again needs --force
            os.write(handle, "".join(f"{_identity(each)}\n" for each in new).encode())
    running.placed[place] = path


def is_unfinished(path: Path, claimed: Path | None = None) -> bool:
    """Whether what is at `path` was put there by the running command when it ran before, and that run did not end.

    That is what the lock of `claimed` (default: of `path`) says: its command had the same words in the same folder,
    and nothing has changed at `path` since.
    """
    running, lock_place, place = _COMMAND.get(), _place(claimed or path), _place(path)
    if running is None or fcntl is None or not running.arguments.digest:
        return False
    if (
        place in running.unfinished or lock_place in running.claims
    ):  # to open and close its lock would release it
        return place in running.unfinished
    try:
        handle = os.open(lock_of(claimed or path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(handle, errors="replace") as lock:
        _, digest, *placed = (*lock.read(1 << 20).splitlines(), "", "")
    if digest != running.arguments.digest or _identity(path) not in placed:
        return False
    running.unfinished.add(place)
    return True


def _identity(path: Path) -> str:
    """A digest that stays when the file or folder is renamed, and not when anything in it changes."""
    digest = hashlib.sha256()
    for entry in [path, *(sorted(path.rglob("*")) if path.is_dir() else ())]:
        stat, name = entry.lstat(), os.fsencode(entry.relative_to(path))
        content = () if entry.is_dir() else (stat.st_size, stat.st_mtime_ns)
        digest.update(repr((name, stat.st_dev, stat.st_ino, *content)).encode())
    return digest.hexdigest()


def _place(path: Path) -> str:
    return os.path.join(os.path.realpath(path.parent), path.name)


def lock_of(path: Path) -> Path:
    """Where the lock of the output `path` is."""
    return path.parent / f".{path.name}.lock"


def in_folder(folder: Path) -> Path:
    """The name that stands for all outputs in `folder`: a name inside it where it exists, else its own.

    Inside, because it may be another disk's root, which nothing beside it can be renamed into, or have no name (`.`).
    """
    return folder / "outputs" if folder.is_dir() else folder


def take_stdout() -> None:
    """Gives stdout to an output of the running command; UserError where another one has it."""
    running = _COMMAND.get()
    if running is not None:
        if running.stdout:
            raise UserError("one output for stdout", "`-` twice", "give one of them a name")
        running.stdout = True


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Makes `folder`; in the end those that had to be made and are empty go."""
    missing = list(takewhile(lambda one: not one.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for one in missing:
                one.rmdir()


@contextmanager
def _locked(path: Path, running: _Command) -> Iterator[int]:
    """Holds `.NAME.lock`. A process's own (fcntl, not flock): its forked workers do not keep it when it dies."""
    lock = lock_of(path)
    handle = _open_locked(lock, path)
    try:
        with suppress(OSError):  # a full disk: the lock holds without the words
            os.ftruncate(handle, 0)
            words = f"process {os.getpid()} on {socket.gethostname()}\n{running.arguments.digest}\n"
            os.write(handle, words.encode())
        yield handle
    finally:
        with suppress(OSError):
            if running.ended or _place(path) not in running.placed:
                lock.unlink()  # while it is held: who opened it meanwhile sees that it is gone
        os.close(handle)


def _open_locked(lock: Path, path: Path) -> int:
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            words = os.read(handle, 200).decode(errors="replace").splitlines()
            holder = (words and words[0].strip()) or "another command"
            os.close(handle)
            todo = "wait for it, or write to another name"
            raise UserError(f"no other command that writes {path}", f"{holder} at it", todo) from error
        except OSError:
            return handle  # a file system without locks: as good as it gets there
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        os.close(handle)


@contextmanager
def held(handle: int | None) -> Iterator[None]:
    """Marks a temporary file or folder as a living process's, then closes it."""
    if fcntl is None:  # Windows renames no open file
        if handle is not None:
            os.close(handle)
        yield
        return
    assert handle is not None
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def sweep(path: Path) -> None:
    """Removes what commands that were killed left of `path`: `.NAME.xxxxxxxx.tmp` that no process holds."""
    own = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.tmp")
    if fcntl is None or not path.parent.is_dir():
        return
    with os.scandir(path.parent) as listing:
        left = [Path(entry) for entry in listing if own.fullmatch(entry.name) and not entry.is_symlink()]
    for leftover in left:
        with suppress(OSError):
            _remove_unheld(leftover)


def _remove_unheld(leftover: Path) -> None:
    handle = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: somebody is at it
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover.is_file():
            leftover.unlink()
    finally:
        os.close(handle)
