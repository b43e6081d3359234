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
    session = measure([one, other], "try again")
    assert [file.sha256 for file in session.files] == [sha256(one), sha256(other)]
    assert all(
        len(t.launch_ms) == LAUNCHES and 0 < t.ms == min(t.launch_ms) for t in session.timings.values()
    )
    assert all(
        file.p5_ms <= file.median_ms <= file.p95_ms and file.peak_memory_mb > 0 for file in session.files
    )
    assert session.setup["runtime"].startswith("ai-edge-litert") and session.setup["config"]["threads"] == 1


def test_a_benchmark_that_fails_is_one_line_with_its_words(tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path / "no.tflite")
    with pytest.raises(UserError, match=r"expected a TFLite model .*no\.tflite.*; try again"):
        measure([tmp_path / "no.tflite"], "try again")
