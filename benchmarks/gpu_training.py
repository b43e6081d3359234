"""How fast a GPU trains: `python benchmarks/gpu_training.py PRISTINE --severity CSV --device cuda --precision bf16`.

MobileNet-IQA learns from MobileViT-IQA by the recipe `mobileiqa-distill`, on photos that are distorted while it trains,
at 1271x820, for ten minutes. Printed and written: images a second, the share of the time that steps wait for data, and
the peak memory. The training itself is `mobileiqa train`; without --teacher, the teacher's weights are seeded, which
changes no time. The first steps, which compile and allocate, do not count. On a CPU a few steps show that it runs.
"""

import argparse
import csv
import dataclasses
import resource
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mobileiqa import cli
from mobileiqa.errors import UserError

if TYPE_CHECKING:
    import torch

    from mobileiqa.training.loop import Settings
    from mobileiqa.training.run import Request

RECIPE = "mobileiqa-distill"
MODELS = ("mobilenet-iqa", "mobilevit-iqa")
WARM_UP = 3  # steps
RESULT = "gpu_training.json"


def main(argv: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = cli.parser(
        __doc__ or "",
        "python benchmarks/gpu_training.py photos/ --severity severity.csv --device cuda --out run",
    )
    add = parser.add_argument
    add("pristine", type=Path, metavar="FOLDER", help="pristine photos, which are distorted while training")
    add("--severity", type=Path, required=True, metavar="CSV", help="of `mobileiqa data severity`")
    add("--out", type=Path, required=True, metavar="DIR", help="the run, and what was measured")
    add("--minutes", type=float, default=10.0, metavar="M", help="default %(default)s")
    add("--steps", type=int, default=0, metavar="N", help="stop after so many steps, if not after --minutes")
    add("--size", default="1271x820", metavar="WxH", help="default %(default)s")
    add("--batch", type=int, default=8, metavar="N", help="default %(default)s")
    add(
        "--models",
        nargs=2,
        default=MODELS,
        metavar=("STUDENT", "TEACHER"),
        help=f"default {' '.join(MODELS)}",
    )
    add("--teacher", type=Path, metavar="CKPT", help="a trained teacher in place of seeded weights")
    add("--device", default="cuda", help="default %(default)s")
    add("--precision", default="bf16", choices=("fp32", "bf16", "fp16"), help="default %(default)s")
    add("--workers", type=int, default=8, metavar="N", help="loader processes (default %(default)s)")
    add("--cache", type=Path, metavar="DIR", help="distort once, and keep it here")
    add("--compile", action="store_true", help="torch.compile, student and teacher")
    add("--checkpointing", action="store_true", help="recompute the backbone for gradients")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    from mobileiqa.training.run import train

    for name in ("minutes", "batch"):
        if not 0 < getattr(args, name) < float("inf"):
            raise UserError(f"--{name} above 0", str(getattr(args, name)), "correct it")
    if args.steps < 0:
        raise UserError("--steps of 0 or more", str(args.steps), "correct it")
    if args.out.exists() and any(args.out.iterdir()):
        raise UserError("an empty folder to measure in", f"files in {args.out}", "give another --out")
    settings = _settings(args)
    _check_inputs(args)
    args.out.mkdir(parents=True, exist_ok=True)
    request = _request(args)
    try:
        train(request, settings)
    except RuntimeError as error:  # torch's OutOfMemoryError is one
        if "out of memory" not in str(error):
            raise
        raise UserError(
            "room for the batch", str(error).splitlines()[0], "lower --batch, or --checkpointing"
        ) from error
    result = measured(args.out / "run" / "training.csv", args.batch, settings.device)
    about = {"device": name_of(settings.device), "models": list(args.models), "size": args.size, "batch": args.batch,
             "precision": args.precision, "workers": args.workers, "compile": args.compile,
             "checkpointing": args.checkpointing}  # fmt: skip
    cli.write_json(args.out / RESULT, {**about, **result})
    cli.say(text(about, result))
    cli.emit({**about, **result, "out": str(args.out)})
    return 0


def _settings(args: argparse.Namespace) -> "Settings":
    from mobileiqa.training.distributed import usable_device
    from mobileiqa.training.loop import Settings

    device = usable_device(args.device)
    seconds = 0.0 if args.steps else 60 * args.minutes
    return Settings(
        args.out / "run", device, args.precision, args.workers, log_every=1, compile=args.compile,
        checkpointing=args.checkpointing, stop_after_s=seconds, save_every_s=float("inf"),
    )  # fmt: skip


def _check_inputs(args: argparse.Namespace) -> None:
    """Raises UserError for photos, scores, a size or models that cannot be trained on, before anything is written."""
    from mobileiqa.distortions.kadid10k import read_severity
    from mobileiqa.training.pixel_sources import synthetic
    from mobileiqa.variants import MOBILE
    from mobileiqa.zoo import entry

    synthetic(args.pristine, read_severity(args.severity), 0)
    if other := [name for name in args.models if name not in MOBILE]:
        raise UserError(f"--models of {', '.join(MOBILE)}", other[0], "correct --models")
    for name in args.models:
        entry(name).spec.sized(args.size)


def _request(args: argparse.Namespace) -> "Request":
    from mobileiqa import checkpoint
    from mobileiqa.training.recipe import recipe
    from mobileiqa.training.run import Request
    from mobileiqa.zoo import build_seeded, entry

    student, teacher = args.models
    path = args.teacher
    if path is None:
        spec = entry(teacher).spec.sized(args.size)
        path = checkpoint.save(args.out / "teacher.safetensors", build_seeded(teacher), spec)
    plan = dataclasses.replace(
        recipe(RECIPE), model=student, batch=args.batch, validation_limit=3,
        epochs=1 if args.steps else 1000, epoch_images=args.batch * args.steps,
    )  # fmt: skip
    (args.out / "run").mkdir()
    return Request(
        plan, (("pristine", args.pristine),), args.severity, args.size, from_scratch=True, teacher=path,
        cache=args.cache,
    )  # fmt: skip


def measured(log: Path, batch: int, device: "torch.device") -> dict[str, Any]:
    """Figures of the steps in training.csv after the first WARM_UP; of fewer steps, of the last one."""
    if not log.is_file():
        raise UserError("a step in the time", "none", "give more --minutes, or a smaller --size")
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    counted = rows[WARM_UP:] or rows[-1:]
    data, step = ([float(row[name]) for row in counted] for name in ("data_ms", "step_ms"))
    total_s = (sum(data) + sum(step)) / 1e3
    return {
        "steps": len(counted),
        "images_per_second": batch * len(counted) / total_s,
        "step_ms": median(step),
        "data_wait_share": sum(data) / 1e3 / total_s,
        "peak_memory_mb": peak_memory_mb(device),
        "loss": [float(rows[0]["loss"]), float(rows[-1]["loss"])],
    }


def peak_memory_mb(device: "torch.device") -> float:
    """Of the GPU's tensors; on a CPU, of the process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def name_of(device: "torch.device") -> str:
    """The GPU's name, or `cpu`."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def text(about: dict[str, Any], result: dict[str, Any]) -> str:
    """The figures for people."""
    return (
        f"{about['models'][0]} from {about['models'][1]} at {about['size']}, batch {about['batch']}, "
        f"{about['precision']}, on {about['device']}: {result['images_per_second']:.2f} images/s over "
        f"{result['steps']} steps, {result['step_ms']:.0f} ms a step, {result['data_wait_share']:.1%} of the time "
        f"waiting for data, {result['peak_memory_mb']:.0f} MB at most"
    )


if __name__ == "__main__":
    sys.exit(main())
