"""Counts and offsets of damaged files: one error, in no time and in no memory; sound files pass."""

import resource
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from android_bench.results import tflite_file
from convert import inspect
from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import read_graphs
from convert.packaging.packaged_file import embed_preprocessing
from convert.report import files
from convert.snippets.__main__ import main as snippets
from mobileiqa.errors import UserError
from mobileiqa.files import tflite
from mobileiqa.scoring import litert
from tests.convert.packaging.conftest import TINY, write_tiny


@pytest.fixture
def tiny_bytes(flatbuffer, tmp_path: Path) -> bytes:
    return write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY).read_bytes()


@pytest.fixture
def bounded() -> Iterator[None]:
    """Half a minute and 4 GB of address space more than now: a hang or a memory bomb ends the test, not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30), before[1]))
    signal.alarm(30)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, before)


def model_vector(content: bytes, field: int) -> int:
    """Where the length of a vector field of Model stands."""
    root = struct.unpack_from("<I", content)[0]
    vtable = root - struct.unpack_from("<i", content, root)[0]
    at = root + struct.unpack_from("<H", content, vtable + 4 + 2 * field)[0]
    return at + struct.unpack_from("<I", content, at)[0]


def test_sound_files_pass(tiny_bytes: bytes, tmp_path: Path) -> None:
    tflite.check(tiny_bytes)
    embed_preprocessing(tmp_path / "tiny.tflite", tmp_path / "camera.tflite", [(90, 70), (70, 90)])
    tflite.check((tmp_path / "camera.tflite").read_bytes())


@pytest.mark.parametrize(
    "field", [1, 2, 4, 6, 7], ids=["codes", "subgraphs", "buffers", "metadata", "signatures"]
)
@pytest.mark.parametrize("count", [0xFFFFFFFF, 1 << 30, 1 << 20, 700])
def test_a_claimed_count_is_not_believed(
    tiny_bytes: bytes, bounded, tmp_path: Path, field: int, count: int
) -> None:
    content, path = bytearray(tiny_bytes), tmp_path / "count.tflite"
    struct.pack_into("<I", content, model_vector(tiny_bytes, field), count)
    path.write_bytes(content)
    for read in (read_graphs, fb.read):
        with pytest.raises(UserError, match=r"count\.tflite"):
            read(path)


def test_tables_without_end_are_counted(bounded) -> None:
    """A vector that names one subgraph 300,000 times: every offset is sound."""
    content = bytearray(36)
    struct.pack_into("<I4s", content, 0, 24, b"TFL3")
    struct.pack_into("<HHHHH", content, 8, 10, 8, 0, 0, 4)  # vtable of Model: field 2 stands 4 bytes in
    struct.pack_into("<HH", content, 18, 4, 4)  # vtable of SubGraph: no field
    struct.pack_into("<iI", content, 24, 24 - 8, 8)  # Model at 24: its vector is 8 bytes behind the field
    entries = 300_000
    positions = 40 + 4 * np.arange(entries)
    subgraph = 40 + 4 * entries
    content += struct.pack("<I", entries) + (subgraph - positions).astype("<u4").tobytes()
    content += struct.pack("<i", subgraph - 18)
    with pytest.raises(ValueError, match="a vector of 300000 tables"):
        tflite.check(bytes(content))
    struct.pack_into("<I", content, 36, 3)  # three of them are sound
    tflite.check(bytes(content))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_changed_there_is_one_error(
    tiny_bytes: bytes, bounded, tmp_path: Path, seed: int, capsys
) -> None:
    """Sixty mutations through every reader; thousands were tried when this was written."""
    rng, path = np.random.default_rng(seed), tmp_path / "mutant.tflite"
    readers = (
        read_graphs, fb.read, litert.load_spec, litert.inputs_of, tflite_file.read, tflite_file.with_fixed_sizes,
        lambda p: files.find([p]),
    )  # fmt: skip
    for _ in range(15):
        content = bytearray(tiny_bytes)
        for _ in range(int(rng.integers(1, 4))):
            at, kind = int(rng.integers(8, len(content) - 4)), int(rng.integers(0, 4))
            if kind == 0:
                content[at] ^= 1 << int(rng.integers(0, 8))
            elif kind == 1:
                content[at : at + 4] = int(rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 1 << 20])).to_bytes(
                    4, "little"
                )
            elif kind == 2:
                content[at : at + 4] = b""
            else:
                content[at:at] = bytes(int(rng.integers(1, 8)))
        path.write_bytes(content)
        for read in readers:
            try:
                read(path)
            except UserError as error:
                assert str(error).startswith("expected ")
        assert inspect.main([str(path), "--json"]) in (0, 2)
        assert snippets([str(path), "--out", str(tmp_path / "out")]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert 1 <= len(errors) <= 2, errors
