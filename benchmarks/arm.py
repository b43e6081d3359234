"""Instructions of one inference on a phone's kernels: our files and the plain conversions of other converters.

    python benchmarks/arm.py --cases lar-iqa-lite:256x256 --force

Every file runs on an emulated cortex-a76 (`make arm`); nothing of this is a time. A plain conversion's FP16 is its
FP32 file with FP16 arithmetic forced, which is the best that a phone can make of it; its INT8 is ai-edge-quantizer's
default static recipe on litert-torch's file. ExecuTorch's are files of its own (convert_executorch.py), run by its own
ARM libraries. `--arm` in a row's name is an option of convert. Needs `make onnx2tf arm-executorch`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from android_bench.arm_counts import SCHEMA
from android_bench.core_bounds import CORES, COUNTED_ON, bound
from android_bench.runners.instruction_counter import check_cpu, count
from benchmarks import executorch_arm, int8, output
from benchmarks.conversion_paths import OURS, OURS_FP16, Case, build
from benchmarks.table import markdown
from mobileiqa import cli, typed_json
from mobileiqa.errors import RunError, UserError, one_line
from mobileiqa.files import integrity

CACHE = ROOT / ".cache" / "baselines"
CASES = "whole-photo lar-iqa-lite:256x256 lar-iqa-kan:192x192,320x320 mobilenet-iqa:317x205"
A76 = next(core for core in CORES if core.name == "Cortex-A76")
OWN = {"fp32": "ours, FP32", "fp16": "ours, FP16", "int8": "ours, INT8"}
ARM = {precision: f"{name} --arm" for precision, name in OWN.items() if precision != "fp32"}
SHOWN = ("fmla_4s", "fmla_8h", "sdot", "smlal", "loads", "stores", "shuffles", "converts", "vector", "scalar")


@dataclass(frozen=True)
class File:
    """A row: how its file is made (path to write, if it is not cached) -> path, and whether FP16 is forced."""

    name: str
    precision: str  # fp32, fp16, int8
    file: Callable[[Path], Path]
    force_fp16: bool = False


@dataclass(frozen=True)
class Row:
    """A file's counts, or why there are none."""

    case: str
    name: str
    precision: str
    counts: dict[str, int]
    error: str = ""


def files(case: Case) -> tuple[File, ...]:
    """The rows of a case, ours first."""

    def cached(route: str) -> Callable[[Path], Path]:
        return lambda _: converted(route, case)

    return (
        File(OWN["fp32"], "fp32", cached(OURS)),
        File(OWN["fp16"], "fp16", cached(OURS_FP16)),
        File(ARM["fp16"], "fp16", partial(int8.ours, case, precision="fp16", arm=True)),
        File(OWN["int8"], "int8", partial(int8.ours, case)),
        File(ARM["int8"], "int8", partial(int8.ours, case, precision="int8", arm=True)),
        *(
            File(f"{route}, {'FP16 forced' if forced else 'FP32'}", precision, cached(route), forced)
            for route in ("litert-torch", "onnx2tf")
            for precision, forced in (("fp32", False), ("fp16", True))
        ),
        File("litert-torch, default INT8", "int8", lambda path: int8.default_static(case, path)),
        File("ExecuTorch XNNPACK, FP32", "fp32", cached("executorch")),
        File("ExecuTorch XNNPACK, FP16", "fp16", cached("executorch-fp16")),
        File("ExecuTorch XNNPACK, INT8", "int8", cached("executorch-int8")),
    )


def converted(route: str, case: Case) -> Path:
    """The cached file of a conversion path. Raises RunError with the converter's words."""
    built = build(route, case, CACHE)
    if built.error:
        raise RunError(built.error)
    return built.path


def counted(case: Case, file: File) -> Row:
    """Counts one file; one that cannot be converted or run is a row too."""
    cli.note(f"{case}: {file.name}")
    path = Path()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = file.file(Path(folder, "model.tflite"))
            counts = counts_of(path, file.force_fp16)
    except (RunError, UserError) as error:
        words = one_line(str(error)).removeprefix(f"{path}: ")  # where it lay says nothing to a reader
        return Row(str(case), file.name, file.precision, {}, words)
    return Row(str(case), file.name, file.precision, counts)


