"""INT8 against FP32, ours and the baselines': speed, memory, file and partitions, all measured in one run.

    python benchmarks/int8.py

Seeded weights at the published sizes: what a kernel costs does not depend on the weights. What INT8 does to scores is
measured on trained models (EVALUATION_MODELS.md). Protocol as in baselines.py: batch 1, one thread, one CPU, every
launch a fresh process, files in turns.

`default` is what a user gets today: ai-edge-quantizer's default static recipe, with its own calibration, on the plain
conversion of litert-torch. Needs `make executorch`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from android_bench.results.interference import IfDisturbed
from android_bench.results.measurements import BenchConfig, Launch
from android_bench.results.summary import summarize
from android_bench.runners import host
from benchmarks import measure, output
from benchmarks.conversion_paths import OURS, Case, build
from benchmarks.table import markdown
from mobileiqa import cli
from mobileiqa.errors import RunError, UserError, one_line

CACHE = ROOT / ".cache" / "baselines"
CALIBRATION = 4  # generated images: ranges do not change what a kernel costs
LAR, MOBILE = Case("lar-iqa-kan"), Case("mobilenet-iqa", "1907x1231")


@dataclass(frozen=True)
class File:
    """A row: what it is, of which model, and how it is made (case, path to write) -> path."""

    name: str
    case: Case
    make: Callable[[Case, Path], Path]


@dataclass(frozen=True)
class Measurement:
    """A row's figures; `spread`: slowest launch over fastest, less 1."""

    median_ms: float
    spread: float
    memory_mb: float
    size_mb: float
    partitions: int  # 0: the runtime does not tell


@dataclass(frozen=True)
class Target:
    """`metric` of `what` is to be at most `limit` times that of `of`; of None: the value itself."""

    what: str
    of: str | None
    metric: str
    limit: float


def _cached(route: str, case: Case, _path: Path) -> Path:
    built = build(route, case, CACHE)
    if built.error:
        raise UserError(f"{case} by {route}", built.error, "run benchmarks/baselines.py to see more")
    return built.path


def default_static(case: Case, path: Path) -> Path:
    """ai-edge-quantizer as its documentation shows it, on litert-torch's plain file; inputs and score in float.

    RunError, with its words, where it cannot.
    """
    from ai_edge_quantizer import qtyping, quantizer, recipe

    from mobileiqa.scoring.litert import SIGNATURE

    plain = _cached("litert-torch", case, path)
    floats = [
        {"regex": ".*", "operation": kind, "algorithm_key": recipe.AlgorithmName.NO_QUANTIZE, "op_config": {}}
        for kind in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT)
    ]
    tool = quantizer.Quantizer(str(plain), [*recipe.static_wi8_ai8(), *floats])
    samples = {SIGNATURE: [_random_inputs(plain, seed) for seed in range(CALIBRATION)]}
    try:
        result = tool.quantize(tool.calibrate(samples))
    except (ValueError, IndexError, RuntimeError) as error:
        raise RunError(f"ai-edge-quantizer: {one_line(str(error))}") from error
    path.write_bytes(bytes(result.quantized_model))
    return path


def _random_inputs(path: Path, seed: int) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    from mobileiqa.scoring.litert import SIGNATURE

    details = Interpreter(model_path=str(path)).get_signature_runner(SIGNATURE).get_input_details()
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(d["shape"], dtype=np.float32) for name, d in details.items()}


def ours(
    case: Case, path: Path, approximations: Sequence[str] = (), precision: str = "int8", arm: bool = False
) -> Path:
    """Our file: static INT8 by the default recipe, or another precision. `arm`: as convert's --arm."""
    from calibration.sets import generated
    from convert.int8.arguments import Int8Arguments
    from convert.int8.recipe import Recipe
    from convert.load import load_model
    from convert.pipeline import Precision, Via, convert

    source = load_model(case.model, None if case.size == "-" else case.size)
    static = None
    if precision == "int8":
        static = Int8Arguments(Recipe(arm=arm), generated(CALIBRATION, 0, source.spec))
    return convert(source, Precision(precision), Via.LITERT, path, static, approximations, arm).path


def _files() -> tuple[File, ...]:
    from functools import partial

    return (
        File("lar fp32", LAR, partial(_cached, OURS)),
        File("lar int8", LAR, ours),
        File("lar default int8", LAR, default_static),
        File("mobile executorch fp32", MOBILE, partial(_cached, "executorch")),
        File("mobile fp32", MOBILE, partial(_cached, OURS)),
        File("mobile int8", MOBILE, ours),
        File("mobile int8 sparse", MOBILE, partial(ours, approximations=("sparse-pooling",))),
        File("mobile int8 sparser", MOBILE, partial(ours, approximations=("sparser-pooling",))),
    )


