"""Latencies from the real benchmark, in a process of its own."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from convert.runtimes.latency import LAUNCHES, measure
from mobileiqa.checkpoint import sha256
from mobileiqa.errors import UserError


@pytest.mark.slow
def test_every_file_has_a_latency(tiny: Any, tmp_path: Path, with_metadata: Any) -> None:
    one, other = tiny[2], tmp_path / "other.tflite"
    other.write_bytes(with_metadata(one.read_bytes(), "note", b"other"))
    found, session = measure([one, other])
    assert set(found) == {sha256(one), sha256(other)}
    assert all(len(t.launch_ms) == LAUNCHES and 0 < t.ms == min(t.launch_ms) for t in found.values())
    assert session["runtime"].startswith("ai-edge-litert") and session["config"]["threads"] == 1


def test_a_benchmark_that_fails_is_named(tmp_path: Path, capfd: Any) -> None:
    shutil.copy(__file__, tmp_path / "no.tflite")
    with pytest.raises(UserError, match="exit code 2 and the message above"):
        measure([tmp_path / "no.tflite"])
    assert "no.tflite" in capfd.readouterr().err
