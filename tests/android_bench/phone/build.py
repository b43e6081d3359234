"""`python -m tests.android_bench.phone.build`: what the small phone is made of, in .cache/phone (or $MOBILEIQA_PHONE).

As in `make arm`, nothing on the system changes and root is not needed: Debian's adb, adbd and busybox are fetched
through apt into private folders and unpacked, and the ARM program that stands in for benchmark_model is compiled
as the ARM runner of `make arm` is, which must have run: the ARM libraries are from there. The compiler stays, with
Debian's C++ headers for ARM: tests compile C++ for the phone, and zig alone would first build a C++ library of its own.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from android_bench.emulate import MANIFEST, arm_root, missing
from tools import arm_programs
from tools.make_arm import BACKPORTS, BuildError, choose_archive, debian_archives, fetch_debs

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DEBS = ("-t", BACKPORTS, "adb", "adbd", "busybox-static")
HEADERS = "libstdc++-12-dev"
# Program -> what it is compiled with: the older build does not know --xnnpack_force_fp16.
PROGRAMS = {"benchmark_model": (), "benchmark_model_old": ("-DOLD_BUILD",)}
SOURCES = (HERE / "benchmark_model.c", arm_programs.SOURCES / "session.h")
LIBRARIES = ("libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-aarch64.so.1")


def main() -> int:
    """Builds the folder unless it is already there."""
    root = phone_root().resolve()
    try:
        if recipe_of(root) != recipe():
            build(root)
    except (BuildError, OSError, subprocess.CalledProcessError) as error:
        print(f"the small phone cannot be built: {error}", file=sys.stderr)
        return 1
    print(f"the small phone at {root} is ready", file=sys.stderr)
    return 0


def build(root: Path) -> None:
    """Downloads, unpacks and compiles beside `root`, then puts it in place."""
    if missing():
        raise BuildError(f"{missing()}: run `make arm` first")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as name:
        work, new = Path(name), Path(name, "root")
        unpack_debs(work / "apt", new / "packages")
        unpack_headers(work / "apt-arm64", new / "headers")
        gather_arm(new / "arm")
        compile_programs(arm_programs.fetch_zig(new / "compiler"), new)
        for wheel in (new / "compiler").glob("*.whl"):
            wheel.unlink()
        (new / MANIFEST).write_text(json.dumps({"recipe": recipe()}) + "\n")
        shutil.rmtree(root, ignore_errors=True)
        new.rename(root)


def phone_root() -> Path:
    """The folder that this file fills."""
    return Path(os.environ.get("MOBILEIQA_PHONE") or ROOT / ".cache" / "phone")


def recipe() -> str:
    """Identity of what is built here; another one means another phone."""
    parts = [
        json.dumps((DEBS, HEADERS, arm_programs.ZIG, arm_programs.TARGET, PROGRAMS, LIBRARIES)),
        *(file.read_text() for file in SOURCES),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def recipe_of(root: Path) -> str:
    """The recipe that `root` was built by; empty when there is none."""
    try:
        return json.loads((root / MANIFEST).read_text())["recipe"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return ""


def unpack_debs(apt: Path, target: Path) -> None:
    """adb, adbd, busybox and their libraries, for this machine."""
    here = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    target.mkdir(parents=True)
    choose_archive(apt, here, debian_archives())
    for deb in fetch_debs(apt, here, *DEBS):
        subprocess.run(["dpkg-deb", "-x", deb, target], check=True)


def unpack_headers(apt: Path, target: Path) -> None:
    """The C++ library's headers for ARM64."""
    choose_archive(apt, "arm64", debian_archives())
    (deb,) = (each for each in fetch_debs(apt, "arm64", HEADERS) if each.name.startswith(HEADERS))
    subprocess.run(["dpkg-deb", "-x", deb, target], check=True)


def gather_arm(target: Path) -> None:
    """The phone's ARM libraries, LiteRT's among them."""
    target.mkdir(parents=True)
    rootfs = arm_root() / "rootfs"
    for name in LIBRARIES:
        shutil.copy(rootfs / "lib/aarch64-linux-gnu" / name, target)
    shutil.copy(rootfs / "usr/lib/aarch64-linux-gnu/libstdc++.so.6", target)
    shutil.copy(arm_root() / "site/ai_edge_litert/libLiteRt.so", target)


def compile_programs(zig: Path, new: Path) -> None:
    """The stand-ins for benchmark_model, compiled for ARM64 against LiteRT."""
    for program, options in PROGRAMS.items():
        words = (*options, f"-I{arm_programs.SOURCES}", SOURCES[0], "-o", new / program)
        arm_programs.compile_c(zig, arm_programs.TARGET, *words, *linked(new))


def compile_cpp(*words: Path | str) -> None:
    """C++ sources and options to a program for the built phone. Raises CalledProcessError with zig's words."""
    root = phone_root().resolve()
    headers = [root / "headers/usr/include" / each for each in ("c++/12", "aarch64-linux-gnu/c++/12")]
    options = (
        "-std=c++17",
        "-nostdinc++",
        "-Wno-deprecated-declarations",
        *(f"-I{each}" for each in headers),
    )
    libraries = (root / "arm/libstdc++.so.6", root / "arm/libgcc_s.so.1")
    zig = root / "compiler/ziglang/zig"
    arm_programs.compile_c(zig, arm_programs.TARGET, *options, *words, *libraries, *linked(root))


def linked(root: Path) -> tuple[Path | str, ...]:
    """LiteRT, and where the small phone has its loader and libraries: Android's are elsewhere."""
    loader = "-Wl,--dynamic-linker=/system/lib64/ld-linux-aarch64.so.1"
    return root / "arm/libLiteRt.so", "-Wl,--allow-shlib-undefined", loader


if __name__ == "__main__":
    sys.exit(main())
