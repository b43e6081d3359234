"""Every model family on LiteRT's GPU accelerator: what it takes, what it leaves, how far it is from the CPU.

    python benchmarks/gpu.py --json benchmarks/gpu.json --markdown benchmarks/GPU.md

Each family is converted at a small size in FP32, FP16 and INT8, packaged with its preprocessing where a graph can hold
it, and taken from other converters as they write it; the reference is also run at its full size. Then GPU and CPU score
the same generated photos. A row that is in --json already is not measured again. The score range is 0..1.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.table import markdown
from convert.delegation.gpu_check import first_wrong_operator, run_on_cpu
from convert.flatbuffer.reader import read_graph
from convert.load import NOT_FOR_PHONES, load_model
from convert.runtimes.gpu import run_gpu
from mobileiqa import cli
from mobileiqa.errors import RunError, UserError, one_line
from mobileiqa.photos.generated_images import photo_like
from mobileiqa.preprocess import prepare
from mobileiqa.scoring import litert
from mobileiqa.spec import ModelSpec
from mobileiqa.typed_json import shortened

OURS, PLAIN, ONNX2TF = "ours", "litert-torch", "onnx2tf"
PRECISIONS = ("fp32", "fp16", "int8")
PHOTO = (200, 150)  # width and height of the app's photo, of packaged files
PHOTOS = 2
# Of the score, of a reason's probability. A GPU rounds 8-bit layers in other places; a packaged file's resize rounds
# sums a hair from a half to the next grey level, as convert.packaging.packaged_file.LIMITS has it.
LIMITS = {"fp32": (1e-4, 1e-3), "fp16": (1e-4, 1e-3), "int8": (1e-2, 1e-2), "packaged": (1e-3, 1e-3)}
FULL_SIZE = "full size"
TWO_CROPS = "2 crops"  # of the size that the model has, in place of 25
# Model -> its small size; a family whose layers fix the size has that one.
FAMILIES = {
    "lar-iqa-single": "64x80",
    "lar-iqa-kan": "64x64,96x96",
    "lar-iqa-mlp": "64x64,96x96",
    "lar-iqa-lite": "128x128",
    "whole-photo": "64x64,128x128",
    "reference": "64x64,128x128",
    "mobilenet-iqa": "128x96",
    "mobilenet-iqa-small": "128x96",
    "mobilevit-iqa": "128x96",
    "koncept512": "128x96",
    "msliqa-single": "64x64",
    "msliqa-multi-crop": "64x64",
    "msliqa-multi-resize": "64x64",
    "msliqa-both": "64x64",
    "hyperiqa": TWO_CROPS,
    "ms-scanet": "224x224",
    "fr-nr-transformer": "224x224",
    "musiq": "128x96",
    "musiq-ava-google": "128x96",
}
SEVERAL = ("reference", "whole-photo", "lar-iqa-single", "lar-iqa-kan", "lar-iqa-lite", "mobilenet-iqa")
# A software GPU and two converters take minutes for these: FP32 alone, as our own files. MUSIQ as it is published takes
# as many tokens as a photo has, by code that is no tensor operation: no other converter takes it.
WEIGHTY = ("hyperiqa", "musiq", "musiq-ava-google")
HALVES = ("musiq",)  # FP16 too
PACKAGED = ("reference", "lar-iqa-single", "lar-iqa-kan", "mobilenet-iqa")


@dataclass(frozen=True)
class File:
    """What is run: a model at a size (or FULL_SIZE, TWO_CROPS: the checkpoint's own), whose file, what it takes."""

    model: str
    size: str
    converter: str = OURS
    precision: str = "fp32"
    packaged: bool = False

    def __str__(self) -> str:
        takes = " packaged" if self.packaged else ""
        return f"{self.model} {self.size} {self.converter} {self.precision}{takes}"


@dataclass(frozen=True)
class Row:
    """What came out. Errors are the largest of the photos; None where there are no reasons, or nothing ran.

    int8_error: how far the CPU's INT8 outputs are from FP32's, which bounds what rounding in other places may do.
    """

    file: str
    model: str
    size: str
    converter: str
    precision: str
    packaged: bool
    adapter: str = ""
    operators: int = 0
    on_cpu: int = 0
    unsupported: tuple[str, ...] = ()
    score_error: float | None = None
    reasons_error: float | None = None
    int8_error: float | None = None
    wrong: str = ""
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether all of it ran on the GPU, and right."""
        limits = LIMITS["packaged" if self.packaged and self.precision != "int8" else self.precision]
        score, reasons = (max(limit, self.int8_error or 0) for limit in limits)
        right = self.score_error is not None and self.score_error <= score
        return not self.error and not self.on_cpu and right and (self.reasons_error or 0) <= reasons


def files() -> list[File]:
    """What the table has, small first."""
    several = [File(model, FAMILIES[model], OURS, precision) for model in SEVERAL for precision in PRECISIONS]
    others = [File(model, size) for model, size in FAMILIES.items() if model not in SEVERAL]
    halves = [File(model, FAMILIES[model], OURS, "fp16") for model in HALVES]
    packaged = [replace(row, packaged=True) for row in [*several, *others] if row.model in PACKAGED]
    full = [File("reference", FULL_SIZE, OURS, precision) for precision in PRECISIONS]
    foreign = [
        File(model, size, converter)
        for converter in BUILDERS
        for model, size in FAMILIES.items()
        if model != "reference" and model not in WEIGHTY
    ]
    return [*several, *others, *halves, *packaged, *full, *foreign]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit 1 where a file of ours is not wholly and rightly on the GPU."""
    parser = cli.parser(__doc__ or "", "python benchmarks/gpu.py --only lar-iqa-single")
    parser.add_argument("--only", nargs="+", metavar="MODEL", choices=FAMILIES, help="these families alone")
    parser.add_argument("--converters", nargs="+", choices=(OURS, PLAIN, ONNX2TF), default=(OURS, PLAIN))
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "gpu", help="what was converted")
    parser.add_argument("--markdown", type=Path, metavar="MD", help="write the table here")
    parser.add_argument(
        "--json", type=Path, metavar="JSON", help="rows; those that are there are not run again"
    )
    return cli.command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    known = _known(arguments.json)
    selected = [
        each
        for each in files()
        if each.converter in arguments.converters and each.model in (arguments.only or FAMILIES)
    ]
    for each in cli.progress(selected, "files"):
        if str(each) not in known:
            known[str(each)] = measure(each, arguments.cache)
            if arguments.json:
                cli.write_json(arguments.json, [asdict(row) for row in known.values()])
    rows = [known[name] for name in map(str, files()) if name in known]
    if arguments.markdown:
        cli.write_text(arguments.markdown, page(rows))
    for row in rows:
        cli.say(f"{row.file}: {in_words(row)}")
    ours = [row for row in rows if row.converter == OURS and row.model not in NOT_FOR_PHONES]
    failed = [row.file for row in ours if not row.passed]
    cli.emit({"rows": len(rows), "failed": failed})
    return 1 if failed else 0


