"""Whether a file is the one that was written: its SHA-256 against the one recorded at hand.

A recorded hash is a checksum inside a file with embedded preprocessing, the sidecar of a converted file, or the JSON
beside a checkpoint. It guards against damage and mix-ups, not against a forger. A file is hashed once per process
as long as its size and modification time stay: hashing costs a few milliseconds for each 10 MB.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from mobileiqa.errors import UserError


def sha256(path: str | os.PathLike[str]) -> str:
    """The file's SHA-256 in hex. Raises OSError where it cannot be read."""
    stat = os.stat(path)
    return _sha256(os.path.realpath(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)


def check_recorded(path: str | os.PathLike[str], recorded: str, source: str, todo: str) -> None:
    """Raises UserError where the file's SHA-256 is not `recorded`, which `source` (a sidecar's name, say) states."""
    actual = sha256(path)
    if actual != recorded.lower():
        raise UserError(
            f"the file that {source} describes, SHA-256 {recorded[:12]}..., at {Path(path)}",
            f"SHA-256 {actual[:12]}...: it is another file, or one changed since",
            todo,
        )


@lru_cache(maxsize=256)
def _sha256(path: str, inode: int, size: int, modified_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
