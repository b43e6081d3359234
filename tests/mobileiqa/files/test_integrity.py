"""integrity: the hash follows the file, and one hash serves a process."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from mobileiqa.errors import UserError
from mobileiqa.files import integrity


def test_the_hash_is_the_files_and_follows_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    assert integrity.sha256(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")  # the same size: only its time has changed
    os.utime(path, ns=(1, 1))
    assert integrity.sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"once")
    time.sleep(0.06)  # a file changed this moment is hashed again: its time may not tell the next change
    digests = []
    original = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: digests.append(a) or original(*a))
    assert integrity.sha256(path) == integrity.sha256(str(path))
    assert len(digests) == 1


def test_a_recorded_hash_of_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(b"weights")
    integrity.check_recorded(
        path, hashlib.sha256(b"weights").hexdigest().upper(), "a.tflite.json", "convert again"
    )
    with pytest.raises(
        UserError, match=r"a\.tflite\.json describes.*another file, or one changed.*convert again"
    ):
        integrity.check_recorded(path, hashlib.sha256(b"other").hexdigest(), "a.tflite.json", "convert again")
