"""A file that ends the process which loads it ends another one than ours; one that survives is remembered."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobileiqa.errors import UserError
from mobileiqa.files import integrity
from mobileiqa.scoring import first_run, litert
from mobileiqa.spec import InputSpec, ModelSpec
from tests.convert.conftest import FlatbufferBuilder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for this test, and nothing remembered from another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(first_run, "_passed", set())
    return tmp_path / "cache" / "mobileiqa" / "trusted.json"


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files for which a process was started."""
    started: list[Path] = []
    original = first_run._run
    monkeypatch.setattr(
        first_run, "_run", lambda path, threads: started.append(path) or original(path, threads)
    )
    return started


def write(path: Path, build: Callable[[FlatbufferBuilder], int]) -> Path:
    b = FlatbufferBuilder()
    path.write_bytes(b.build(build(b)))
    return path


def calls_itself(b: FlatbufferBuilder) -> int:
    """IF whose branches are the subgraph that it stands in: LiteRT prepares it until its stack is full."""
    yes, x = b.constant(np.array([True]), dtype="bool"), b.input(1, 3, 64, 64)
    return b.op(
        "IF", [yes, x], [b.tensor(1, 3, 64, 64)], "IfOptions", thenSubgraphIndex=0, elseSubgraphIndex=0
    )


def absolute(b: FlatbufferBuilder) -> int:
    return b.op("ABS", [b.input(1, 4)], [b.tensor(1, 4)], "AbsOptions")


def reads_beyond(b: FlatbufferBuilder) -> int:
    return b.op("GATHER", [b.input(4, 4), b.constant([9_000_000])], [b.tensor(1, 4)], "GatherOptions")


def needs_too_much(b: FlatbufferBuilder) -> int:
    much = b.constant([2_000_000_000, 1])
    return b.op("TILE", [b.input(1, 4), much], [b.tensor(2_000_000_000, 4)], "TileOptions")


@pytest.mark.parametrize("command", ["mobileiqa.score", "convert.package"])
def test_a_crash_is_one_line_in_every_command(tmp_path: Path, photos: Path, command: str) -> None:
    spec = ModelSpec("evil", (InputSpec("in0", 64, 64),), trained_on="noise")
    path, b = tmp_path / "evil.tflite", FlatbufferBuilder()
    b.note("mobileiqa", json.dumps({"spec": spec.to_json(), "precision": "fp32", "version": "1"}).encode())
    path.write_bytes(b.build(calls_itself(b)))
    words = {
        "mobileiqa.score": [str(photos / "photo0.png"), "--model", str(path)],
        "convert.package": [str(path), "--input-size", "64x64", "--out", str(tmp_path / "out.tflite")],
    }
    run = subprocess.run(
        [sys.executable, "-m", command, *words[command]], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stderr
    assert "ended by SIGSEGV while loading it" in run.stderr and run.stderr.count("\n") == 1
    assert not (tmp_path / "out.tflite").exists()


def test_a_file_that_survives_is_run_once_ever(
    tmp_path: Path, own_cache: Path, processes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "abs.tflite", absolute)
    first_run.check(path)
    first_run.check(path)
    assert processes == [path]
    assert json.loads(own_cache.read_text())["sha256"] == [integrity.sha256(path)]
    monkeypatch.setattr(first_run, "_passed", set())  # another process, later
    first_run.check(path)
    assert processes == [path]
    monkeypatch.setattr(first_run, "_passed", set())
    monkeypatch.setattr(first_run, "_litert_version", lambda: "99")  # whose verdict is its own
    first_run.check(path)
    assert processes == [path, path]


def test_a_right_hash_beside_a_crafted_file_spares_it_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "evil.tflite", calls_itself)
    path.with_name("evil.tflite.json").write_text(json.dumps({"sha256": integrity.sha256(path)}))
    with pytest.raises(UserError, match="ended by SIGSEGV while loading it"):
        first_run.check(path)


