"""MATLAB files that would take memory which their size does not show."""

import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mobileiqa.datasets.label_files import read_matlab
from mobileiqa.errors import UserError

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def cells(sides: tuple[int, int]) -> bytes:
    """A cell array `mos` of those sides, without any cell."""
    parts = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<2i", *sides)) + element(1, b"mos")
    return element(14, parts)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_savemat_writes_is_read(tmp_path: Path, compressed: bool) -> None:
    names = np.empty((3, 1), object)
    names[:, 0] = ["a.bmp", "b.bmp", "c.bmp"]
    content = {"mos": np.array([[1.0, 2.0, 3.5]]), "names": names, "one": 3}
    savemat(tmp_path / "x.mat", content, do_compression=compressed)
    assert read_matlab({tmp_path / "x.mat": "mos"})[0] == [1.0, 2.0, 3.5]
    assert [str(name) for name in read_matlab({tmp_path / "x.mat": "names"})[0]] == [
        "a.bmp",
        "b.bmp",
        "c.bmp",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (cells((30_000, 30_000)), "an array of 30000 x 30000 entries"),
        (element(15, zlib.compress(cells((30_000, 30_000)))), "an array of 30000 x 30000 entries"),
        (element(15, zlib.compress(element(9, bytes(70_000_000)))), "64 MB or more when unpacked"),
        (element(15, b"no zlib"), "x.mat"),
    ],
    ids=["cells", "compressed", "bomb", "damaged"],
)
def test_bombs_are_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.mat").write_bytes(HEADER + content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=words):
        read_matlab({tmp_path / "x.mat": "mos"})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
