"""LiteRT's GPU accelerator as a runtime: a .tflite file run on a GPU, in a process of its own.

LiteRT's Python package brings the accelerator that phones use (ML Drift) over WebGPU and Vulkan. Where the machine has
no GPU, a software Vulkan serves: the one that ships with Chromium (SwiftShader). It takes and leaves the operators that
a phone's GPU takes and leaves, and runs the same kernels; it has no FP16 arithmetic, and its time says nothing.

What an accelerator computes wrong it computes silently: `is_fully_accelerated()` is true and a score comes out. So the
result is compared with the CPU's (convert.comparison), and what was left to the CPU is read from the accelerator's own
words, since LiteRT also calls a graph fully accelerated whose rest the CPU's delegate took.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.runtimes.tool_environments import run_process
from mobileiqa.errors import UserError
from mobileiqa.typed_json import shortened

SCRIPT = Path(__file__).with_name("gpu_child.py")
VARIABLE = "MOBILEIQA_VULKAN"
SOFTWARE = (Path("/usr/lib/chromium/vk_swiftshader_icd.json"),)
INSTALLED = (Path("/etc/vulkan/icd.d"), Path("/usr/share/vulkan/icd.d"))
REFUSED_DRIVERS = ("lvp_",)  # Mesa's lavapipe lacks shader features that the accelerator asks for
TOO_LATE = (
    "DEADLINE_EXCEEDED: the GPU took longer than LiteRT waits, as a software GPU of a busy machine does"
)
START_S, IMAGE_S = 300, 300  # a software GPU is slow; the limit only has to end a hang

_ADAPTER = re.compile(r"Selected adapter: ([^,\n]+).*?adapterType=([^\n]+)")
_SHARES = re.compile(r"(\d+) operations will run on the GPU, and the remaining (\d+) operations")
_ERRORS = re.compile(r"^ERROR: (.+)", re.MULTILINE)
_UNSUPPORTED = re.compile(r"not supported by GPU delegate:\n(.*?)\n\d+ operations will run", re.DOTALL)


@dataclass(frozen=True)
class GpuRun:
    """What the accelerator made of a file.

    outputs: by output name, one mapping for each image. unsupported: the operators that it left to the CPU, in its
    words, each kind once. on_cpu: how many it left; 0 is fully accelerated.
    """

    adapter: str
    software: bool
    precision: str
    on_cpu: int
    unsupported: tuple[str, ...]
    compile_s: float
    run_s: tuple[float, ...]
    outputs: tuple[dict[str, np.ndarray], ...]

    @property
    def fully_accelerated(self) -> bool:
        """Whether no operator was left to the CPU."""
        return self.on_cpu == 0


def vulkan_driver() -> Path | None:
    """The Vulkan driver's manifest that is forced on the child; None where the machine's own drivers are right.

    $MOBILEIQA_VULKAN, else none where the machine has a driver of its own, else Chromium's software one. UserError
    where there is none at all.
    """
    if stated := os.environ.get(VARIABLE):
        if not Path(stated).is_file():
            raise UserError(
                f"the Vulkan driver's JSON file that ${VARIABLE} names", f"no file at {stated}", "correct it"
            )
        return Path(stated)
    own = [file for folder in INSTALLED if folder.is_dir() for file in folder.glob("*.json")]
    if any(not file.name.startswith(REFUSED_DRIVERS) for file in own):
        return None
    for file in SOFTWARE:
        if file.is_file():
            return file
    raise UserError(
        "a Vulkan driver for LiteRT's GPU accelerator",
        "none on this machine",
        "run `make gpu` in a checkout (it installs libvulkan1 and chromium-headless-shell, whose driver needs no GPU), "
        f"or set {VARIABLE} to a driver's JSON file",
    )


def run_gpu(path: Path, batch: Sequence[Mapping[str, np.ndarray]], precision: str = "fp32") -> GpuRun:
    """Every image's outputs, from one process.

    batch: arrays by input name, as the file takes them. precision: "fp32", or "fp16" where the adapter has it (it
    rounds activations to 11 bits then). UserError where the process ends, the file does not compile or no signature
    takes the arrays.
    """
    driver = vulkan_driver()
    with tempfile.TemporaryDirectory(prefix="mobileiqa-") as temporary:
        folder = Path(temporary)
        for number, inputs in enumerate(batch):
            np.savez(folder / f"inputs-{number:05d}.npz", **inputs)
        variables = {"XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", str(folder))}
        if driver:  # the loader's old and new names of one variable
            variables |= {"VK_DRIVER_FILES": str(driver), "VK_ICD_FILENAMES": str(driver)}
        command = [sys.executable, "-P", SCRIPT, path.resolve(), folder, precision]
        process = run_process(command, START_S + IMAGE_S * len(batch), folder, variables)
        report = json.loads((folder / "report.json").read_text())
        if "error" in report:
            late = [TOO_LATE] if "DEADLINE_EXCEEDED" in process.stderr else []
            reasons = [*late, *_ERRORS.findall(process.stderr), report["error"]]
            raise UserError(
                f"{path.name} to compile and run on LiteRT's GPU accelerator",
                shortened("; ".join(reasons), 400),
                "convert it again, or see whether `mobileiqa score` takes it on the CPU",
            )
        outputs = tuple(_arrays(folder / f"outputs-{number:05d}.npz") for number in range(len(batch)))
    return _described(process.stderr, report, outputs, precision)


def scores_on_gpu(path: Path, batch: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
    """The runtime "gpu" of convert.runtimes.runners: each image's `score`, in FP32.

    UserError where operators were left to the CPU: what then runs is not what was asked for.
    """
    result = run_gpu(path, batch)
    if not result.fully_accelerated:
        raise UserError(
            f"{path.name} wholly on the GPU",
            f"{result.on_cpu} operators left to the CPU: {'; '.join(result.unsupported)}",
            f"see `mobileiqa inspect {path.name} --gpu`; convert with the other --via",
        )
    return [outputs["score"] for outputs in result.outputs]


def _arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as arrays:
        return dict(arrays)


def _described(
    words: str, report: Mapping[str, object], outputs: tuple[dict[str, np.ndarray], ...], precision: str
) -> GpuRun:
    """The accelerator's own log, read."""
    adapter = _ADAPTER.search(words)
    shares, unsupported = _SHARES.findall(words), _UNSUPPORTED.findall(words)
    lines = (line.strip() for part in unsupported for line in part.splitlines())
    on_cpu = sum(int(rest) for _, rest in shares)
    return GpuRun(
        adapter=adapter[1].strip() if adapter else "unknown",
        software=bool(adapter and "CPU" in adapter[2]),
        precision=precision,
        # A graph of which the accelerator took nothing at all prints no shares.
        on_cpu=on_cpu if shares or report["accelerated"] else max(on_cpu, 1),
        unsupported=tuple(dict.fromkeys(line for line in lines if line)),
        compile_s=float(report["compile_s"]),  # type: ignore[arg-type]
        run_s=tuple(report["run_s"]),  # type: ignore[arg-type]
        outputs=outputs,
    )


def main() -> int:
    """What `make gpu` ends with: which driver runs the accelerator."""
    from mobileiqa import cli

    def driver() -> int:
        cli.say(f"Vulkan driver: {vulkan_driver() or 'that of this machine'}")
        return 0

    return cli.run("python -m convert.runtimes.gpu", driver)


if __name__ == "__main__":
    raise SystemExit(main())