def counts_of(path: Path, force_fp16: bool) -> dict[str, int]:
    """The file's counts: those of an earlier run, in .cache/arm_counts, where file, core and schema are the same."""
    name = f"{integrity.sha256(path)}-{COUNTED_ON}-{force_fp16}-{SCHEMA}.json"
    known = CACHE.with_name("arm_counts") / name
    if not known.is_file():
        if path.suffix == ".pte":
            counts = executorch_arm.count(path, COUNTED_ON)
        else:
            counts = count(path, COUNTED_ON, force_fp16=force_fp16).counts
        known.parent.mkdir(parents=True, exist_ok=True)
        cli.write_json(known, counts)
    return typed_json.parse_object(typed_json.content_of(known), str(known))


def macs(case: Case) -> int:
    """Multiply-accumulates of one inference."""
    import torch

    from mobileiqa.counting import count as count_macs
    from mobileiqa.zoo import MODELS, build_seeded

    own = MODELS[case.model].spec
    spec = own if case.size == "-" else own.sized(case.size)
    return count_macs(build_seeded(case.model), *(torch.zeros(i.shape) for i in spec.inputs)).macs


def page(rows: Sequence[Row], work: dict[str, int]) -> str:
    """The Markdown page: a table for each case."""
    intro = [
        "# Instructions on a phone's kernels",
        "",
        f"Made by `python benchmarks/arm.py`: millions of instructions of one inference on an emulated {COUNTED_ON}, "
        "seeded weights. No milliseconds: counts say which kernels ran and how much else, not how long. `least` is the "
        "least millions of cycles that a Cortex-A76 needs for them (docs/arm.md); `per MAC` is instructions over "
        "MACs / 4 in FP32, / 8 in FP16, / 16 in INT8, which is 1 for products alone; `× FP16` is to our FP16 file, "
        "`--arm` to `--arm`; `× plain` to the best other file of that precision, where none runs (*) to FP32's best.",
    ]
    tables = []
    for case in dict.fromkeys(row.case for row in rows):
        own = [row for row in rows if row.case == case]
        tables += ["", f"## {case}: {work[case] / 1e6:,.0f} M MACs", "", _table(own, work[case])]
    return "\n".join([*intro, *tables, ""])


def _table(rows: Sequence[Row], work: int) -> str:
    head = ["file", "M instr", "per MAC", "× FP16", "× plain", "least", *SHOWN]
    return markdown(head, [_cells(row, rows, work) for row in rows])


def _cells(row: Row, rows: Sequence[Row], work: int) -> list[str]:
    if row.error:
        return [row.name, row.error]
    total, lanes = row.counts["instructions"], {"fp32": 4, "fp16": 8, "int8": 16}[row.precision]
    base = ARM["fp16"] if row.name in ARM.values() else OWN["fp16"]
    fp16 = next((r.counts.get("instructions") for r in rows if r.name == base), None)
    return [
        row.name,
        f"{total / 1e6:,.1f}",
        f"{total / (work / lanes):.2f}",
        f"{total / fp16:.2f}" if fp16 else "-",
        _times_plain(row, rows),
        f"{bound(row.counts, A76).cycles / 1e6:,.1f}",
        *(f"{row.counts[kind] / 1e6:,.1f}" for kind in SHOWN),
    ]


def _times_plain(row: Row, rows: Sequence[Row]) -> str:
    """Our instructions over the fewest of other converters' files of that precision; over FP32's, with a star, where
    none of that precision runs."""
    if not row.name.startswith("ours"):
        return "-"
    for precision, mark in ((row.precision, ""), ("fp32", "*")):
        plain = [
            r.counts["instructions"]
            for r in rows
            if r.counts and r.precision == precision and not r.name.startswith("ours")
        ]
        if plain:
            return f"{row.counts['instructions'] / min(plain):.2f}{mark}"
    return "-"


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser(
        "Counts the instructions of our files and others' on an emulated cortex-a76.",
        "python benchmarks/arm.py --force",
    )
    about = "default %(default)s"
    parser.add_argument("--cases", nargs="+", default=CASES.split(), metavar="MODEL[:WxH]", help=about)
    output.add_output(parser, "arm")
    return parser


def compare(args: argparse.Namespace) -> int:
    """Converts, counts, prints and writes."""
    output.refuse_existing(args)
    check_cpu(COUNTED_ON)
    cases = [Case(*case.split(":", 1)) for case in args.cases]
    work = {str(case): macs(case) for case in cases}
    rows = [counted(case, file) for case in cases for file in files(case)]
    content: dict[str, Any] = {
        "schema": 1,
        "cpu": COUNTED_ON,
        "macs": work,
        "rows": [asdict(row) for row in rows],
    }
    output.publish(args.out, content, page(rows, work), failed=[r.name for r in rows if r.error])
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return cli.command(arguments(), compare, argv)


if __name__ == "__main__":
    sys.exit(main())
