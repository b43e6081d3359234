"""ExecuTorch on the emulated core: its ARM libraries, the program that runs a .pte file on them, and its counts.

    make arm-executorch

For arm.py alone. Run, it fills .cache/arm/executorch, beside what `make arm` built, with the libraries of ExecuTorch's
ARM wheel, the C libraries of our own ARM runner, and executorch_runner.cpp, compiled against the wheel's headers. The
wheel's Python bindings are left out: they need PyTorch for ARM, and the interpreter's instructions would count.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from android_bench.emulate import DEFAULT_CPU, arm_command, arm_root
from android_bench.runners import arm_runner, instruction_counter
from mobileiqa import cli
from mobileiqa.errors import RunError, UserError
from tools import arm_programs, make_arm, make_env

SOURCE = Path(__file__).with_name("executorch_runner.cpp")
WHEEL = make_env.ENVIRONMENTS["executorch"].requirements[0]
# The runtime, its XNNPACK, and the kernels of what XNNPACK does not take.
PARTS = ("", "_threadpool", "_backend_xnnpack", "_kernels_optimized", "_kernels_quantized")
LIBRARIES = tuple(f"libexecutorch{part}.so" for part in PARTS)
C_LIBRARIES = ("libdl.so.2", "libpthread.so.0")  # that the runner's folder lacks
OPTIONS = (
    *("-std=c++17", "-fno-exceptions", "-fno-rtti", "-Wno-deprecated-declarations"),
    *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-D_LIBCPP_VERBOSE_ABORT(...)=__builtin_abort()"),
)
STAMP = "recipe.txt"
RUNS = 3  # the second counts as all that follow
OPENING = "ERROR: opening the file"  # what the program says of a file that is not there


def missing() -> str:
    """Why .pte files cannot be counted here; empty when they can."""
    stamp = folder() / STAMP
    built = stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe()
    return arm_runner.missing_runner() or (
        "" if built else f"no {SOURCE.stem} of these sources in {folder()}"
    )


def recipe() -> str:
    """What the folder is built from; another one means another folder."""
    return "\n".join((WHEEL, arm_programs.ZIG, *OPTIONS, SOURCE.read_text(encoding="utf-8")))


def folder() -> Path:
    """Where the program and its libraries are."""
    return arm_root() / "executorch"


def count(path: Path, cpu: str) -> dict[str, int]:
    """The counts of one inference, in android_bench's kinds.

    Raises UserError where the program is not there, and RunError where the file does not run.
    """
    if reason := missing():
        raise UserError("ExecuTorch's ARM programs", reason, "run `make arm-executorch`")
    command = [*start(folder().resolve()), str(path.resolve()), str(RUNS)]
    return instruction_counter.count_marked(command, cpu, path.name, _check)[0]


def start(where: Path) -> list[str]:
    """The command that starts the program in the folder `where`."""
    return [f"{where}/{arm_runner.LOADER}", "--library-path", str(where), f"{where}/{SOURCE.stem}"]


def _check(_printed: str, complaints: str, code: int) -> None:
    """Its first error, which ExecuTorch logs as "E TIME executorch:FILE] WORDS", and the program's own."""
    if code:
        lines = [line for line in complaints.splitlines() if line.startswith("E")]
        words = " | ".join(
            line.partition("] ")[2] or line for line in dict.fromkeys([*lines[:1], *lines[-1:]])
        )
        raise RunError(f"ExecuTorch failed (exit code {code}): {words or complaints[-200:]}")


def build() -> None:
    """Downloads, compiles, proves that the program starts, and only then puts the folder in place."""
    arm_runner.require_runner()
    with tempfile.TemporaryDirectory(dir=arm_root(), prefix=".executorch-") as name:
        work, new = Path(name), Path(name, "executorch")
        cli.note(f"{WHEEL} for ARM64: 18 MB")
        (wheel,) = make_arm.fetch_wheels(work, [WHEEL])
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(work / "wheel")
        shutil.copytree(
            arm_runner.folder(), new, ignore=shutil.ignore_patterns("libLiteRt*", arm_runner.PROGRAM)
        )
        for library in LIBRARIES:
            shutil.copy(work / "wheel" / "executorch" / "lib" / library, new)
        for library in C_LIBRARIES:
            shutil.copy(arm_root() / "rootfs" / "lib" / arm_programs.TARGET / library, new)
        cli.note(f"{arm_programs.ZIG}: 94 MB, to compile {SOURCE.name}")
        compile_runner(arm_programs.fetch_zig(work / "zig"), work / "wheel" / "executorch" / "include", new)
        prove(new)
        (new / STAMP).write_text(recipe(), encoding="utf-8")
        shutil.rmtree(folder(), ignore_errors=True)
        new.rename(folder())


def compile_runner(zig: Path, headers: Path, new: Path) -> None:
    """`new`/executorch_runner, linked as C: its only C++ library is that of ExecuTorch's libraries."""
    compiled = new.with_suffix(".o")
    portable = headers / "executorch" / "runtime" / "core" / "portable_type" / "c10"
    includes = ("-isystem", headers, "-isystem", portable, "-I", arm_programs.SOURCES)
    words = (*OPTIONS, *includes, "-c", SOURCE, "-o", compiled)
    arm_programs.compile_c(zig, arm_programs.TARGET, *words, language="c++")
    libraries = [new / library for library in (*LIBRARIES, "libstdc++.so.6")]
    linker = ("-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined")  # kernels register when they are loaded
    arm_programs.compile_c(zig, arm_programs.TARGET, *linker, compiled, *libraries, "-o", new / SOURCE.stem)


def prove(new: Path) -> None:
    """The program starts on the emulated core, with all its libraries."""
    qemu = arm_command(arm_root().resolve(), DEFAULT_CPU)[0][:3]
    run = subprocess.run(
        [*qemu, *start(new), "no such file", "1"], capture_output=True, text=True, check=False
    )
    if OPENING not in run.stderr:
        raise RunError(f"the program that was compiled does not start: {run.stderr[-300:]}")


def main() -> int:
    """Builds the folder unless it is there."""
    if not missing():
        cli.note(f"{folder()} is ready")
        return 0
    try:
        build()
    except (make_arm.BuildError, OSError, subprocess.CalledProcessError, RunError, UserError) as error:
        cli.note(f"make arm-executorch: {error}")
        return 1
    cli.note(f"{folder()} is ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
