"""Output files: none is overwritten without being told to, and none is ever left half written."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from android_bench.errors import InputError


def refuse_existing(path: Path, force: bool) -> None:
    """Raises InputError when `path` is a folder, or a file while `force` is False."""
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f"no file at {path}", "one that exists", "pass --force, or write to another name")


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside `path` and renames into place; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