def _known(path: Path | None) -> dict[str, Row]:
    if path is None or not path.is_file():
        return {}
    rows = [Row(**{**row, "unsupported": tuple(row["unsupported"])}) for row in json.loads(path.read_bytes())]
    return {row.file: row for row in rows}


def measure(file: File, cache: Path) -> Row:
    """Converts, runs on both, compares. What fails is a row with its error."""
    row = Row(str(file), **asdict(file))
    try:
        path, spec = build(file, cache)
        batch = inputs(path, file, spec)
        if file.precision == "int8":
            row = replace(row, int8_error=_int8_error(file, path, batch, cache))
        return compared(row, path, batch)
    except (UserError, RunError) as error:
        return replace(row, error=_in_short(error))


def _in_short(error: Exception) -> str:
    """What was found, without this machine's paths and, in brackets, the end of a converter's log."""
    words = error.actual if isinstance(error, UserError) else str(error)
    return shortened(re.sub(r"\S*/site-packages/| \[.*\]", "", one_line(words)), 220)


def _int8_error(file: File, path: Path, batch: Sequence[Mapping[str, np.ndarray]], cache: Path) -> float:
    """The largest difference of an output from the FP32 file's, both on the CPU."""
    fp32, _ = build(replace(file, precision="fp32"), cache)
    outputs = []
    for each in (path, fp32):
        results = run_on_cpu(each, read_graph(each).signatures[0].key, batch)
        outputs.append([np.concatenate([values.ravel() for _, values in sorted(r.items())]) for r in results])
    return float(np.abs(np.subtract(*outputs)).max())


