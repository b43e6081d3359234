"""One name for every command: `mobileiqa convert --fp16` is `python -m convert.tflite --fp16`.

The commands live in four packages; here are only their names, and the one that is
called is imported then. So `mobileiqa --help` needs nothing but Python.
"""

import difflib
import importlib
import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

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


JOBS = {
    "score photos": {
        "score": Command("mobileiqa.score", "scores photos with a .tflite file or a checkpoint"),
        "explain": Command("mobileiqa.explain", "draws where a photo loses quality, over the photo"),
        "best": Command("mobileiqa.best", "ranks photos of one scene: which of a burst to keep"),
    },
    "train and evaluate": {
        "train": Command("mobileiqa.train", "trains a model by a recipe"),
        "evaluate": Command("mobileiqa.evaluate", "correlations of models with the labels of a data set"),
        "features": Command("mobileiqa.features", "features of photos, and KAN and other regressors on them"),
        "prompts": Command("mobileiqa.prompts", "trains a visual prompt for a frozen vision-language model"),
        "tables": Command("mobileiqa.tables", "trains and evaluates a published table, row by row"),
    },
    "convert": {
        "convert": Command(
            "convert.tflite", "a checkpoint to a parity-checked FP32, FP16 or INT8 .tflite file", "convert"
        ),
        "onnx": Command("convert.onnx", "a checkpoint to a parity-checked .onnx file", "convert"),
    },
    "judge": {
        "check": Command("convert.check", "converted files: parity at every stage, accuracy, one page"),
        "inspect": Command("convert.inspect", "operators, delegation, MACs and memory of a .tflite file"),
    },
    "measure": {
        "bench": Command("android_bench.cli", "latency and memory on this machine, on phones"),
        "bench compare": Command("android_bench.compare", "tables, plots and a gate over results of bench"),
        "bench profile": Command("android_bench.profile", "what each operator of a .tflite file costs"),
        "bench count": Command("android_bench.arm_counts", "instructions of an inference on an emulated ARM core"),
    },
    "put into an app": {
        "package": Command("convert.package", "a file with embedded preprocessing: a photo's bytes in, score out"),
        "selftest": Command("convert.selftest", "checks a file against checksum, golden vectors and golden photos"),
        "app": Command("convert.app.__main__", "libraries for an app: a photo of any size in, score out"),
        "snippets": Command("convert.snippets.__main__", "the code that an app needs for it, in five languages"),
    },
    "data": {
        "data": Command("mobileiqa.data", "lists, describes and checks data sets"),
        "data distort": Command("mobileiqa.distort", "makes a labelled set from pristine photos"),
        "ratings": Command("mobileiqa.ratings.__main__", "fits rating models to votes; what an SRCC is worth in votes"),
        "calibrate": Command("calibration.select", "chooses calibration images for INT8"),
        "calibrate audit": Command("calibration.audit", "checks a calibration set for copies, leaks and clipping"),
    },
}  # fmt: skip
COMMANDS = {name: command for job in JOBS.values() for name, command in job.items()}
# Names of earlier versions, for one more: what to type now, and what they still run.
OLDER = {
    "parity": ("check CHECKPOINT FILE...", "convert.parity"),
    "accuracy": ("check FP32 FILE... --images DIR", "convert.accuracy"),
    "report": ("check FP32 DIR --html PAGE", "convert.report.__main__"),
    "deliver": ("package", "convert.package"),
    "compare": ("bench compare", "android_bench.compare"),
    "profile": ("bench profile", "android_bench.profile"),
    "arm-counts": ("bench count", "android_bench.arm_counts"),
    "distort": ("data distort", "mobileiqa.distort"),
    "audit": ("calibrate audit", "calibration.audit"),
}


def main(argv: list[str] | None = None, prog: str = PROG) -> int:
    """Runs a command with the rest of `argv`, and returns its exit code; 2, with one line, for an unknown name."""
    words = sys.argv[1:] if argv is None else argv
    return cli.run(prog, lambda: _call(words, prog))


def overview(prog: str = PROG) -> str:
    """Every command with one line, by what it is for, and the module that `python -m` takes."""
    width = max(map(len, COMMANDS))
    module = max(len(command.typed) for command in COMMANDS.values())
    lines = []
    for job, commands in JOBS.items():
        lines += ["", f"{job}:"]
        lines += [f"  {n:<{width}}  {c.typed:<{module}}  {c.summary}" for n, c in commands.items()]
    return "\n".join([
        f"usage: {prog} COMMAND ...", "",
        "Image-quality models on phones: train, convert, prove parity, measure.",
        *lines, "",
        f"The second column is for `python -m`. {prog} COMMAND --help says more.",
        "Exit codes: 0 done, 1 a gate failed, 2 wrong input.", "",
        f"example:\n  {prog} convert --fp16 --out reference_fp16.tflite",
    ])  # fmt: skip


def _call(words: list[str], prog: str) -> int:
    name, *rest = words or [""]
    if name in ("--help", "-h", "--version"):
        cli.say(f"{PROG} {importlib.metadata.version(PROG)}" if name == "--version" else overview(prog))
        return 0
    if name in OLDER:
        now, module = OLDER[name]
        cli.older(f"{prog} {name}", f"{prog} {now}")
        return _run(Command(module, ""), name, rest, prog)
    if rest and f"{name} {rest[0]}" in COMMANDS:
        name, rest = f"{name} {rest[0]}", rest[1:]
    _check(name, rest, prog)
    return _run(COMMANDS[name], name, rest, prog)


def _check(name: str, rest: list[str], prog: str) -> None:
    """UserError for a name that is none, and for a second word that is nearly a command's."""
    inner = [each.split()[1] for each in COMMANDS if each.startswith(f"{name} ")]
    near = [OLDER.get(each, (each,))[0] for each in difflib.get_close_matches(name, [*COMMANDS, *OLDER], 1)]
    if name in COMMANDS:
        near = [f"{name} {each}" for each in difflib.get_close_matches(rest[0], inner, 1)] if rest else []
        if not near or Path(rest[0]).exists():
            return
        name = f"{name} {rest[0]}"
    word = repr(name) if name else "none"
    todo = f"did you mean {near[0]}?" if near else f"see {prog} --help"
    raise UserError(f"a command among {', '.join(COMMANDS)}", word, todo)


def _run(command: Command, name: str, rest: list[str], prog: str) -> int:
    try:
        names = {each.typed: f"{prog} {known}" for known, each in COMMANDS.items()}
        with cli.typed(f"{prog} {name}", names):
            return importlib.import_module(command.module).main(rest)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        extra = command.extra or extra
        raise UserError(
            f"the packages of the extra `{extra}` for {name}", f"no {package}", install_command(extra)
        ) from error


if __name__ == "__main__":
    sys.exit(main())
