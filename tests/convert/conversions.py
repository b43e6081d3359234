"""Runs of `python -m convert.tflite`, and what tests read of them."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.flatbuffer.reader import Graph, read_graph
from convert.tflite import main
from mobileiqa.zoo import MODELS

REPO = Path(__file__).resolve().parents[2]
NAME = "lar-iqa-single"
SPEC = MODELS[NAME].spec.resized(64, 80)
# Sizes at which resizing gives Pillow's very pixels: a grey level moves an untrained model of 64x80 too far.
CAMERA = ("--fp32", "--input", "uint8", "--input-size", "64x80,128x160")


@dataclass(frozen=True)
class Run:
    """One conversion: exit code, the last line as JSON, the lines before it, and the file."""

    code: int
    result: dict[str, Any]
    lines: list[str]
    path: Path

    @property
    def graph(self) -> Graph:
        return read_graph(self.path)

    @property
    def sidecar(self) -> dict[str, Any]:
        return json.loads(self.path.with_name(self.path.name + ".json").read_text())

    def max_abs(self, stage: str) -> float:
        return max(r["max_abs"] for r in self.result["parity"] if r["stage"] == stage)


def as_a_user(folder: Path, *arguments: str) -> Run:
    """Runs the command in `folder`, in a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "convert.tflite", *arguments, "--out", "out.tflite"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(REPO)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode in (0, 1), process.stderr
    return _run(process.returncode, process.stdout, folder)


def convert(folder: Path, *arguments: str) -> Run:
    """Runs the command here: faster by the imports."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*arguments, "--out", str(folder / "out.tflite")])
    return _run(code, out.getvalue(), folder)


def _run(code: int, out: str, folder: Path) -> Run:
    *lines, last = out.strip().splitlines()
    return Run(code, json.loads(last), lines, folder / "out.tflite")


def constants(graph: Graph) -> Counter[str]:
    """How often each stored float value array occurs, by hash."""
    stored = [t.stored for t in graph.tensors if t.constant and t.dtype in ("float32", "float16")]
    return Counter(hashlib.sha256(values.tobytes()).hexdigest() for values in stored)