def build(file: File, cache: Path) -> tuple[Path, ModelSpec]:
    """The converted file, and its model's spec at that size."""
    from convert.packaging.packaged_file import embed_preprocessing

    size = None if file.size in (FULL_SIZE, TWO_CROPS) else file.size
    source = load_model(file.model, size, for_phones=True)
    if file.size == TWO_CROPS:
        inputs_of_two = tuple(replace(each, crops=2) for each in source.spec.inputs)
        source = replace(source, spec=replace(source.spec, inputs=inputs_of_two))
    path = cache / f"{str(replace(file, packaged=False)).replace(' ', '-').replace(',', '+')}.tflite"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.converter == OURS:
            _convert(source, file.precision, path)
        else:
            path.write_bytes(BUILDERS[file.converter](source))
    if not file.packaged:
        return path, source.spec
    packaged = path.with_stem(f"{path.stem}-packaged")
    if not packaged.is_file():
        embed_preprocessing(path, packaged, [PHOTO])
    return packaged, source.spec


def _convert(source: Any, precision: str, path: Path) -> None:
    from convert.int8.arguments import parse_arguments
    from convert.pipeline import Precision, Via, convert

    int8 = parse_arguments([], source.spec) if precision == "int8" else None
    convert(source, Precision(precision), Via.LITERT, path, int8)


def _plain(source: Any) -> bytes:
    """litert-torch alone, on the published module."""
    from convert.export import tflite_file

    return tflite_file.export_tflite(source.model, source.spec)


def _onnx2tf(source: Any) -> bytes:
    """onnx2tf alone, on the published module as torch exports it."""
    from convert.export import onnx2tf, onnx_file

    with tempfile.TemporaryDirectory() as folder:
        return onnx2tf.export_tflite(
            onnx_file.export_onnx(source.model, source.spec, Path(folder, "model.onnx"))
        )


BUILDERS: dict[str, Callable[[Any], bytes]] = {PLAIN: _plain, ONNX2TF: _onnx2tf}


def inputs(path: Path, file: File, spec: ModelSpec) -> list[dict[str, np.ndarray]]:
    """Generated photos as the file takes them."""
    photos = [photo_like(seed, *PHOTO) for seed in range(PHOTOS)]
    if file.packaged:
        make = litert.inputs_of(path)
        return [make(photo) for photo in photos]
    return [prepare(photo, spec) for photo in photos]


def compared(row: Row, path: Path, batch: Sequence[Mapping[str, np.ndarray]]) -> Row:
    """The row with what the GPU made of the batch, against the CPU."""
    graph = read_graph(path)
    key = graph.signatures[0].key
    gpu, expected = run_gpu(path, batch), run_on_cpu(path, key, batch)
    pairs = [
        [
            tuple(each[name].astype(np.float64) for each in both)
            for both in zip(gpu.outputs, expected, strict=True)
        ]
        for name in sorted(expected[0], key=lambda name: expected[0][name].size)  # the score has fewer values
    ]
    errors = [max(float(np.abs(a - b).max()) for a, b in outputs) for outputs in pairs]
    if not np.isfinite(errors).all():
        return replace(row, adapter=gpu.adapter, error="a score that is not finite")
    row = replace(
        row, adapter=gpu.adapter, operators=len(graph.operators), on_cpu=gpu.on_cpu, unsupported=gpu.unsupported,
        score_error=errors[0], reasons_error=errors[1] if len(errors) > 1 else None,
    )  # fmt: skip
    if row.passed or gpu.on_cpu:
        return row
    wrong = first_wrong_operator(path, key, batch[0])
    return replace(row, wrong=f"{wrong.kind} #{wrong.index} ({wrong.error:.0e})" if wrong else "")


def in_words(row: Row) -> str:
    """What the row says, in one line."""
    if row.error:
        return f"no result: {row.error}"
    where = "fully accelerated" if not row.on_cpu else f"{row.on_cpu} operators left to the CPU"
    reasons = "" if row.reasons_error is None else f", reasons {row.reasons_error:.0e}"
    first = f"; first wrong: {row.wrong}" if row.wrong else ""
    return f"{where}, score {row.score_error:.0e}{reasons}{first}: {'passed' if row.passed else 'FAILED'}"


