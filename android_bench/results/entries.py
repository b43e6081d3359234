"""Benchmark results as rows that can be laid side by side, read from any number of JSON files and validated.

A row is either a complete measurement of ours or a figure that somebody read off a phone's screen and typed in
("by hand"): the latter has a mean and nothing else, and stays marked in every output.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from android_bench.results import interference
from android_bench.results.measurements import (
    COUNT,
    TEXT,
    TIME,
    TODO,
    BenchResult,
    Precision,
    result_of,
    results_of,
)
from android_bench.results.signatures import labelled
from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.typed_json import Check

BY_HAND = "by hand"
SIZE = re.compile(r"(?:(?P<batch>[1-9]\d{0,5})x)?(?P<width>[1-9]\d{0,5})x(?P<height>[1-9]\d{0,5})")
MEASURED = "measured"
# What `convert.tflite` appends to a model's name.
FILE_NAME = re.compile(r"(?:_\d+x\d+)?(?:_(?:fp32|fp16|int8))?(?:_camera)?$")
ABSENT = "unknown"
MASK_DIGITS = 1000  # of a CPU mask of some 3,000 processors


@dataclass(frozen=True)
class HandEntered:
    """A figure that somebody read off a phone's screen: the fields are those of its row in the JSON."""

    source: str = field(metadata={"check": Check(f"'{BY_HAND}'", lambda value: value == BY_HAND)})
    model: str = field(metadata=TEXT)
    size: str = field(
        metadata={
            "check": Check(
                "a size such as '317x205', width first, or '25x224x224' for a batch of 25",
                lambda value: bool(SIZE.fullmatch(value)),
            )
        }
    )
    precision: str = field(metadata=TEXT)
    device: str = field(metadata=TEXT)
    mean_ms: float = field(metadata=TIME)
    runs: int = field(metadata=COUNT)
    note: str = field(default="", metadata=TEXT)


@dataclass(frozen=True)
class Entry:
    """One row. `identity` says what was measured, `setting` how: only equal settings are compared.

    model: the file's, and what of it ran where that is not float inputs into its one signature.
    size: "317x205" (width first), "25x224x224" with a batch, "unknown" where the result does not say.
    pixels: of all inputs together, batch included; None when the size is unknown.
    launches_ms: measured runs by launch; empty for figures entered by hand.
    """

    json: str
    source: str  # MEASURED or BY_HAND
    model: str
    size: str
    pixels: int | None
    precision: str
    device: str
    setting: tuple[tuple[str, str], ...]
    runs: int
    mean_ms: float
    launches_ms: tuple[tuple[float, ...], ...] = ()
    measured: BenchResult | None = None
    note: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Model and size: what a baseline's row is found by."""
        return self.model, self.size

    @property
    def by_hand(self) -> bool:
        """True for a figure without samples."""
        return self.source == BY_HAND

    @property
    def central_ms(self) -> float:
        """The median where there are samples, else the only figure there is, the mean."""
        return self.measured.run_ms.median if self.measured else self.mean_ms


def read_all(paths: Sequence[Path]) -> list[Entry]:
    """The rows of several files, in order. Raises UserError, naming file and field, at the first bad one."""
    return [entry for path in paths for entry in read(path)]


def read(path: Path) -> list[Entry]:
    """The rows of one file. Raises UserError when it is missing, of another schema, malformed or incomplete."""
    rows = results_of(load_json(path, "measure again, or correct the file"), str(path))
    return [_entry(row, path, f"results[{index}]") for index, row in enumerate(rows)]


def load_json(path: Path, todo: str) -> Any:
    """A file's JSON. Whole numbers of any size: a CPU mask has a bit for each CPU. Raises UserError."""
    try:
        return typed_json.parse(typed_json.content_of(path), str(path), todo, MASK_DIGITS)
    except OSError as error:
        expected = f"a readable JSON file at {path}"
        raise UserError(expected, error.strerror or "an error", "check the path") from error


def _entry(row: Any, path: Path, where: str) -> Entry:
    if isinstance(row, dict) and "source" in row:
        return _by_hand(typed_json.decode(HandEntered, row, str(path), TODO, where), path)
    return _from_result(result_of(row, str(path), where), path)


def _by_hand(row: HandEntered, path: Path) -> Entry:
    parts = SIZE.fullmatch(row.size)
    assert parts, "checked when it was read"
    return Entry(
        json=str(path),
        source=BY_HAND,
        model=row.model,
        size=row.size,
        pixels=math.prod(int(part) for part in parts.groups() if part),
        precision=row.precision,
        device=row.device,
        setting=(("source", BY_HAND), ("device", row.device), ("precision", row.precision)),
        runs=row.runs,
        mean_ms=row.mean_ms,
        note=row.note,
    )


def _from_result(result: BenchResult, path: Path) -> Entry:
    config, device = result.config, result.device
    pixels, size = image_size(result.input_shapes)
    setting = {
        "source": MEASURED,
        "device": f"{device.kind} {device.cpu}",
        "precision": precision(result),
        "threads": str(config.threads),
        "CPU mask": f"{config.cpu_mask:#x}",
        "XNNPACK": "on" if config.use_xnnpack else "off",
        "warm-up runs": str(config.warmup_runs),
        "cool-down s": f"{config.cooldown_s:g}",
    }
    return Entry(
        json=str(path),
        source=MEASURED,
        model=model(result),
        size=size,
        pixels=pixels,
        precision=precision(result),
        device=device.cpu,
        setting=tuple(setting.items()),
        runs=config.runs * config.launches,
        mean_ms=result.run_ms.mean,
        launches_ms=tuple(launch.run_ms for launch in result.launches),
        measured=result,
        note=f"disturbed: {'; '.join(reasons)}" if (reasons := interference.of_result(result)) else "",
    )


def model(result: BenchResult) -> str:
    """The model's name by its file's, then input types other than float32 and a signature that is not the usual one.

    A packaged file is thus another row than the float file that it was made of, and so is each of its sizes, also
    where the pixels are as many.
    """
    stem = Path(result.file).stem
    kinds = dict.fromkeys(kind for kind in result.input_types if kind != "float32")
    return labelled(" ".join([FILE_NAME.sub("", stem) or stem, *kinds]), result.signature)


def precision(result: BenchResult) -> str:
    """What was computed in: FP16 runs where it is forced, or where the file allows it and the CPU has it."""
    if result.config.precision is Precision.FP16:
        return "fp16, forced"
    if result.file_precision == "int8":
        return "int8"
    if result.fp16_capable:
        runs_fp16 = result.device.fp16_hardware and result.config.use_xnnpack
        return "fp16" if runs_fp16 else "fp16 file, fp32 run"
    return result.file_precision or ABSENT


def image_size(shapes: Sequence[Sequence[int]]) -> tuple[int | None, str]:
    """(pixels of all image inputs, size of the largest), such as (64975, "317x205"); (None, "unknown").

    An image is a shape (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 channels.
    """
    images = []
    for shape in shapes:
        if len(shape) == 4 and (shape[1] in (1, 3, 4) or shape[3] in (1, 3, 4)):
            batch, height, width = (shape[0], *(shape[2:] if shape[1] in (1, 3, 4) else shape[1:3]))
            images.append((batch * height * width, f"{batch}x" * (batch > 1) + f"{width}x{height}"))
    if not images:
        return None, ABSENT
    return sum(pixels for pixels, _ in images), max(images)[1]
