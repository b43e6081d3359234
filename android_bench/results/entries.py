"""Benchmark results as rows that can be laid side by side, read from any number of JSON files and validated.

A row is either a complete measurement of ours or a figure that somebody read off a phone's screen and typed in
("by hand"): the latter has a mean and nothing else, and stays marked in every output.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.errors import InputError, RunError
from android_bench.results import interference
from android_bench.results.measurements import SCHEMA, BenchResult, Precision, from_json
from android_bench.results.schema import BY_HAND, BY_HAND_RESULT, MEASURED_RESULT, SIZE, check
from android_bench.results.signatures import labelled
from mobileiqa import typed_json
from mobileiqa.errors import UserError
from mobileiqa.typed_json import shortened

MEASURED = "measured"
# What `convert.tflite` appends to a model's name.
FILE_NAME = re.compile(r"(?:_\d+x\d+)?(?:_(?:fp32|fp16|int8))?(?:_camera)?$")
ABSENT = "unknown"
MASK_DIGITS = 1000  # of a CPU mask of some 3,000 processors


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
    """The rows of several files, in order. Raises InputError, naming file and field, at the first bad one."""
    return [entry for path in paths for entry in read(path)]


def read(path: Path) -> list[Entry]:
    """The rows of one file. Raises InputError when it is missing, of another schema, malformed or incomplete."""
    data = _load(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or type(data["schema"]) is not int:
        kind = (
            f"schema {shortened(repr(data.get('schema')), 60)}"
            if isinstance(data, dict)
            else type(data).__name__
        )
        raise InputError(
            f"a benchmark of schema {SCHEMA} in {path}",
            kind,
            "measure again with this version, or correct the file",
        )
    if "emulated" in data:
        raise InputError(
            f"times in {path}", "an emulated run, which has none", "measure on a host or a phone"
        )
    results = data.get("results")
    if not isinstance(results, list) or not results or data.keys() != {"schema", "results"}:
        raise InputError(
            f"'schema' and a non-empty array 'results' in {path}",
            shortened(f"{sorted(data)}", 200),
            "measure again, or correct the file",
        )
    return [_entry(value, path, f"{path}: results[{index}]") for index, value in enumerate(results)]


def _load(path: Path) -> Any:
    """The file's JSON. Whole numbers of any size: a CPU mask has a bit for each CPU."""
    try:
        return typed_json.parse(
            typed_json.content_of(path), str(path), "measure again, or correct the file", MASK_DIGITS
        )
    except OSError as error:
        raise InputError(
            f"a readable JSON file at {path}", error.strerror or "an error", "check the path"
        ) from error
    except UserError as error:
        raise InputError(error.expected, error.actual, error.todo) from error


def _entry(value: Any, path: Path, where: str) -> Entry:
    if isinstance(value, dict) and "source" in value:
        check(value, BY_HAND_RESULT, where)
        return _by_hand(value, path)
    check(value, MEASURED_RESULT, where)
    try:
        (result,) = from_json({"schema": SCHEMA, "results": [value]})
    except (InputError, RunError) as error:  # a config that cannot be, missing runs
        reason = error.actual if isinstance(error, InputError) else str(error)
        raise InputError(f"a complete measurement at {where}", reason, "measure again") from error
    _check_summary(value["summary"], result, where)
    return _from_result(result, path)


def _check_summary(written: dict[str, Any], result: BenchResult, where: str) -> None:
    """A summary that its own runs contradict was edited: such a file is not believed."""
    for name, figure in result.summary().items():
        if not math.isclose(written[name], figure, rel_tol=1e-6, abs_tol=1e-3):
            raise InputError(
                f"at {where}.summary.{name} what the runs give, {figure}", f"{written[name]}", "measure again"
            )


def _by_hand(value: dict[str, Any], path: Path) -> Entry:
    parts = SIZE.fullmatch(value["size"])
    assert parts, "checked by the schema"
    return Entry(
        json=str(path),
        source=BY_HAND,
        model=value["model"],
        size=value["size"],
        pixels=math.prod(int(part) for part in parts.groups() if part),
        precision=value["precision"],
        device=value["device"],
        setting=(("source", BY_HAND), ("device", value["device"]), ("precision", value["precision"])),
        runs=value["runs"],
        mean_ms=value["mean_ms"],
        note=value.get("note", ""),
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
