"""Runs .tflite files on ARM kernels without a phone: ARM Python and LiteRT under qemu's user-mode emulation.

XNNPACK picks its kernels by the CPU it finds, so an emulated cortex-a76 runs a phone's own FP16 arithmetic,
and a file that such a phone would refuse is refused here. Results are the phone's; milliseconds are not, and
none are reported. The root is built once by `make arm`: an ARM64 Python, LiteRT's ARM wheels, a static qemu.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from android_bench.process import ask
from android_bench.results.signatures import read_signature
from mobileiqa.errors import UserError

Inputs = Mapping[str, np.ndarray]

# qemu's name -> whether that core has FP16 vector arithmetic (ARMv8.2 and later).
CPUS = {
    "cortex-a53": False,
    "cortex-a55": True,
    "cortex-a57": False,
    "cortex-a72": False,
    "cortex-a76": True,
    "cortex-a710": True,
}
DEFAULT_CPU = "cortex-a76"
MANIFEST = "manifest.json"  # written last: its presence means that the root is complete


def arm_root() -> Path:
    """The folder that `make arm` fills: $MOBILEIQA_ARM, else .cache/arm beside this package."""
    return Path(os.environ.get("MOBILEIQA_ARM") or Path(__file__).resolve().parents[1] / ".cache" / "arm")


def missing() -> str:
    """Why ARM files cannot be run here; empty when they can."""
    root = arm_root()
    return "" if (root / MANIFEST).is_file() else f"no ARM root at {root}"


def run_arm(
    path: Path | str, batch: Sequence[Inputs], cpu: str = DEFAULT_CPU, signature: str | None = None
) -> list[np.ndarray]:
    """Runs the file on every item of `batch` in one emulated process; float32 scores (N,) per item.

    Items map the file's input names to arrays of its exact types and shapes; `signature` names what takes them in
    a file that has several. Raises UserError for an unknown CPU, a missing ARM root, an empty batch, an unreadable
    file or several signatures of which none is named, and RunError, with the runtime's own words, when the file
    does not load or run on that CPU.
    """
    if not batch:
        raise UserError("at least one item to run", "an empty batch", "pass the inputs of one image or more")
    with tempfile.TemporaryDirectory(prefix="arm-") as folder:
        inputs = [Path(folder, f"{index}.npz") for index in range(len(batch))]
        for item, file in zip(batch, inputs, strict=True):
            np.savez(file, **item)
        check(cpu)
        output = Path(folder, "scores.npz")
        request = {
            "mode": "score", "model": str(path), "threads": 1,
            "signature": read_signature(path, signature).runtime_name,
            "inputs": [str(file) for file in inputs], "output": str(output),
        }  # fmt: skip
        python, environment = arm_command(arm_root().resolve(), cpu)
        answer = ask(python, request, environment)
        with np.load(output) as arrays:
            return [arrays[str(index)] for index in range(answer["count"])]


def check(cpu: str) -> None:
    """Raises UserError when `cpu` is unknown or the ARM root is not there."""
    if cpu not in CPUS:
        raise UserError(f"one of the CPUs {', '.join(CPUS)}", repr(cpu), "name one of these")
    if missing():
        raise UserError(
            "the ARM root that `make arm` builds",
            missing(),
            "run `make arm` in a checkout, or set MOBILEIQA_ARM to the folder of one",
        )


def arm_command(root: Path, cpu: str) -> tuple[list[str], dict[str, str]]:
    """How to start the root's Python on `cpu`: the command, and what its environment needs."""
    command = [
        str(root / "qemu-aarch64"),
        "-cpu",
        cpu,
        "-L",
        str(root / "rootfs"),
        str(root / "rootfs/usr/bin/python3.11"),
    ]
    return command, {"PYTHONPATH": str(root / "site"), "PYTHONHOME": "/usr"}
