"""A damaged file does not pass, wherever it was hit; neither does one that scores otherwise."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert import flatbuffer as fb
from convert.delivery import deliver, golden, metadata, seal
from convert.graph import read_graph
from convert.selftest import main, selftest
from mobileiqa import litert
from tests.convert.delivery.conftest import TINY, write_tiny


@pytest.fixture
def delivered(flatbuffer, tmp_path: Path) -> Path:
    path = tmp_path / "delivered.tflite"
    deliver.deliver_uint8(write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY), path, (90, 70))
    return path


@pytest.fixture
def damaged(delivered: Path, tmp_path: Path) -> Callable[[int], Path]:
    """damaged(position): the file with another byte there."""

    def hit(position: int) -> Path:
        content = bytearray(delivered.read_bytes())
        content[position] ^= 1 << position % 8
        path = tmp_path / "damaged.tflite"
        path.write_bytes(content)
        return path

    return hit


def failed(path: Path) -> set[str]:
    return {check.name for check in selftest(path) if not check.passed}


def test_a_whole_file_passes(delivered: Path, capsys) -> None:
    assert main([str(delivered)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["passed"] and [c["name"] for c in result["checks"]] == [
        "seal", "weights", "golden", "metadata", "golden ramp", "golden tiles", "golden noise"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "entry"), [("golden", golden.ENTRY), ("metadata", metadata.ENTRY), ("weights", None)]
)
def test_the_part_that_was_hit_is_named(delivered: Path, damaged, part: str, entry: str | None) -> None:
    graph = read_graph(delivered)
    stored = (
        graph.metadata[entry]
        if entry
        else next(t for t in graph.tensors if t.dtype == "float32" and t.constant).stored.tobytes()
    )
    at = delivered.read_bytes().index(stored) + len(stored) // 2
    assert failed(damaged(at)) == {"seal", part}


def test_any_byte_anywhere(delivered: Path, damaged) -> None:
    """Tables, names, padding, the digest and its mark: 80 places, both ends among them."""
    size, sealed = delivered.stat().st_size, seal.read_seal(delivered)
    rng = np.random.default_rng(0)
    special = [0, 5, size - 1, sealed.at - 1, sealed.at, sealed.at + 31, sealed.at - len(seal.MARK)]
    for position in [*special, *rng.integers(0, size, 73)]:
        path = damaged(int(position))
        checks = selftest(path)
        assert not checks[0].passed, position
        assert not any(check.name.startswith("golden ") for check in checks), "not run on a damaged file"


def test_cut_and_lengthened_files(delivered: Path, tmp_path: Path, capsys) -> None:
    content = delivered.read_bytes()
    for wrong in (content[:-1], content[: len(content) // 2], content + b"\0", b"", content + seal.EMPTY):
        path = tmp_path / "wrong.tflite"
        path.write_bytes(wrong)
        assert main([str(path)]) == 1
    assert "no seal" in capsys.readouterr().out


def test_other_scores_fail_although_the_file_is_whole(delivered: Path, capsys) -> None:
    model, content = fb.read(delivered), litert.read_metadata(delivered)
    vectors = json.loads(read_graph(delivered).metadata[golden.ENTRY])
    vectors["images"][1]["score"] += 0.01
    fb.set_metadata(model, golden.ENTRY, json.dumps(vectors).encode())
    fb.set_metadata(model, seal.ENTRY, seal.EMPTY)
    deliver._write(model, delivered, content)
    assert failed(delivered) == {"golden tiles"}
    assert main([str(delivered)]) == 1
    assert "FAIL  golden tiles" in capsys.readouterr().out


def test_files_that_were_never_delivered(tmp_path: Path, flatbuffer, capsys) -> None:
    assert main([str(write_tiny(flatbuffer, tmp_path / "plain.tflite", TINY))]) == 1
    assert "never delivered" in capsys.readouterr().out
    assert main([str(tmp_path / "missing.tflite")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
