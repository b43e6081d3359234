"""A damaged file does not pass, wherever it was hit; neither does one that scores otherwise."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.flatbuffer import model as fb
from convert.flatbuffer.reader import read_graph, read_graphs
from convert.packaging import golden_vectors, packaged_file
from convert.selftest import main, selftest
from mobileiqa.files import integrity
from mobileiqa.scoring import litert
from tests.convert.packaging.conftest import TINY, write_tiny


@pytest.fixture
def packaged(flatbuffer, tmp_path: Path) -> Path:
    path = tmp_path / "packaged.tflite"
    packaged_file.embed_preprocessing(
        write_tiny(flatbuffer, tmp_path / "tiny.tflite", TINY), path, [(90, 70)]
    )
    return path


@pytest.fixture
def damaged(packaged: Path, tmp_path: Path) -> Callable[[int], Path]:
    """damaged(position): the file with another byte there."""

    def hit(position: int) -> Path:
        content = bytearray(packaged.read_bytes())
        content[position] ^= 1 << position % 8
        path = tmp_path / "damaged.tflite"
        path.write_bytes(content)
        return path

    return hit


def failed(path: Path) -> set[str]:
    return {check.name for check in selftest(path) if not check.passed}


def with_another_score(path: Path, size: int) -> None:
    """Another golden score of `tiles` in one size, with its checksum written again."""
    model, content = fb.read(path), litert.read_metadata(path)
    vectors = json.loads(read_graph(path).metadata[golden_vectors.ENTRY])
    vectors["sizes"][size]["scores"]["tiles"] += 0.01
    fb.set_metadata(model, golden_vectors.ENTRY, json.dumps(vectors).encode())
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    packaged_file._write(model, path, content)


def test_a_whole_file_passes(packaged: Path, capsys) -> None:
    assert main([str(packaged)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["passed"] and [c["name"] for c in result["checks"]] == [
        "checksum", "golden ramp", "golden tiles", "golden noise"
    ]  # fmt: skip


def test_any_byte_anywhere(packaged: Path, damaged) -> None:
    """Tables, names, padding, the digest and its mark: 80 places, both ends among them."""
    size, stored = packaged.stat().st_size, integrity.read_checksum(packaged)
    rng = np.random.default_rng(0)
    special = [0, 5, size - 1, stored.at - 1, stored.at, stored.at + 31, stored.at - len(integrity.MARK)]
    for position in [*special, *rng.integers(0, size, 73)]:
        path = damaged(int(position))
        checks = selftest(path)
        assert not checks[0].passed, position
        assert not any(check.name.startswith("golden ") for check in checks), "not run on a damaged file"


def test_cut_and_lengthened_files(packaged: Path, tmp_path: Path, capsys) -> None:
    content = packaged.read_bytes()
    for wrong in (
        content[:-1],
        content[: len(content) // 2],
        content + b"\0",
        b"",
        content + integrity.EMPTY,
    ):
        path = tmp_path / "wrong.tflite"
        path.write_bytes(wrong)
        assert main([str(path)]) == 1
    assert "no checksum" in capsys.readouterr().out


def test_other_scores_fail_although_the_file_is_whole(packaged: Path, capsys) -> None:
    with_another_score(packaged, 0)
    assert failed(packaged) == {"golden tiles"}
    assert main([str(packaged)]) == 1
    assert "FAIL  golden tiles" in capsys.readouterr().out


@pytest.fixture
def two(flatbuffer, tmp_path: Path) -> Path:
    """The same in two sizes."""
    path = tmp_path / "two.tflite"
    source = write_tiny(flatbuffer, tmp_path / "source.tflite", TINY)
    packaged_file.embed_preprocessing(source, path, [(90, 70), (70, 90)])
    return path


def test_every_size_has_golden_scores_of_its_own(two: Path) -> None:
    checks = {check.name: check for check in selftest(two)}
    assert all(check.passed for check in checks.values()) and len(checks) == 7
    assert checks["golden noise 90x70"].result != checks["golden noise 70x90"].result
    with_another_score(two, 1)
    assert failed(two) == {"golden tiles 70x90"}


def test_the_second_sizes_graph_is_hashed_too(two: Path) -> None:
    """Filters of the first pass, which no other size has."""
    first, second = read_graphs(two)
    stored = {bytes(t.stored) for t in first.tensors if t.constant}
    (own, *_) = [
        t for t in second.tensors if t.constant and t.dtype == "float32" and bytes(t.stored) not in stored
    ]
    content = bytearray(two.read_bytes())
    content[content.index(bytes(own.stored)) + 5] ^= 1
    two.write_bytes(content)
    assert failed(two) == {"checksum"}


def test_a_file_with_hashes_of_its_parts_as_earlier_versions_wrote_them_passes(packaged: Path) -> None:
    model, content = fb.read(packaged), litert.read_metadata(packaged)
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    packaged_file._write(
        model, packaged, {**content, "parts": {"weights": "ab", "golden": "", "metadata": ""}}
    )
    assert not failed(packaged) and litert.preprocessing_of(packaged) is not None


def test_a_file_of_an_older_version_is_said(packaged: Path) -> None:
    model, content = fb.read(packaged), litert.read_metadata(packaged)
    content["delivery"] = {
        "input": "image",
        "width_px": 90,
        "height_px": 70,
        "fitted": False,
        "source_sha256": "",
    }
    fb.set_metadata(model, integrity.ENTRY, integrity.EMPTY)
    packaged_file._write(model, packaged, content)
    assert failed(packaged) == {"contents"}


def test_files_that_were_never_packaged(tmp_path: Path, flatbuffer, capsys) -> None:
    assert main([str(write_tiny(flatbuffer, tmp_path / "plain.tflite", TINY))]) == 1
    assert "never packaged" in capsys.readouterr().out
    assert main([str(tmp_path / "missing.tflite")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
