"""What half precision saves of a training step on a CPU: `python benchmarks/half_precision.py`

Float32, bfloat16 by torch.autocast alone, and bfloat16 as `mobileiqa train --precision bf16` runs it
(mobileiqa/training/depthwise.py) take turns on the same batch of noise: forward pass and gradients of all weights, no
optimiser. Written are the medians, the fastest and the slowest. It pays where the processor multiplies bfloat16
(avx512_bf16, amx_bf16): the page names what this one has.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import output
from benchmarks.table import markdown
from mobileiqa import cli
from mobileiqa.errors import UserError

MODELS = ("lar-iqa-lite", "lar-iqa-single", "mobilenet-iqa-small")
WAYS = ("float32", "bfloat16, torch", "bfloat16")
WARM_UP = 2  # steps
HALF_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # of /proc/cpuinfo; the last one is ARM's

Times = dict[str, list[float]]  # of each way, milliseconds


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = cli.parser(__doc__ or "", "python benchmarks/half_precision.py --steps 10")
    add = parser.add_argument
    add("--models", nargs="+", default=MODELS, metavar="MODEL", help=f"default {' '.join(MODELS)}")
    add("--steps", type=int, default=10, metavar="N", help="of each way that count (default %(default)s)")
    add("--batch", type=int, default=40, metavar="N", help="images (default %(default)s)")
    add("--px", type=int, default=160, metavar="N", help="their side (default %(default)s)")
    output.add_output(parser, "half_precision")
    return cli.command(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    from mobileiqa.freed_memory import keep_freed_memory

    if min(args.steps, args.batch, args.px) < 1:
        raise UserError("--steps, --batch and --px of 1 or more", "less", "correct them")
    output.refuse_existing(args)
    keep_freed_memory()
    results = {name: step_times(name, args) for name in args.models}
    content = {
        "schema": 1, "processor": processor(), "threads": os.cpu_count(), "batch": args.batch, "px": args.px,
        "steps": args.steps,
        "milliseconds": results,
    }  # fmt: skip
    output.publish(args.out, content, page(content, results))
    return 0


def step_times(name: str, args: argparse.Namespace) -> Times:
    """Milliseconds of each step that counts; the ways take turns."""
    import torch

    from mobileiqa.zoo import build_seeded, entry

    model = build_seeded(name).train().to(memory_format=torch.channels_last)
    shape = (args.batch, 3, args.px, args.px)
    images = [torch.randn(shape).to(memory_format=torch.channels_last) for _ in entry(name).spec.inputs]
    times: Times = {way: [] for way in WAYS}
    for number in cli.progress(range(WARM_UP + args.steps), name):
        for way in WAYS:
            began = time.perf_counter()
            with _precision(way):
                score = model(*images)
            score.float().sum().backward()
            model.zero_grad()
            if number >= WARM_UP:
                times[way].append(1e3 * (time.perf_counter() - began))
    return times


def _precision(way: str) -> "AbstractContextManager[object]":
    import torch

    from mobileiqa.training.depthwise import autocast

    dtype = None if way == "float32" else torch.bfloat16
    if way == "bfloat16":
        return autocast(torch.device("cpu"), dtype)
    return torch.autocast("cpu", dtype, enabled=dtype is not None)


def processor() -> dict[str, object]:
    """The processor's name, and which instructions it has for bfloat16."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return {"name": fields.get("model name", "not known"), "bfloat16": [f for f in HALF_FLAGS if f in flags]}


def page(content: dict, results: dict[str, Times]) -> str:
    """HALF_PRECISION.md."""
    about = content["processor"]
    instructions = ", ".join(about["bfloat16"]) or "no instructions of its own"
    rows = [
        [name, way, f"{median(times):.0f}", f"{min(times):.0f} - {max(times):.0f}",
         f"{median(ways['float32']) / median(times):.2f}"]
        for name, ways in results.items() for way, times in ways.items()
    ]  # fmt: skip
    return f"""# Half precision while training on a CPU

Made by `python benchmarks/half_precision.py`: forward pass and gradients of {content["batch"]} images of
{content["px"]}x{content["px"]}, {content["threads"]} threads, the three ways in turn, {content["steps"]} steps each.
{about["name"]}, bfloat16 by {instructions}.
`bfloat16, torch` is `torch.autocast` alone; `bfloat16` is what `--precision bf16` runs: the gradients of depthwise
convolutions by faster primitives (`mobileiqa/training/depthwise.py`).

{markdown(["model", "precision", "median ms", "fastest - slowest", "float32's time / this"], rows)}
"""


if __name__ == "__main__":
    sys.exit(main())