def page(rows: Sequence[Row]) -> str:
    """benchmarks/GPU.md."""
    head = ["file", "size", "operators", "left to the CPU", "score", "reasons", "holds"]
    parts = [INTRODUCTION.format(adapter=next((row.adapter for row in rows if row.adapter), "none"))]
    for title, section in _sections(rows):
        parts += [f"## {title}", markdown(head, [_cells(row) for row in section])]
        if left := _left(section):
            parts.append(f"{LEFT}\n\n" + "\n".join(left))
    there = {row.file for row in rows}
    missing: dict[str, list[str]] = {}
    for file in files():
        if str(file) not in there:
            kind = f"{file.precision.upper()} files of {file.converter}, {file.size}"
            missing.setdefault(f"packaged {kind}" if file.packaged else kind, []).append(file.model)
    if missing:
        lines = [f"- {kind}: {', '.join(models)}" for kind, models in missing.items()]
        parts.append("Not measured yet:\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _left(rows: Sequence[Row]) -> list[str]:
    """A line for each reason why operators were left, less their tensors' names, with the models that have them."""
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        for words in row.unsupported:
            reason = re.sub(r"\. \S+$", ".", re.sub(r'Tensor "[^"]*"', "Tensor", words))
            models.setdefault(reason, {})[row.model] = None
    return [f"- `{reason}`: {', '.join(models[reason])}" for reason in sorted(models)]


def _sections(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    ours = [row for row in rows if row.converter == OURS]
    yield "Files of ours, prepared arrays in", [row for row in ours if not row.packaged]
    if packaged := [row for row in ours if row.packaged]:
        yield f"Packaged files, a uint8 photo of {PHOTO[0]}x{PHOTO[1]} in", packaged
    for converter in (PLAIN, ONNX2TF):
        if others := [row for row in rows if row.converter == converter]:
            yield f"{converter} alone, the published module", others


def _cells(row: Row) -> list[str]:
    name = f"{row.model} {row.precision.upper()}"
    if row.error:
        return [name, row.size, "–", "–", "–", "–", f"no result: {row.error.replace('|', '/')}"]
    reasons = "–" if row.reasons_error is None else f"{row.reasons_error:.0e}"
    beside = f": INT8 is {row.int8_error:.0e} from FP32" if row.int8_error else ""
    verdict = f"yes{beside}" if row.passed else f"**no**: {_reason(row)}"
    return [
        name,
        row.size,
        str(row.operators),
        str(row.on_cpu or "none"),
        f"{row.score_error:.0e}",
        reasons,
        verdict,
    ]


def _reason(row: Row) -> str:
    """Why a row does not hold: the operators that the accelerator refuses, or the first that it computes wrong."""
    if row.on_cpu:
        refused = dict.fromkeys(words.partition(":")[0] for words in row.unsupported)
        return f"it refuses {', '.join(refused) or 'the graph'}"
    return f"first wrong: {row.wrong}" if row.wrong else "each operator is right by itself"


LEFT = """The accelerator takes one part of a graph, the largest without an operator that it refuses: what is before and
behind it runs on the CPU, too. Why it refuses, in its words:"""

INTRODUCTION = """# Models on the GPU

Converted files on LiteRT 2.3's GPU accelerator against the same file on the CPU: `python benchmarks/gpu.py`.
Adapter: {adapter}. On a software Vulkan the accelerator decides and computes as on a
phone's GPU, in FP32: its time, and what FP16 arithmetic costs, are not seen. Scores and reasons of two generated
photos, the largest difference; weights without a checkpoint are seeded. A row holds where nothing was left to the CPU
and the score is within 1e-4 (reasons 1e-3); of a packaged file within 1e-3, since its resize rounds a sum a hair from a
half to the next grey level on either side; of INT8 within 1e-2, or within what INT8 itself is away from FP32 on the
CPU: a GPU rounds in other places, which on weights that nobody trained moves as much as quantizing them."""


if __name__ == "__main__":
    raise SystemExit(main())
