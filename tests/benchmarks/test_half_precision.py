"""A step in each precision: what is measured, and what the page says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.half_precision import WAYS, main, page


def test_the_ways_take_turns_and_each_step_counts(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "half.json"
    arguments = ["--models", "lar-iqa-lite", "--steps", "2", "--batch", "2", "--px", "32", "--out", str(out)]
    assert main(arguments) == 0
    times = json.loads(out.read_text())["milliseconds"]["lar-iqa-lite"]
    assert set(times) == set(WAYS) and all(len(each) == 2 and min(each) > 0 for each in times.values())
    assert "2 images of\n32x32" in (tmp_path / "HALF.md").read_text()
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err.splitlines()[-1]


def test_the_page_has_medians_and_ratios_to_float32() -> None:
    content = {
        "batch": 4,
        "px": 32,
        "threads": 2,
        "steps": 3,
        "processor": {"name": "A CPU", "bfloat16": []},
    }
    times = {"float32": [30.0, 10.0, 20.0], "bfloat16, torch": [40.0] * 3, "bfloat16": [9.0, 10.0, 100.0]}
    text = page(content, {"m": times})
    assert "| m | float32 | 20 | 10 - 30 | 1.00 |" in text
    assert "| m | bfloat16 | 10 | 9 - 100 | 2.00 |" in text and "no instructions of its own" in text


@pytest.mark.parametrize("flag", ["--steps", "--batch", "--px"])
def test_less_than_one_is_refused(flag: str, tmp_path: Path, capsys: Any) -> None:
    assert main([flag, "0", "--out", str(tmp_path / "half.json")]) == 2
    assert "1 or more" in capsys.readouterr().err