def test_a_right_checksum_inside_a_crafted_file_spares_it_nothing(tmp_path: Path) -> None:
    b = FlatbufferBuilder()
    b.note(integrity.ENTRY, integrity.MARK + bytes(integrity.DIGEST_BYTES))
    path = tmp_path / "evil.tflite"
    path.write_bytes(b.build(calls_itself(b)))
    checksum = integrity.read_checksum(path)
    content = bytearray(path.read_bytes())
    content[checksum.at : checksum.at + integrity.DIGEST_BYTES] = checksum.computed
    path.write_bytes(content)
    assert integrity.verify(path) == "checksum"
    with pytest.raises(UserError, match="ended by SIGSEGV while loading it"):
        first_run.check(path)


def test_a_file_of_the_installation_is_not_run(
    tmp_path: Path, processes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "PACKAGED", tmp_path)
    path = write(tmp_path / "abs.tflite", absolute)
    first_run.check(path)
    assert not processes
    path.with_name("abs.tflite.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"the file that abs\.tflite\.json describes"):
        first_run.check(path)


@pytest.mark.parametrize(
    ("build", "words"),
    [(reads_beyond, "out of bounds"), (needs_too_much, "larger than the memory")],
    ids=["index", "memory"],
)
def test_what_the_runtime_refuses_is_said_and_not_remembered(
    tmp_path: Path, own_cache: Path, build: Callable[[FlatbufferBuilder], int], words: str
) -> None:
    path = write(tmp_path / "bad.tflite", build)
    with pytest.raises(UserError, match=words):
        first_run.check(path)
    assert not own_cache.exists()


def test_a_file_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "TIMEOUT_S", 0.02)
    with pytest.raises(UserError, match=r"still loading after 0 s"):
        first_run.check(write(tmp_path / "abs.tflite", absolute))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"sha256": 3}', b"\xff", b'{"litert": 1, "sha256": [[]]}']
)
def test_a_cache_that_is_none_of_ours_is_replaced(tmp_path: Path, own_cache: Path, content: bytes) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_bytes(content)
    path = write(tmp_path / "abs.tflite", absolute)
    first_run.check(path)
    assert json.loads(own_cache.read_text())["sha256"] == [integrity.sha256(path)]


@pytest.mark.parametrize("value", [7, None, "ab", {"a": 1}, [7, None]])
def test_a_cache_of_this_runtime_with_other_values_is_replaced(
    tmp_path: Path, own_cache: Path, value: object
) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text(json.dumps({"litert": first_run._litert_version(), "sha256": value}))
    path = write(tmp_path / "abs.tflite", absolute)
    first_run.check(path)
    assert json.loads(own_cache.read_text())["sha256"] == [integrity.sha256(path)]


def test_a_cache_that_is_no_file_is_done_without(tmp_path: Path, own_cache: Path) -> None:
    own_cache.parent.mkdir(parents=True)
    os.mkfifo(own_cache)  # reading it would wait for ever
    first_run.check(write(tmp_path / "abs.tflite", absolute))


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, own_cache: Path) -> None:
    own_cache.parent.parent.write_text("a file where the folder would be")
    first_run.check(write(tmp_path / "abs.tflite", absolute))


def test_the_oldest_hashes_go(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "MAX_HASHES", 3)
    for each in "abcde":
        first_run._remember(each, f"state {each}")
    assert json.loads(own_cache.read_text())["sha256"] == ["c", "d", "e"]


def test_inputs_of_every_type_are_run(tmp_path: Path) -> None:
    """Whatever the inputs are, the file is judged by whether it runs."""
    for dtype in ("int32", "int64", "bool", "float16", "uint8"):
        b = FlatbufferBuilder()
        x = b.input(1, 4, dtype=dtype)
        path = tmp_path / f"{dtype}.tflite"
        path.write_bytes(
            b.build(b.op("RESHAPE", [x, b.constant([4])], [b.tensor(4, dtype=dtype)], "ReshapeOptions"))
        )
        first_run.check(path)


def test_threads_out_of_range_are_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "abs.tflite", absolute)
    for threads in (0, -1, 1_000_000, 99_999_999_999):
        with pytest.raises(UserError, match=rf"--threads of 1\.\.512; found {threads};"):
            litert.runner(path, threads)
