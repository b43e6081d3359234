"""The state file: a full disk ends a run in one line and leaves the last state whole."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobileiqa.errors import UserError
from mobileiqa.training.recipe import recipe
from mobileiqa.training.state import FILE, State, restore, save

ROOT = Path(__file__).resolve().parents[3]
FULL = """
import resource, sys
from pathlib import Path
import torch
from mobileiqa import cli
from mobileiqa.training.recipe import recipe
from mobileiqa.training.state import State, save
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
big = State(step=2, tensors={"module": {"weight": torch.zeros(1_000_000)}})
sys.exit(cli.run("train", lambda: save(Path(sys.argv[1]), big, recipe("reference")) or 0))
"""


def test_a_full_disk_is_one_line_and_the_last_state_stays(tmp_path: Path) -> None:
    save(tmp_path, State(step=1, tensors={"module": {"weight": torch.ones(3)}}), recipe("reference"))
    process = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 2 and process.stderr.count("\n") == 1, process.stderr
    assert "could not be written" in process.stderr
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    state = restore(tmp_path, recipe("reference"))
    assert state is not None and state.step == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000  # the limit was the child's alone


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": torch.ones(1)}, "the state of a training run"),
        ([1], "the state of a training run"),
        ({"tensors": []}, "fields of other types"),
        ({"step": True}, "fields of other types"),
        ({"best": 3}, "fields of other types"),
        ({"recipe": "reference"}, "fields of other types"),
        ({"tensors": {"module": {"w": torch.tensor([1.0, float("nan")])}}}, "NaN or infinity in w"),
        ({"best": {"srcc": np.float64(0.5)}}, "numpy.float64"),
    ],
)
def test_a_file_that_is_no_state_is_one_line(tmp_path: Path, content: Any, words: str) -> None:
    save(tmp_path, State(step=1), recipe("reference"))
    whole = torch.load(tmp_path / FILE, weights_only=True)
    partial = isinstance(content, dict) and set(content) <= set(whole)
    torch.save({**whole, **content} if partial else content, tmp_path / FILE)
    with pytest.raises(UserError, match=words):
        restore(tmp_path, recipe("reference"))
