"""One name for every command: `mobileiqa convert --fp16` is `python -m convert.tflite --fp16`.

The commands live in four packages; here are only their names, and the one that is
called is imported then. So `mobileiqa --help` needs nothing but Python.
"""

import difflib
import importlib
import importlib.metadata
import sys
from dataclasses import dataclass

from mobileiqa import cli
from mobileiqa.errors import EXTRAS, UserError, install_command

PROG = "mobileiqa"


@dataclass(frozen=True)
class Command:
    """`module`.main(argv) -> exit code, one line about it, and the extra that it cannot do without."""

    module: str
    summary: str
    extra: str = ""

    @property
    def typed(self) -> str:
        """What follows `python -m` for the same."""
        return self.module.removesuffix(".__main__").removesuffix(".cli")


COMMANDS = {
    "score": Command("mobileiqa.score", "scores photos with a .tflite file or a checkpoint"),
    "evaluate": Command("mobileiqa.evaluate", "correlations of models with the labels of a data set"),
    "train": Command("mobileiqa.train", "trains a model by a recipe"),
    "data": Command("mobileiqa.data", "lists, describes and checks data sets"),
    "ratings": Command(
        "mobileiqa.ratings.__main__", "fits rating models to votes; what an SRCC is worth in votes"
    ),
    "distort": Command("mobileiqa.distort", "makes a labelled set from pristine photos"),
    "calibrate": Command("calibration.select", "chooses calibration images for INT8"),
    "audit": Command("calibration.audit", "checks a calibration set for copies, leaks and clipping"),
    "convert": Command(
        "convert.tflite", "a checkpoint to a parity-checked FP32, FP16 or INT8 .tflite file", "convert"
    ),
    "onnx": Command("convert.onnx", "a checkpoint to a parity-checked .onnx file", "convert"),
    "parity": Command("convert.parity", "compares converted files with their checkpoint, edge by edge"),
    "accuracy": Command("convert.accuracy", "what converted files cost in accuracy, with gates"),
    "report": Command("convert.report.__main__", "one HTML page about the converted files of a model"),
    "inspect": Command("convert.inspect", "operators, delegation, MACs and memory of a .tflite file"),
    "deliver": Command("convert.package", "the file that an app takes: camera image in, score out"),
    "selftest": Command("convert.selftest", "checks a packaged file against its checksum and golden vectors"),
    "snippets": Command(
        "convert.snippets.__main__", "the code that an app needs for a packaged file, in five languages"
    ),
    "bench": Command("android_bench.cli", "latency and memory on this machine, on phones, on emulated ARM"),
    "compare": Command("android_bench.compare", "tables, plots and a gate over results of bench"),
    "profile": Command("android_bench.profile", "what each operator of a .tflite file costs"),
    "arm-counts": Command("android_bench.arm_counts", "instructions of an inference on an emulated ARM core"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command with the rest of `argv`, and returns its exit code; 2, with one line, for an unknown name."""
    words = sys.argv[1:] if argv is None else argv
    return cli.run(PROG, lambda: _call(words))


def overview() -> str:
    """Every command with one line, and the module that `python -m` takes."""
    width = max(map(len, COMMANDS))
    module = max(len(command.typed) for command in COMMANDS.values())
    lines = [f"  {n:<{width}}  {c.typed:<{module}}  {c.summary}" for n, c in COMMANDS.items()]
    return "\n".join([
        f"usage: {PROG} COMMAND ...", "",
        "Image-quality models on phones: train, convert, prove parity, measure.", "",
        f"  {'command':<{width}}  {'or python -m':<{module}}", *lines, "",
        f"{PROG} COMMAND --help says more. Exit codes: 0 done, 1 a gate failed, 2 wrong input.", "",
        f"example:\n  {PROG} convert --fp16 --out reference_fp16.tflite",
    ])  # fmt: skip


def _call(words: list[str]) -> int:
    name, *rest = words or [""]
    if name in ("--help", "-h", "--version"):
        cli.say(f"{PROG} {importlib.metadata.version(PROG)}" if name == "--version" else overview())
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        word = repr(name) if name else "none"
        todo = f"did you mean {near[0]}?" if near else f"see {PROG} --help"
        raise UserError(f"a command among {', '.join(COMMANDS)}", word, todo)
    try:
        return importlib.import_module(COMMANDS[name].module).main(rest)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        extra = COMMANDS[name].extra or extra
        raise UserError(
            f"the packages of the extra `{extra}` for {name}", f"no {package}", install_command(extra)
        ) from error


if __name__ == "__main__":
    sys.exit(main())