TARGETS = (
    Target("lar int8", "lar fp32", "median_ms", 1 / 2.5),
    Target("lar int8", "lar default int8", "median_ms", 1 / 4),
    Target("lar int8", "lar fp32", "size_mb", 0.27),
    Target("lar int8", None, "partitions", 1),
    *(
        target
        for name in ("mobile int8", "mobile int8 sparse", "mobile int8 sparser")
        for target in (
            Target(name, "mobile executorch fp32", "median_ms", 1 / 6),
            Target(name, "mobile fp32", "median_ms", 1 / 2),
            Target(name, None, "size_mb", 42),
            Target(name, "mobile executorch fp32", "memory_mb", 1 / 8),
        )
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit 1 when a target is missed."""
    return cli.command(arguments(), lambda args: compare(args, _files(), TARGETS), argv)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = cli.parser("INT8 against FP32, ours and the baselines'.", "python benchmarks/int8.py --force")
    output.add_protocol(parser)
    output.add_if_disturbed(parser)
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the INT8 files here, and take those there"
    )
    output.add_output(parser, "int8")
    return parser


def compare(args: argparse.Namespace, files: Sequence[File], targets: Sequence[Target]) -> int:
    """Converts, measures, prints and writes."""
    output.refuse_existing(args)
    config = BenchConfig(runs=args.runs, launches=args.launches)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {file.name: file_of(file, folder) for file in files}
        measurements = measured(paths, config, IfDisturbed(args.if_disturbed))
    verdicts = [judge(target, measurements) for target in targets]
    text = report(measurements, verdicts, config)
    content = {"schema": 1, "config": asdict(config), "device": asdict(host.this_machine()),
               "files": {name: asdict(row) for name, row in measurements.items()}, "targets": verdicts}  # fmt: skip
    missed = [f"{j['what']}: {j['metric']}" for j in verdicts if not j["met"]]
    output.publish(args.out, content, text, missed=missed)
    return int(bool(missed))


def file_of(file: File, folder: Path) -> Path:
    """The row's file, in `folder` unless it is a baseline's cached one."""
    path = folder / f"{file.name.replace(' ', '-')}.tflite"
    if path.exists():
        return path
    cli.note(f"{file.name}: converting")
    return file.make(file.case, path)


def measured(
    paths: dict[str, Path], config: BenchConfig, if_disturbed: IfDisturbed
) -> dict[str, Measurement]:
    """All files in turns. Raises RunError when the machine stays disturbed, unless that is to be kept."""
    launches: dict[str, list[Launch]] = {name: [] for name in paths}
    for turn in range(config.launches):
        for name, path in cli.progress(list(paths.items()), f"turn {turn + 1} of {config.launches}"):
            launches[name].append(measure.launch(path, config, if_disturbed)[0])
    return {name: _measurement(launches[name], paths[name]) for name in paths}


def _measurement(launches: Sequence[Launch], path: Path) -> Measurement:
    medians = [summarize(launch.run_ms).median for launch in launches]
    return Measurement(
        round(summarize([ms for launch in launches for ms in launch.run_ms]).median, 2),
        round(max(medians) / min(medians) - 1, 4),
        round(max(launch.peak_memory_mb for launch in launches), 1),
        round(path.stat().st_size / 1e6, 2),
        launches[0].delegate_kernels,
    )


def judge(target: Target, measurements: dict[str, Measurement]) -> dict[str, Any]:
    """The target, its value and whether it is met."""
    value = getattr(measurements[target.what], target.metric)
    if target.of is not None:
        value /= getattr(measurements[target.of], target.metric)
    return {
        **asdict(target),
        "limit": round(target.limit, 4),
        "value": round(value, 4),
        "met": value <= target.limit,
    }


def report(
    measurements: dict[str, Measurement], verdicts: Sequence[dict[str, Any]], config: BenchConfig
) -> str:
    """The page that is committed."""
    rows = [
        [name, f"{row.median_ms:.1f}", f"{row.spread:.1%}", f"{row.memory_mb:.0f}", f"{row.size_mb:.1f}",
         str(row.partitions or "–")]
        for name, row in measurements.items()
    ]  # fmt: skip
    table = markdown(["file", "median ms", "spread", "memory MB", "file MB", "XNNPACK partitions"], rows)
    goals = markdown(
        ["file", "metric", "of", "at most", "found", ""],
        [[j["what"], j["metric"], j["of"] or "itself", f"{j['limit']:.3g}", f"{j['value']:.3f}",
          "met" if j["met"] else "**missed**"] for j in verdicts],
    )  # fmt: skip
    return (
        "# INT8: speed, memory and size\n\n"
        f"Made by `python benchmarks/int8.py` on {host.this_machine().cpu}: one thread, {config.launches} x "
        f"{config.runs} runs taking turns, seeded weights. LAR-IQA KAN reads 384x384 and 1280x1280, MobileNet-IQA "
        "1907x1231. `default` is ai-edge-quantizer's default static recipe on the plain conversion; `sparse` and "
        "`sparser` are `--approximate sparse-pooling` and `sparser-pooling`, which are not exact.\n\n"
        f"{table}\n\n{goals}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
